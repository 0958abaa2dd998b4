package diskbackend

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

var errIrregular = errors.New("not a regular file")

// An osFS is a directory of the operating system. os.Root keeps every path inside
// it, whatever links somebody makes.
type osFS struct {
	root *os.Root
}

// openOS opens dir, making it if need be and unless it is to be read only.
func openOS(dir string, readOnly bool) (*osFS, error) {
	if !readOnly {
		if err := mkdirDurable(filepath.Clean(dir)); err != nil {
			return nil, err
		}
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	return &osFS{root}, nil
}

// mkdirDurable makes dir and the directories above it that are missing, for the
// owner alone. Each is made once the one above it is durable, and is durable itself
// on return: also one that was there, which a process may have made that was killed
// before it could sync it.
func mkdirDurable(dir string) error {
	above := filepath.Dir(dir)
	if above == dir {
		return nil
	}
	_, err := os.Stat(dir)
	made := errors.Is(err, fs.ErrNotExist)
	if err != nil && !made {
		return err
	}
	if made {
		if err := mkdirDurable(above); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	d, err := os.Open(above)
	if err == nil {
		err = errors.Join(syncDir(d), d.Close())
	}
	if !made && errors.Is(err, fs.ErrPermission) { // others made it, who do not show what is beside it
		return nil
	}
	return err
}

func (o *osFS) Create(name string) (File, error) {
	f, err := o.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	return osFile{f}, nil
}

func (o *osFS) Append(name string) (File, int64, error) {
	if err := o.checkRegular("append", name); err != nil {
		return nil, 0, err
	}
	f, err := o.root.OpenFile(name, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return osFile{f}, info.Size(), nil
}

func (o *osFS) Open(name string) (ReadFile, error) {
	if err := o.checkRegular("open", name); err != nil {
		return nil, err
	}
	f, err := o.root.Open(name)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// checkRegular refuses what is no regular file: os.Root would follow a link that
// stays inside, and opening a pipe may block.
func (o *osFS) checkRegular(op, name string) error {
	info, err := o.root.Lstat(name)
	switch {
	case err != nil:
		return err
	case info.IsDir():
		return &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	case !info.Mode().IsRegular():
		return &fs.PathError{Op: op, Path: name, Err: errIrregular}
	}
	return nil
}

func (o *osFS) Rename(from, to string) error          { return o.root.Rename(from, to) }
func (o *osFS) Remove(name string) error              { return o.root.Remove(name) }
func (o *osFS) MkdirAll(dir string) error             { return o.root.MkdirAll(dir, 0o700) }
func (o *osFS) Stat(name string) (fs.FileInfo, error) { return o.root.Lstat(name) }

func (o *osFS) ReadDir(dir string) ([]string, error) {
	d, err := o.root.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}

func (o *osFS) SyncDir(dir string) error {
	d, err := o.root.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(d), d.Close())
}

func (o *osFS) Free() (free, total uint64, err error) { return freeSpace(o.root) }

func (o *osFS) Close() error { return o.root.Close() }

type osFile struct{ *os.File }

func (f osFile) Seal() error { return f.Chmod(0o400) }
