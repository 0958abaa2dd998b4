package client_test

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/local"
)

// A world is a server with something between it and its client.
type world struct {
	*client.Client
	t       *testing.T
	server  http.Handler
	between atomic.Pointer[http.HandlerFunc]
}

func newWorld(t *testing.T, opts *local.Options) *world {
	store, err := local.Open(t.Context(), t.TempDir(), opts)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, server: api.New(store, &api.Options{Dev: true})}
	srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if h := w.between.Load(); h != nil {
			(*h)(rw, r)
			return
		}
		w.server.ServeHTTP(rw, r)
	}))
	t.Cleanup(func() { srv.Close(); store.Close() })
	if w.Client, err = client.New(srv.URL, nil); err != nil {
		t.Fatal(err)
	}
	return w
}

// TestBelowPath has the server below a path, with a slash at the end of its URL
// and without.
func TestBelowPath(t *testing.T) {
	w := newWorld(t, nil)
	srv := httptest.NewServer(http.StripPrefix("/my own/storage", w.server))
	defer srv.Close()
	for _, end := range []string{"", "/"} {
		c, err := client.New(srv.URL+"/my%20own/storage"+end, nil)
		if err != nil {
			t.Fatal(err)
		}
		content := random(1, 3<<20)
		f, err := c.Put(t.Context(), "demo", "a b.bin", bytes.NewReader(content), nil)
		if err != nil {
			t.Fatal(err)
		}
		r, _, err := c.Open(t.Context(), "demo", f.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(r)
		if r.Close(); err != nil || !bytes.Equal(got, content) {
			t.Errorf("read %d bytes, %v", len(got), err)
		}
		if f.Links.Download != "/my%20own/storage/api/files/demo/"+f.ID+"/download" {
			t.Errorf("links %+v", f.Links)
		}
	}
}

// through lets h answer in the server's place.
func (w *world) through(h http.HandlerFunc) { w.between.Store(&h) }

func (w *world) upload(name string, p []byte) *client.File {
	w.t.Helper()
	f, err := w.Upload(w.t.Context(), "demo", name, bytes.NewReader(p), &client.UploadOptions{OnConflict: "version"})
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// random returns n bytes that are the same in every run.
func random(seed byte, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{seed}).Read(p)
	return p
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// file makes a file with some content, open for reading and writing.
func file(t *testing.T, content []byte) *os.File {
	t.Helper()
	f, err := os.OpenFile(filepath.Join(t.TempDir(), "f"), os.O_CREATE|os.O_RDWR, 0o666)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if _, err := f.Write(content); err != nil {
		t.Fatal(err)
	}
	return f
}

// A breaker passes an answer or a request on until its bytes are used up.
type breaker struct {
	http.ResponseWriter
	left int
}

func (b *breaker) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		panic(http.ErrAbortHandler)
	}
	return b.ResponseWriter.Write(p)
}

// A server that dies under the first request of a client, and comes back, is
// asked again.
func TestStatSurvivesRestart(t *testing.T) {
	asked := 0
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked++; asked == 1 {
			panic(http.ErrAbortHandler)
		}
		io.WriteString(w, `{"id": "f_1", "size": 5}`)
	}))
	defer srv.Close()
	c, err := client.New(srv.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	if f, err := c.Stat(t.Context(), "demo", "f_1", nil); err != nil || f.Size != 5 || asked != 2 {
		t.Errorf("%+v, %v after %d requests", f, err, asked)
	}
}
