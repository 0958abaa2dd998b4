package api_test

import (
	"net/url"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/rules"
)

// Whatever JSON of a client is kept, or shown to rules, nests at most 100 deep,
// by whichever way it comes.
func TestNesting(t *testing.T) {
	w := newWorld(t)
	f := w.put("f", []byte("x"))
	file := "/api/files/demo/" + f.ID
	const form = "--b\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\nMETADATA\r\n" +
		"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"n\"\r\n\r\nx\r\n--b--\r\n"
	const j, text = "application/json", "text/plain"
	for _, c := range []struct{ method, path, contentType, body, code string }{
		{"POST", "/api/files/demo?name=n&metadata=METADATA", text, "x", "invalid-metadata"},
		{"PUT", file + "?metadata=METADATA", text, "x", "invalid-metadata"},
		{"POST", "/api/files/demo", "multipart/form-data; boundary=b", form, "invalid-metadata"},
		{"PUT", file, "multipart/form-data; boundary=b", form, "invalid-metadata"},
		{"PATCH", file, j, `{"metadata": METADATA}`, "invalid-metadata"},
		{"POST", "/api/files/demo/_compose", j, `{"name": "n", "pieces": [{"data": "aGk="}], "metadata": METADATA}`, "invalid-metadata"},
		{"POST", "/api/files/demo/_compose", j, `{"file_id": "` + f.ID + `", "pieces": [{"data": "aGk="}], "metadata": METADATA}`, "invalid-metadata"},
		{"POST", "/api/files/demo/_sessions", j, `{"name": "n", "metadata": METADATA}`, "invalid-metadata"},
		{"POST", "/api/files/demo?name=n&metadata=METADATA", "rufh", "x", "invalid-metadata"},
		{"PUT", file + "?metadata=METADATA", "rufh", "x", "invalid-metadata"},
		{"POST", "/api/admin/explain", j, `{"bucket": "demo", "operation": "read", "auth": METADATA}`, "invalid-request"},
		{"GET", file, "as", "", "invalid-request"},
	} {
		for name, shape := range map[string][2]string{"objects": {`{"k":`, "}"}, "lists": {`[`, `]`}} {
			for depth, taken := range map[int]bool{2: true, rules.MaxNesting: true, rules.MaxNesting + 1: false, 2700: false} {
				if depth == 2700 && c.contentType == "as" && name == "objects" {
					depth = 1000 // a header may not be that long
				}
				metadata := `{"k":` + strings.Repeat(shape[0], depth-1) + `"}]\\\""` + strings.Repeat(shape[1], depth-1) + "}"
				query := url.QueryEscape(metadata)
				h := []string{"Content-Type", c.contentType}
				switch c.contentType {
				case "rufh":
					h = []string{"Upload-Complete", "?0", "Content-Type", text}
				case "as":
					h = []string{"X-Cairn-As", metadata}
				}
				a := w.do(c.method, strings.ReplaceAll(c.path, "METADATA", query), strings.NewReader(strings.ReplaceAll(c.body, "METADATA", metadata)), h...)
				if refused := a.StatusCode == 400 && a.code() == c.code && strings.Contains(string(a.body), "at most 100"); taken == refused || taken && a.StatusCode >= 400 && c.contentType != "as" {
					t.Errorf("%s %s, %s %d deep: %d %s", c.method, c.path, name, depth, a.StatusCode, a.body)
				}
			}
		}
	}
}
