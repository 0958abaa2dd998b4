// Package diskbackend keeps objects as files of one directory, a file per
// object, its key the path.
//
//	b, err := diskbackend.Open("/srv/cairn/packs", nil)
//
// # How an object becomes durable
//
// A Writer works on a temporary file beside the place where the object is to
// be. The first Sync publishes it:
//
//	openat(".new-…", O_CREAT|O_EXCL)  write…   temporary name, same directory
//	fsync(file)                                bytes before name
//	renameat(".new-…", key)                    the object is readable
//	fsync(directory, and those above it that are new)
//
// Later Syncs are one fsync(file). Commit does what Sync does, and takes away
// the permission to write: fsync, fchmod(0400), fsync. A file without that
// permission is therefore whole. All this happens inside an os.Root, so no
// link leads out of the directory.
//
// Open removes temporary files that a crash has left, and syncs what a process
// that died may have published and not synced: what is readable after Open is
// durable. One process at a time may use a directory; Open does not check that.
package diskbackend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"sync"
	"syscall"

	"github.com/cairn-store/cairn/backend"
)

// Options are choices of Open; nil and zero values mean the defaults.
type Options struct {
	// Reserve is how many bytes of the volume content leaves free: CheckRoom
	// fails with backend.ErrNoSpace when it would take them, for copies when they
	// would take the second half, Create and Write when they would take the last
	// quarter. 0 means 5 % of the volume, but at least 8 MiB and at most 256 MiB; a
	// negative number means none.
	Reserve int64

	// OpenFiles is how many files stay open for reading. 0 means 128.
	OpenFiles int

	// ReadOnly leaves everything as it is when the backend is opened, also what a
	// dead process has left. It is for those who only read.
	ReadOnly bool

	// Only is the directory that all keys lie in, "" for any. What lies beside it is
	// somebody else's, who may be at work there, and is not looked at.
	Only string

	// FS replaces the operating system's files. Open's dir is then only
	// used in messages.
	FS FS
}

// A Backend is a backend.Backend in a directory.
type Backend struct {
	fs    FS
	space *gate
	open  *handles

	// mu guards what follows. It is held from the check that a key is free to
	// the rename that takes it, so that of two Writers one publishes. It is
	// locked after writer.syncing.
	mu      sync.Mutex
	writing map[string]bool // keys that were published and have a Writer
	begun   map[string]bool // temporary files of Writers
	entered map[string]bool // directories whose entry in the one above is durable
}

var (
	_ backend.Limited = (*Backend)(nil)
	_ backend.Leaver  = (*Backend)(nil)
)

var errBusy = errors.New("another Writer is at work")

// Open opens the backend in dir, which is made if it is missing.
func Open(dir string, opts *Options) (*Backend, error) {
	b, err := openBackend(dir, opts)
	if err != nil {
		return nil, wrapError("open", dir, err)
	}
	return b, nil
}

