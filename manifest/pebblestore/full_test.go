package pebblestore

import (
	"errors"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/backend"
)

// A fullFS has no space while full is set: nothing can be written, and where
// names says so no file created.
type fullFS struct {
	vfs.FS
	full, names atomic.Bool
}

func (f *fullFS) create(name string, open func() (vfs.File, error)) (vfs.File, error) {
	if f.full.Load() && f.names.Load() {
		return nil, syscall.ENOSPC
	}
	g, err := open()
	if err != nil {
		return nil, err
	}
	return &fullFile{g, f}, nil
}

func (f *fullFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.create(name, func() (vfs.File, error) { return f.FS.Create(name, c) })
}

func (f *fullFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return f.create(to, func() (vfs.File, error) { return f.FS.ReuseForWrite(from, to, c) })
}

type fullFile struct {
	vfs.File
	fs *fullFS
}

func (f *fullFile) Write(p []byte) (int, error) {
	if f.fs.full.Load() {
		return 0, syscall.ENOSPC
	}
	return f.File.Write(p)
}

// A database opens on a full volume, after a clean end and after a crash,
// serves reads, refuses changes, and closes; with space it goes on.
func TestOpenFull(t *testing.T) {
	for name, test := range map[string]struct{ crash, tables, names bool }{
		"clean": {}, "clean, no names": {names: true}, "crash": {crash: true}, "crash, no names": {crash: true, names: true},
		"tables": {tables: true}, "crash, tables": {crash: true, tables: true, names: true},
	} {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			d, err := Open("meta", &Options{FS: mem})
			must(t, err)
			for i := range 5 {
				must(t, d.putValue(key(i), value(i)))
				if test.tables && i == 2 {
					must(t, d.db.Flush())
				}
			}
			disk := mem
			if test.crash {
				disk = mem.CrashClone(vfs.CrashCloneCfg{})
			}
			must(t, d.Close())
			f := &fullFS{FS: disk}
			f.full.Store(true)
			f.names.Store(test.names)
			for range 2 {
				d, err := Open("meta", &Options{FS: f, MustExist: true})
				must(t, err)
				checkFull(t, d, 5)
				must(t, d.Close())
			}
			f.full.Store(false)
			d, err = Open("meta", &Options{FS: f})
			must(t, err)
			checkValues(t, d, 5)
			must(t, d.Ready())
			must(t, d.putValue(key(5), value(5)))
			must(t, d.Close())
		})
	}
}

func checkValues(t *testing.T, d *DB, n int) {
	t.Helper()
	for i := range n {
		if v, err := d.getValue(d.db, key(i)); err != nil || string(v) != string(value(i)) {
			t.Errorf("key %d: %q, %v", i, v, err)
		}
	}
}

func checkFull(t *testing.T, d *DB, n int) {
	t.Helper()
	checkValues(t, d, n)
	if err := d.putValue(key(99), nil); !errors.Is(err, ErrNoSpace) || !errors.Is(err, backend.ErrNoSpace) {
		t.Errorf("a change: %v", err)
	}
	if err := d.Ready(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("ready: %v", err)
	}
}

// There is nothing to read where there was never a database.
func TestMakeFull(t *testing.T) {
	f := &fullFS{FS: vfs.NewMem()}
	f.full.Store(true)
	if _, err := Open("meta", &Options{FS: f}); !errors.Is(err, ErrNoSpace) {
		t.Errorf("%v, want %v", err, ErrNoSpace)
	}
	f.full.Store(false)
	d, err := Open("meta", &Options{FS: f})
	must(t, err)
	must(t, d.putValue(key(0), nil))
	must(t, d.Close())
}

// What waits for space is written when there is some; what closes meanwhile
// does not hang, and loses nothing that was acknowledged.
func TestFull(t *testing.T) {
	f := &fullFS{FS: vfs.NewMem()}
	d, err := Open("meta", &Options{FS: f})
	must(t, err)
	must(t, d.putValue(key(0), value(0)))
	f.full.Store(true)
	if err := d.putValue(key(1), value(1)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a change: %v", err)
	}
	checkFull(t, d, 1)
	f.full.Store(false)
	for d.Ready() != nil {
		time.Sleep(time.Millisecond)
	}
	must(t, d.putValue(key(2), value(2)))
	checkValues(t, d, 3)
	f.full.Store(true)
	if err := d.putValue(key(3), value(3)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("a change: %v", err)
	}
	if err := d.Close(); !errors.Is(err, ErrNoSpace) {
		t.Errorf("close: %v", err)
	}
	f.full.Store(false)
	d, err = Open("meta", &Options{FS: f})
	must(t, err)
	checkValues(t, d, 3)
	must(t, d.Close())
}
