package api_test

import (
	"encoding/base64"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// What a host sends in a form that no answer had is refused as its mistake.
func TestHostForms(t *testing.T) {
	w := newHosted(t)
	op := token(t, "op", map[string]any{"role": "admin"})
	f := w.putAs("ann", "docs", "a.txt", "a")
	w.set("1", "cover", f.ID)
	link, file := missing("l_"), missing("f_")
	for _, place := range []string{`{"file": "f_", "link": "` + link + `"}`, `{"file": "", "link": "` + link + `"}`, `{"file": "` + file + `", "link": "l_"}`,
		`{"file": "f", "link": ""}`, `{"file": "\u0000", "link": "\u0000"}`, `{}`, `[]`} {
		w.want(400, "invalid-cursor", "GET", "/api/admin/hosts/blog/sessions/1/events?cursor="+base64.RawURLEncoding.EncodeToString([]byte(place)), nil, "Authorization", op)
	}
	deep := `{"as": null, "items": [{"id": "` + f.ID + `", "record": {"a": ` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}}]}`
	for body, status := range map[string]int{deep: 400, strings.ReplaceAll(strings.ReplaceAll(deep, "[[", "["), "]]", "]"): 200,
		`{"as": null, "items": [{"id": "` + f.ID + `", "record": []}]}`: 400, `{"as": null, "items": [{"id": "` + f.ID + `", "record": null}]}`: 200} {
		code := map[int]string{400: "invalid-request"}[status]
		w.want(status, code, "POST", "/api/admin/hosts/blog/sessions/1/resolve", strings.NewReader(body), "Authorization", op, "Content-Type", "application/json")
	}
	for _, n := range []uint64{1 << 53, math.MaxUint64} {
		e := wantCode(t, errOf(w.c.OfferSession(t.Context(), "blog", &client.SessionOptions{Database: w.kept.Database, Session: n})), "invalid-request")
		if !strings.Contains(e.Detail, fmt.Sprint(n)) {
			t.Errorf("session %d: %s", n, e.Detail)
		}
	}
	w.open(nil)
}
