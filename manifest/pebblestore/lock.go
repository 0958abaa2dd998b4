package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// LockDir keeps other processes out of dir, which is made if it is missing, until
// the Closer is closed, and this one too, by whatever name it calls the directory;
// ErrLocked says that one is there. A directory that cannot be written to is locked
// against those who can write to it, and not against others who only read it. Such
// a lock needs the file of the lock, which everybody leaves who has ever written
// there, and a file system that knows locks; without them nothing is locked. A nil
// file system is the operating system's.
func LockDir(dir string, f FS) (io.Closer, error) {
	if f == nil {
		f = vfs.Default
	}
	if err := makeDir(f, filepath.Clean(dir)); err != nil {
		return nil, err
	}
	if f == vfs.Default {
		// The system's lock is none for the process that holds it. Pebble knows what this
		// one has locked, by name, so one directory must have one name.
		if abs, err := filepath.Abs(dir); err == nil {
			dir = abs
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
	}
	lock, err := lockFile(f, f.PathJoin(dir, ".lock"))
	switch {
	case err == nil:
		return lock, nil
	case isLocked(err):
		return nil, lockedError(err)
	case errors.Is(err, errUnreadable):
		return nil, err
	}
	return unlocked{}, nil
}

// makeDir makes dir and the directories above it that are missing, for the owner
// alone. Each is made once the one above it is durable, and is durable itself on
// return: also one that was there, which a process may have made that was killed
// before it could sync it. Pebble syncs only the directories that it makes.
func makeDir(f FS, dir string) error {
	above := f.PathDir(dir)
	if above == dir {
		return nil
	}
	_, err := f.Stat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err != nil && !made {
		return err
	}
	if made {
		if err := makeDir(f, above); err != nil {
			return err
		}
		if err := f.MkdirAll(dir, 0o700); err != nil {
			return err
		}
	}
	d, err := f.OpenDir(above)
	if err == nil {
		err = errors.Join(d.Sync(), d.Close())
	}
	if !made && IsUnwritable(err) { // others made it, who do not show what is beside it
		return nil
	}
	return err
}

// errUnreadable reports a file of a lock that this process may not even read, so that
// it cannot know whether somebody writes.
var errUnreadable = errors.New("the file of its lock cannot be read")

// lockFile locks a file, for readers only where it cannot be written to.
func lockFile(f FS, name string) (io.Closer, error) {
	// This comes first: Pebble knows the files that this process has locked, and to close
	// another handle of one would unlock it.
	lock, err := f.Lock(name)
	if f != vfs.Default || !IsUnwritable(err) {
		return lock, err
	}
	file, err := os.Open(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return unlocked{}, nil
	case errors.Is(err, fs.ErrPermission):
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	case err != nil:
		return nil, err
	}
	if err := lockShared(file); err != nil {
		err = errors.Join(err, file.Close())
		if isLocked(err) {
			return nil, err
		}
		return unlocked{}, nil
	}
	return file, nil
}

// IsUnwritable reports whether err is that of a file or directory which this process
// may not write to.
func IsUnwritable(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS)
}

type unlocked struct{}

func (unlocked) Close() error { return nil }

// A readFS is the file system of a database that is only read.
type readFS struct{ vfs.FS }

func (r readFS) Lock(name string) (io.Closer, error) { return lockFile(r.FS, name) }

func (r readFS) Unwrap() vfs.FS { return r.FS }
