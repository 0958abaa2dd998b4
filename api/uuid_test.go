package api_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
)

// A file that keeps the UUID that another system gave it is answered for like any
// other, on every route that names a file in its path, its query or its body.
func TestUUIDs(t *testing.T) {
	w := securedBy(t, testConfig, `buckets: {b: {rules: {create: "true", read: "true", update: "true", delete: "true"}}}`)
	root := token(t, "root", map[string]any{"role": "admin"})
	for i, c := range []struct {
		status             int
		method, path, body string
	}{
		{200, "GET", "", ""}, {200, "HEAD", "", ""}, {200, "GET", "/download", ""}, {200, "GET", "/view", ""}, {200, "GET", "/download?version=1", ""},
		{200, "GET", "/manifest", ""}, {200, "GET", "/versions", ""}, {200, "GET", "/versions/1", ""}, {200, "GET", "/versions/1/download", ""},
		{200, "GET", "/references", ""}, {501, "GET", "/preview?width=10", ""}, {200, "GET", "/sign?operation=download", ""},
		{200, "POST", "/sign", `{"operation": "view", "expires_in": "60s"}`},
		{200, "PUT", "", "two"}, {200, "PATCH", "", `{"name": "other", "metadata": {"k": "v"}}`}, {200, "POST", "/versions/1/restore", ""},
		{201, "POST", "/copy", `{"name": "copy"}`}, {200, "POST", "/append", "more"}, {200, "POST", "/truncate", `{"size": 1}`},
		{200, "DELETE", "", ""}, {204, "DELETE", "?permanent=true", ""}, {409, "DELETE", "/versions/1", ""},
		{201, "POST", "../_compose", `{"name": "sum", "pieces": [{"file": "ID"}, {"file": "ID", "offset": 1, "length": 1}]}`},
		{201, "POST", "../_sessions", `{"name": "s", "bases": ["ID"]}`}, {201, "POST", "../_sessions", `{"file_id": "ID"}`},
		{200, "POST", "/api/admin/explain", `{"bucket": "b", "operation": "read", "id": "ID"}`},
	} {
		var got [2]string
		for k, id := range []string{"", fmt.Sprintf("%08x-1111-4222-8333-444444444444", i)} {
			f, err := w.bucket("b").Put(t.Context(), fmt.Sprintf("name %d %d.txt", i, k), strings.NewReader("one"), &buckets.PutOptions{ID: id})
			if err != nil {
				t.Fatal(err)
			}
			path := "/api/files/b/" + f.ID + c.path
			if rest, ok := strings.CutPrefix(c.path, "../"); ok {
				path = "/api/files/b/" + rest
			} else if strings.HasPrefix(c.path, "/api/") {
				path = c.path
			}
			kind := "application/octet-stream"
			if strings.HasPrefix(c.body, "{") {
				kind = "application/json"
			}
			body := strings.ReplaceAll(strings.ReplaceAll(c.body, "ID", f.ID), `{"name": "`, fmt.Sprintf(`{"name": "%d %d`, i, k))
			a := w.do(c.method, path, strings.NewReader(body), "Authorization", root, "Content-Type", kind)
			if a.StatusCode != c.status {
				t.Errorf("%s %s: %d, want %d: %s", c.method, path, a.StatusCode, c.status, a.body)
			}
			var members map[string]any
			json.Unmarshal(a.body, &members) // of the others there are none
			got[k] = fmt.Sprint(a.Header.Get("Content-Type"), len(members), a.code())
			w.bucket("b").Purge(t.Context(), f.ID, nil)
		}
		if got[0] != got[1] {
			t.Errorf("%s %s: of f_… %s, of a UUID %s", c.method, c.path, got[0], got[1])
		}
	}
}
