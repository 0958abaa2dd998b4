package api_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/s3test"
)

// A client learns that the storage behind the server is away, and when to come
// back; nothing of the storage's own errors.
func TestBackendUnavailable(t *testing.T) {
	through, proxy := s3test.Fake(t).Behind(t)
	o := through.Options(t)
	o.Attempts, o.Backoff = 2, 10*time.Millisecond
	store, err := local.Open(t.Context(), t.TempDir(), &local.Options{Backends: map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *o}}},
		Buckets: map[string]buckets.Policy{"demo": {Domain: "far", Compression: cas.Compression{Codec: cas.Zstd}}}})
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
	t.Cleanup(func() { srv.Close(); store.Close() })
	w := &world{t: t, url: srv.URL}
	content := bytes.Repeat([]byte("content "), 1000)
	if a := w.do("POST", "/api/files/demo?name=f", bytes.NewReader(content)); a.StatusCode != http.StatusCreated {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	for _, fault := range []s3test.Fault{s3test.SlowDown, s3test.Expired, s3test.LostAnswer} {
		proxy.Harm(func(*http.Request) s3test.Fault { return fault })
		for _, a := range []*answer{
			w.do("POST", "/api/files/demo?name=g", strings.NewReader(string(fault))),
			w.do("GET", "/api/files/demo/"+firstFile(t, w)+"/download", nil),
		} {
			if a.StatusCode == http.StatusOK && bytes.Equal(a.body, content) {
				continue // in memory yet
			}
			if a.StatusCode != http.StatusServiceUnavailable || a.code() != "backend-unavailable" || a.Header.Get("Retry-After") == "" ||
				bytes.Contains(a.body, []byte("S3")) {
				t.Errorf("%s: %d %s", fault, a.StatusCode, a.body)
			}
		}
		proxy.Harm(nil)
	}
	if a := w.do("POST", "/api/files/demo?name=h", bytes.NewReader(content)); a.StatusCode != http.StatusCreated {
		t.Errorf("when it is back: %d %s", a.StatusCode, a.body)
	}
}

func firstFile(t *testing.T, w *world) string {
	t.Helper()
	a := w.do("GET", "/api/files/demo?prefix=f", nil)
	_, rest, ok := bytes.Cut(a.body, []byte(`"id":"`))
	if !ok {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	id, _, _ := bytes.Cut(rest, []byte(`"`))
	return string(id)
}
