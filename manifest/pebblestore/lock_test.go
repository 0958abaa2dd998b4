package pebblestore

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Locks for reading exclude those for writing and not each other, in one process too.
func TestLockShared(t *testing.T) {
	name := filepath.Join(t.TempDir(), ".lock")
	must(t, os.WriteFile(name, nil, 0o600))
	shared := func() (io.Closer, error) {
		f, err := os.Open(name)
		must(t, err)
		if err := lockShared(f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		return f, nil
	}
	first, err := shared()
	must(t, err)
	second, err := shared()
	must(t, err)
	must(t, first.Close())
	if _, err := vfs.Default.Lock(name); err == nil || !isLocked(err) {
		t.Errorf("locked for writing beside a reader: %v", err)
	}
	must(t, second.Close())
	if runtime.GOOS == "windows" {
		return // what is locked cannot be opened
	}
	writer, err := vfs.Default.Lock(name)
	must(t, err)
	if _, err := shared(); err == nil || !isLocked(err) {
		t.Errorf("locked for reading beside a writer: %v", err)
	}
	writer.Close()
}

// A database that is opened to be read serves what was stored before a crash, refuses
// changes, and writes nothing; where there is none, none is made.
func TestReadOnly(t *testing.T) {
	for _, tables := range []bool{false, true} {
		mem := vfs.NewCrashableMem()
		d, err := Open("meta", &Options{FS: mem})
		must(t, err)
		for i := range 5 {
			must(t, d.putValue(key(i), value(i)))
			if tables && i == 2 {
				must(t, d.db.Flush())
			}
		}
		disk := mem.CrashClone(vfs.CrashCloneCfg{})
		must(t, d.Close())
		f := &fullFS{FS: disk}
		f.full.Store(true)
		f.names.Store(true)
		d, err = Open("meta", &Options{FS: f, ReadOnly: true})
		must(t, err)
		checkValues(t, d, 5)
		if err := d.putValue(key(9), nil); !errors.Is(err, ErrReadOnly) {
			t.Errorf("a change: %v", err)
		}
		if err := d.Ready(); !errors.Is(err, ErrReadOnly) {
			t.Errorf("ready: %v", err)
		}
		must(t, d.Close())
	}
	if _, err := Open("meta", &Options{FS: vfs.NewMem(), ReadOnly: true}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a database: %v", err)
	}
}
