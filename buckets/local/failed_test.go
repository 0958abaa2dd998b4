package local

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A brokenFS fails the syncs of files while broken is set.
type brokenFS struct {
	vfs.FS
	broken atomic.Bool
}

func (f *brokenFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g, err := f.FS.Create(name, c)
	if err != nil {
		return nil, err
	}
	return &brokenFile{g, f}, nil
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

// When the metadata may not have reached the disk, changes are refused and
// reads go on, until the store is opened anew.
func TestFailedMetadata(t *testing.T) {
	dir, fs, told := t.TempDir(), &brokenFS{FS: vfs.Default}, make(chan error, 1)
	opts := &Options{MetaFS: fs, Failed: func(err error) { told <- err }}
	s, err := Open(t.Context(), dir, opts)
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Bucket("demo")
	if err != nil {
		t.Fatal(err)
	}
	f, err := b.Put(t.Context(), "before", strings.NewReader("before"), nil)
	if err != nil {
		t.Fatal(err)
	}
	read := func() {
		t.Helper()
		b, err := s.Bucket("demo")
		if err != nil {
			t.Fatal(err)
		}
		o, err := b.Open(t.Context(), f.ID, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer o.Close()
		if p, err := io.ReadAll(o); err != nil || string(p) != "before" {
			t.Errorf("%q, %v", p, err)
		}
	}
	fs.broken.Store(true)
	for range 2 {
		if _, err := b.Put(t.Context(), "during", strings.NewReader("during"), nil); !errors.Is(err, pebblestore.ErrSync) {
			t.Errorf("put: %v", err)
		}
		read()
	}
	if err := <-told; !errors.Is(err, pebblestore.ErrSync) || !errors.Is(s.Ready(t.Context()), pebblestore.ErrSync) {
		t.Errorf("told %v, ready: %v", err, s.Ready(t.Context()))
	}
	fs.broken.Store(false)
	if _, err := b.Put(t.Context(), "after", strings.NewReader("after"), nil); !errors.Is(err, pebblestore.ErrSync) {
		t.Errorf("put: %v", err)
	}
	if err := s.Close(); !errors.Is(err, pebblestore.ErrSync) {
		t.Errorf("close: %v", err)
	}
	if s, err = Open(t.Context(), dir, opts); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	read()
	if b, err = s.Bucket("demo"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Put(t.Context(), "again", strings.NewReader("again"), nil); err != nil {
		t.Error(err)
	}
}