func openBackend(dir string, opts *Options) (_ *Backend, err error) {
	if opts == nil {
		opts = &Options{}
	}
	b := &Backend{fs: opts.FS, writing: make(map[string]bool), begun: make(map[string]bool), entered: make(map[string]bool)}
	if b.fs == nil {
		if b.fs, err = openOS(dir, opts.ReadOnly); err != nil {
			return nil, err
		}
	}
	n := opts.OpenFiles
	if n <= 0 {
		n = 128
	}
	b.open = newHandles(b.fs, n)
	if b.space, err = newGate(b.fs, opts.Reserve); err == nil && !opts.ReadOnly {
		err = b.recoverAll(opts.Only)
	}
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// Close closes the files that are open for reading. The callers end Writers.
func (b *Backend) Close() error {
	err := b.open.close()
	if o, ok := b.fs.(*osFS); ok {
		err = errors.Join(err, o.Close())
	}
	return err
}

// recoverAll is recoverDir for all keys, which lie below only.
func (b *Backend) recoverAll(only string) error {
	if only == "" {
		return b.recoverDir(".")
	}
	info, err := b.fs.Stat(only)
	if err == nil && info.IsDir() {
		err = b.recoverDir(only)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err == nil {
		err = b.fs.SyncDir(".")
	}
	b.entered["."] = err == nil
	return err
}

// recoverDir removes temporary files in and below dir, and syncs the files and
// directories that may not be durable.
func (b *Backend) recoverDir(dir string) error {
	names, err := b.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, base := range names {
		name := path.Join(dir, base)
		if isTemp(base) {
			if err := b.fs.Remove(name); err != nil {
				return err
			}
			continue
		}
		if !backend.ValidKey(name) {
			continue
		}
		info, err := b.fs.Stat(name)
		switch {
		case err != nil:
			return err
		case info.IsDir():
			err = b.recoverDir(name)
		case info.Mode().IsRegular() && !isCommitted(info):
			err = b.syncFile(name)
		}
		if err != nil {
			return err
		}
	}
	if err := b.fs.SyncDir(dir); err != nil {
		return err
	}
	b.entered[dir] = true // the directory above is synced before Open returns
	return nil
}

func (b *Backend) syncFile(name string) error {
	f, _, err := b.fs.Append(name)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// syncDirs makes the entries of dir durable, and dir's own entry in each
// directory above it.
func (b *Backend) syncDirs(dir string) error {
	for d := dir; ; d = path.Dir(d) {
		if err := b.fs.SyncDir(d); err != nil {
			return err
		}
		b.mu.Lock()
		done := b.entered[d]
		b.mu.Unlock()
		if done || d == "." {
			break
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for d := dir; d != "." && !b.entered[d]; d = path.Dir(d) {
		b.entered[d] = true
	}
	return nil
}

// wrapError adds operation and object to err. It is called once for each error
// that leaves the package.
func wrapError(op, key string, err error) error {
	switch {
	case isNoSpace(err):
		err = fmt.Errorf("%w: %w", backend.ErrNoSpace, err)
	case errors.Is(err, syscall.ENOTDIR): // an object stands where a directory would be
		err = fmt.Errorf("%w: %w", fs.ErrNotExist, err)
	}
	return fmt.Errorf("diskbackend: %s %s: %w", op, key, err)
}

func checkKey(ctx context.Context, key string) error {
	if !isPortable(key) {
		return fs.ErrInvalid
	}
	return backend.CheckKey(ctx, key)
}

// statObject describes the file of an object. A directory is fs.ErrNotExist.
func (b *Backend) statObject(key string) (fs.FileInfo, error) {
	info, err := b.fs.Stat(key)
	switch {
	case err != nil:
		return nil, err
	case info.IsDir():
		return nil, fs.ErrNotExist
	case !info.Mode().IsRegular():
		return nil, errIrregular
	}
	return info, nil
}

// Create implements backend.Backend.
func (b *Backend) Create(ctx context.Context, key string) (backend.Writer, error) {
	w, err := b.createWriter(ctx, key)
	if err != nil {
		return nil, wrapError("create", key, err)
	}
	return w, nil
}

func (b *Backend) createWriter(ctx context.Context, key string) (*writer, error) {
	if err := checkKey(ctx, key); err != nil {
		return nil, err
	}
	if err := b.space.takeSpace(0); err != nil {
		return nil, err
	}
	if err := b.checkVacant(key); err != nil {
		return nil, err
	}
	dir := path.Dir(key)
	if err := b.fs.MkdirAll(dir); err != nil {
		return nil, err
	}
	temp := path.Join(dir, newTemp())
	b.setBegun(temp, true)
	f, err := b.fs.Create(temp)
	if err != nil {
		b.setBegun(temp, false)
		return nil, err
	}
	return &writer{b: b, life: backend.Lifetime{Ctx: ctx}, key: key, temp: temp, file: f}, nil
}

// setBegun notes whether a Writer has a temporary file.
func (b *Backend) setBegun(temp string, begun bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if begun {
		b.begun[temp] = true
	} else {
		delete(b.begun, temp)
	}
}

// CheckRoom implements backend.Limited.
func (b *Backend) CheckRoom(n int64, copies bool) error { return b.space.checkContent(n, copies) }

// CopyRoom implements backend.Limited.
func (b *Backend) CopyRoom() int64 { return b.space.reserve / 2 }

// checkVacant returns fs.ErrExist if a file or directory has the name of key.
func (b *Backend) checkVacant(key string) error {
	_, err := b.fs.Stat(key)
	switch {
	case err == nil:
		return fs.ErrExist
	case errors.Is(err, fs.ErrNotExist):
		return nil
	}
	return err
}

// Append implements backend.Backend.
func (b *Backend) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	w, size, err := b.appendWriter(ctx, key)
	if err != nil {
		return nil, 0, wrapError("append", key, err)
	}
	return w, size, nil
}

func (b *Backend) appendWriter(ctx context.Context, key string) (_ *writer, _ int64, err error) {
	if err := checkKey(ctx, key); err != nil {
		return nil, 0, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	info, err := b.statObject(key)
	switch {
	case err != nil:
		return nil, 0, err
	case isCommitted(info):
		return nil, 0, fs.ErrExist
	case b.writing[key]:
		return nil, 0, errBusy
	}
	f, size, err := b.fs.Append(key)
	if err != nil {
		return nil, 0, err
	}
	// An earlier Writer may have given up between write and sync.
	if err := f.Sync(); err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	b.writing[key] = true
	return &writer{b: b, life: backend.Lifetime{Ctx: ctx}, key: key, file: f, published: true}, size, nil
}

// ReadAt implements backend.Backend.
func (b *Backend) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	err := checkKey(ctx, key)
	if err == nil && off < 0 {
		err = fs.ErrInvalid
	}
	if err == nil {
		err = b.open.withFile(key, func(f ReadFile) error {
			n, err := f.ReadAt(p, off)
			switch {
			case n == len(p):
				return nil
			case errors.Is(err, io.EOF):
				return io.ErrUnexpectedEOF
			}
			return err
		})
	}
	if err != nil {
		return wrapError("read", key, err)
	}
	return nil
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, key string) (backend.Info, error) {
	err := checkKey(ctx, key)
	if err != nil {
		return backend.Info{}, wrapError("stat", key, err)
	}
	info, err := b.statObject(key)
	if err != nil {
		return backend.Info{}, wrapError("stat", key, err)
	}
	return backend.Info{Key: key, Size: info.Size(), ModTime: info.ModTime()}, nil
}

// Delete implements backend.Backend. The deletion is durable when it returns.
func (b *Backend) Delete(ctx context.Context, key string) error {
	if err := b.deleteFile(ctx, key); err != nil {
		return wrapError("delete", key, err)
	}
	return nil
}

func (b *Backend) deleteFile(ctx context.Context, key string) error {
	if err := checkKey(ctx, key); err != nil {
		return err
	}
	if info, err := b.fs.Stat(key); err == nil && !info.IsDir() {
		if err := b.fs.Remove(key); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	b.open.drop(key)
	b.space.askAnew()
	// The directory is synced even if the file was missing: an earlier
	// Delete may have got no further.
	err := b.fs.SyncDir(path.Dir(key))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil
	}
	return err
}
