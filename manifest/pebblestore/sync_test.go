package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/cas"
)

// A droppingFS is a file system as Linux has it: when a sync fails, what could
// not be written counts as clean. The syncs after it succeed, and what the
// file held since the last good one is lost with the power.
type droppingFS struct {
	vfs.FS
	fails func(name, op string) error // of a sync, guarded by mu
	mu    sync.Mutex
	lost  map[string]bool // files one of whose syncs has failed, guarded by mu
	after atomic.Int64    // syncs of files that were lost
}

func (f *droppingFS) sync(name, op string, real func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.lost[name] {
		f.after.Add(1)
		return nil
	}
	if f.fails != nil {
		if err := f.fails(name, op); err != nil {
			f.fails, f.lost[name] = nil, true
			return err
		}
	}
	return real()
}

func (f *droppingFS) arm(fails func(name, op string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.fails = fails
}

func (f *droppingFS) wrap(g vfs.File, name string, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &droppingFile{g, f, name}, nil
}

func (f *droppingFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g, err := f.FS.Create(name, c)
	return f.wrap(g, name, err)
}

func (f *droppingFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g, err := f.FS.ReuseForWrite(from, to, c)
	return f.wrap(g, to, err)
}

func (f *droppingFS) OpenDir(name string) (vfs.File, error) {
	g, err := f.FS.OpenDir(name)
	return f.wrap(g, name, err)
}

type droppingFile struct {
	vfs.File
	fs   *droppingFS
	name string
}

func (f *droppingFile) Sync() error     { return f.fs.sync(f.name, "Sync", f.File.Sync) }
func (f *droppingFile) SyncData() error { return f.fs.sync(f.name, "SyncData", f.File.SyncData) }
func (f *droppingFile) SyncTo(n int64) (full bool, err error) {
	err = f.fs.sync(f.name, "SyncTo", func() (err error) {
		full, err = f.File.SyncTo(n)
		return err
	})
	return full, err
}

// kinds of files that a database syncs, by what their names hold.
var kinds = map[string]func(base string) bool{
	"log":       func(b string) bool { return strings.HasSuffix(b, ".log") },
	"sst":       func(b string) bool { return strings.HasSuffix(b, ".sst") },
	"MANIFEST":  func(b string) bool { return strings.HasPrefix(b, "MANIFEST-") },
	"directory": func(b string) bool { return b == "meta" },
}

// A sync that fails ends all changes. Nothing that was acknowledged is lost,
// neither with the power nor to the next process.
func TestFailedSync(t *testing.T) {
	for kind, is := range kinds {
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO, syscall.EDQUOT} {
			t.Run(fmt.Sprintf("%s/%v", kind, errno), func(t *testing.T) {
				t.Parallel()
				testFailedSync(t, is, errno)
			})
		}
	}
}

func testFailedSync(t *testing.T, is func(base string) bool, errno syscall.Errno) {
	mem := vfs.NewCrashableMem()
	f := &droppingFS{FS: mem, lost: map[string]bool{}}
	told := make(chan error, 9)
	open := func(f vfs.FS) *DB {
		t.Helper()
		d, err := Open("meta", &Options{FS: f, Failed: func(err error) { told <- err }})
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	d := open(f)
	value := make([]byte, 100<<10)
	acked := 0
	for ; acked < 3; acked++ {
		must(t, d.putValue(key(acked), value))
	}
	f.arm(func(name, _ string) error {
		if is(filepath.Base(name)) {
			return &os.PathError{Op: "sync", Path: name, Err: errno}
		}
		return nil
	})
	var err error
	for ; acked < 2000; acked++ {
		if err = d.putValue(key(acked), value); err != nil {
			break
		}
	}
	if !errors.Is(err, ErrSync) || !errors.Is(err, errno) {
		t.Fatalf("after %d changes: %v, want %v and %v", acked, err, ErrSync, errno)
	}
	check := func(d *DB) {
		t.Helper()
		for i := range acked {
			if v, err := d.getValue(d.db, key(i)); err != nil || len(v) != len(value) {
				t.Fatalf("key %d of %d: %d bytes, %v", i, acked, len(v), err)
			}
		}
		n := 0
		for _, err := range scanPrefix(t.Context(), d.rows, []byte{'Z'}, func(k, v []byte) (int, error) { return 0, nil }) {
			must(t, err)
			n++
		}
		if n < acked || n > acked+1 {
			t.Errorf("%d keys of %d", n, acked)
		}
	}
	check(d)
	for range 2 {
		err := d.Index("x").Apply(t.Context(), &cas.Change{Packs: []cas.PackEntry{{ID: cas.PackID{1}}}})
		if !errors.Is(err, ErrSync) || !errors.Is(d.Ready(), ErrSync) {
			t.Errorf("a change: %v, ready: %v", err, d.Ready())
		}
	}
	if err := <-told; !errors.Is(err, ErrSync) || len(told) > 0 {
		t.Errorf("told %v, and %d times more", err, len(told))
	}
	crash := mem.CrashClone(vfs.CrashCloneCfg{})
	if err := d.Close(); !errors.Is(err, ErrSync) {
		t.Errorf("close: %v", err)
	}
	if n := f.after.Load(); n > 0 {
		t.Errorf("%d syncs after the failed one of the same file", n)
	}
	for name, disk := range map[string]*vfs.MemFS{"goes on": mem, "power is cut": crash, "power is cut after Close": mem.CrashClone(vfs.CrashCloneCfg{})} {
		t.Log(name)
		d := open(disk)
		check(d)
		must(t, d.putValue(key(acked+1), value))
		must(t, d.Close())
	}
}

func key(i int) []byte { return fmt.Appendf(nil, "Z%06d", i) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whichever way a file is synced, a failure is final, for all files.
func TestSyncIsNotRepeated(t *testing.T) {
	for name, op := range map[string]func(f vfs.File) error{
		"Sync":     vfs.File.Sync,
		"SyncData": vfs.File.SyncData,
		"SyncTo":   func(f vfs.File) error { _, err := f.SyncTo(1); return err },
	} {
		for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EIO} {
			f := &droppingFS{FS: vfs.NewMem(), lost: map[string]bool{}}
			w := newWaitFS(f, slog.New(slog.DiscardHandler), nil)
			w.endOpening()
			a, err := w.Create("a", vfs.WriteCategoryUnspecified)
			must(t, err)
			b, err := w.Create("b", vfs.WriteCategoryUnspecified)
			must(t, err)
			f.arm(func(file, got string) error {
				if got != name {
					t.Errorf("%s became %s", name, got)
				}
				return errno
			})
			done := make(chan error, 3)
			go func() { done <- op(a) }()
			<-w.failed
			go func() { done <- op(a) }()
			go func() { done <- second(b.Write([]byte("x"))) }()
			if err := w.changeError(); !errors.Is(err, ErrSync) || !errors.Is(err, errno) {
				t.Errorf("%s: %v", name, err)
			}
			if len(done) > 0 {
				t.Errorf("%s returned: %v", name, <-done)
			}
			w.beginClosing()
			for range 3 {
				must(t, <-done)
			}
			if info, err := f.Stat("b"); err != nil || info.Size() != 0 || f.after.Load() != 0 {
				t.Errorf("%s: the disk was changed: %v, %v", name, info, err)
			}
		}
	}
}

func second(_ int, err error) error { return err }
