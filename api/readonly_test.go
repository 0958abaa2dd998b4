package api_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/local"
)

// A store that takes no changes is served: reads are answered, changes refused
// by a code of their own that does not tell the reason to strangers.
func TestReadOnlyIsServed(t *testing.T) {
	w := securedBy(t, testConfig, matrixSchema, func(o *local.Options) { o.ReadOnly = errors.New("/srv/cairn/meta is older than its packs") })
	ann := token(t, "ann", nil)
	w.want(200, "", "GET", "/healthz", nil)
	w.want(503, "store-read-only", "GET", "/readyz", nil)
	w.want(200, "", "GET", "/api/files/private", nil, "Authorization", ann)
	w.want(404, "file-not-found", "GET", "/api/files/private/"+missing("f_"), nil, "Authorization", ann)
	w.want(401, "unauthenticated", "POST", "/api/files/private?name=a", strings.NewReader("x"))
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/files/private?name=a", "x"},
		{"POST", "/api/files/private/_sessions", `{"name": "a"}`},
		{"POST", "/api/files/private/_compose", `{"name": "a", "pieces": [{"data": "aGk="}]}`},
		{"POST", "/api/files/private/_sign-upload", `{}`},
	} {
		a := w.want(503, "store-read-only", c.method, c.path, strings.NewReader(c.body), "Authorization", ann, "Content-Type", "application/json")
		if strings.Contains(string(a.body), "/srv/") || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %v %s", c.path, a.Header, a.body)
		}
	}
}
