package local

import (
	"errors"
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/buckets"
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

// A fullFS has no space for files while full is set.
type fullFS struct {
	vfs.FS
	full atomic.Bool
}

func (f *fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if f.full.Load() {
		return nil, syscall.ENOSPC
	}
	return f.FS.Create(name, c)
}

// A store whose metadata lies on a full disk opens: it serves reads, refuses
// changes, and takes them when it is opened with space.
func TestOpenOnFullDisk(t *testing.T) {
	dir, fs := t.TempDir(), &fullFS{FS: vfs.Default}
	opts := &Options{MetaFS: fs}
	open := func() (*buckets.Store, *buckets.Bucket) {
		t.Helper()
		s, err := Open(t.Context(), dir, opts)
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.Bucket("demo")
		if err != nil {
			t.Fatal(err)
		}
		return s, b
	}
	put := func(b *buckets.Bucket, name string) error {
		_, err := b.Put(t.Context(), name, strings.NewReader(name), nil)
		return err
	}
	s, b := open()
	if err := errors.Join(put(b, "before"), s.Close()); err != nil {
		t.Fatal(err)
	}
	fs.full.Store(true)
	s, b = open()
	n := 0
	for f, err := range b.List(t.Context(), nil) {
		if n++; err != nil || f.Name != "before" {
			t.Errorf("%+v, %v", f, err)
		}
	}
	if n != 1 {
		t.Errorf("%d files", n)
	}
	if err := put(b, "during"); !errors.Is(err, buckets.ErrNoSpace) || !errors.Is(s.Ready(t.Context()), buckets.ErrNoSpace) {
		t.Errorf("put: %v, ready: %v", err, s.Ready(t.Context()))
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	fs.full.Store(false)
	s, b = open()
	if err := errors.Join(put(b, "after"), s.Ready(t.Context()), s.Close()); err != nil {
		t.Error(err)
	}
}
