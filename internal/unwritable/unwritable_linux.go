package unwritable

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// A Way makes a directory one that may not be written to until the test has ended. It
// returns the path to use, and skips the test where it cannot be done.
type Way struct {
	Name  string
	Errno syscall.Errno // of a write
	Make  func(t *testing.T, dir string) string
}

// Ways are all ways.
func Ways() []Way {
	return []Way{{"read-only file system", unix.EROFS, mountReadOnly}, {"another user", unix.EACCES, becomeOther}}
}

// mountReadOnly mounts dir once more, for reading only.
func mountReadOnly(t *testing.T, dir string) string {
	t.Helper()
	at := t.TempDir()
	if err := unix.Mount(dir, at, "", unix.MS_BIND, ""); err != nil {
		t.Skipf("this process may not mount: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(at, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	if err := unix.Mount("", at, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	return at
}

const nobody = 65534 // a user who owns nothing

// becomeOther lets all read dir and nobody write to it, and runs the rest of the test
// as a user to whom that applies.
func becomeOther(t *testing.T, dir string) string {
	t.Helper()
	for above := dir; above != filepath.Clean(os.TempDir()) && above != "/"; above = filepath.Dir(above) {
		if err := os.Chmod(above, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	setModes(t, dir, 0o555, 0o444)
	t.Cleanup(func() { setModes(t, dir, 0o755, 0o644) })
	if os.Geteuid() != 0 {
		return dir
	}
	if err := syscall.Seteuid(nobody); err != nil {
		t.Skipf("this process may not become another user: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Seteuid(0); err != nil {
			t.Fatal(err)
		}
	})
	return dir
}

func setModes(t *testing.T, dir string, dirs, files fs.FileMode) {
	t.Helper()
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir():
			return os.Chmod(name, dirs)
		}
		return os.Chmod(name, files)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// List describes all that lies in dir: name, mode, time and content.
func List(t *testing.T, dir string) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		fmt.Fprintf(&all, "%s %v %d %d", name, info.Mode(), info.Size(), info.ModTime().UnixNano())
		if info.Mode().IsRegular() {
			p, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			fmt.Fprintf(&all, " %x", sha256.Sum256(p))
		}
		all.WriteByte('\n')
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	return all.String()
}
