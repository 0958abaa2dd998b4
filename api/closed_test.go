package api_test

import (
	"slices"
	"strings"
	"testing"
)

// A server whose store was closed answers every call that needs the store with 503 and a code:
// it never says that something is absent, or forbidden.
func TestClosedStore(t *testing.T) {
	m := newMatrix(t, "private")
	if err := m.store.Close(); err != nil {
		t.Fatal(err)
	}
	withoutStore := []string{"/healthz", "/api/openapi.json", "/api/files/_capabilities",
		"/api/admin/storage/gc", "/api/admin/storage/gc/pause", "/api/admin/storage/gc/resume"}
	for _, c := range calls() {
		bearer := token(t, "ann", nil)
		if c.op == "" {
			bearer = token(t, "root", map[string]any{"role": "admin"})
		}
		a := m.send(c, m.path(c, true), bearer)
		want, code := 503, "draining"
		if slices.Contains(withoutStore, c.path) && (c.method == "GET" || c.body == "") {
			want, code = c.status, ""
		}
		if c.method == "HEAD" {
			code = ""
		}
		if a.StatusCode != want || a.code() != code && c.method != "HEAD" {
			t.Errorf("%s %s: %d, want %d %s: %s", c.method, c.path, a.StatusCode, want, code, a.body)
		}
	}
	a := m.do("GET", "/api/files/private", nil, "Authorization", "Bearer cairn_0123456789abcdef_"+strings.Repeat("0", 64))
	if a.StatusCode != 503 || a.code() != "draining" {
		t.Errorf("an API key that nobody can look up: %d %s", a.StatusCode, a.body)
	}
}
