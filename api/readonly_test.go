package api_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/manifest"
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

// A brokenFS fails the syncs of files while broken is set.
type brokenFS struct {
	vfs.FS
	broken atomic.Bool
}

func (f *brokenFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g, err := f.FS.Create(name, c)
	return &brokenFile{g, f}, err
}

type brokenFile struct {
	vfs.File
	fs *brokenFS
}

func (f *brokenFile) Sync() error {
	if f.fs.broken.Load() {
		return syscall.EIO
	}
	return f.File.Sync()
}

func (f *brokenFile) SyncData() error { return f.Sync() }

// A database whose writes may not have reached the disk refuses changes until
// the server is started anew; a client may try again.
func TestFailedSyncIsServed(t *testing.T) {
	fs := &brokenFS{FS: vfs.Default}
	var opts *local.Options
	w := securedBy(t, testConfig, matrixSchema, func(o *local.Options) { o.MetaFS, opts = fs, o })
	t.Cleanup(func() { // so that securedBy closes a store that can be closed
		if err := w.store.Close(); !errors.Is(err, manifest.ErrSync) {
			t.Errorf("close: %v, want %v", err, manifest.ErrSync)
		}
		fs.broken.Store(false)
		var err error
		if w.store, err = local.Open(context.Background(), w.dir, opts); err != nil {
			t.Fatal(err)
		}
	})
	ann := token(t, "ann", nil)
	fs.broken.Store(true)
	for range 2 {
		a := w.want(503, "store-read-only", "POST", "/api/files/private?name=a", strings.NewReader("x"), "Authorization", ann)
		if strings.Contains(string(a.body), syscall.EIO.Error()) || a.Header.Get("Retry-After") == "" {
			t.Errorf("%v %s", a.Header, a.body)
		}
	}
	w.want(200, "", "GET", "/healthz", nil)
	w.want(503, "store-read-only", "GET", "/readyz", nil)
	w.want(200, "", "GET", "/api/files/private", nil, "Authorization", ann)
}
