package crashfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/backend/diskbackend"
)

// Disk returns the directory dir of the file system for a disk backend. If it is
// missing it is made, durably.
func (f *FS) Disk(dir string) diskbackend.FS {
	d := &disk{fs: f.VFS(), root: path.Join("/", dir)}
	f.mu.Lock()
	defer f.mu.Unlock()
	// This is not counted, since it is no part of what a test crashes. In memory
	// none of it fails.
	if _, err := f.mem.Stat(d.root); err == nil {
		return d
	}
	must(f.mem.MkdirAll(d.root, 0o700))
	for at := d.root; at != "/"; {
		at = path.Dir(at)
		above, err := f.mem.OpenDir(at)
		must(err)
		must(above.Sync())
		must(above.Close())
	}
	return d
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// A disk is a directory for a diskbackend.Backend. Files of vfs.MemFS have no
// permissions that survive a crash, so a file has a first byte that stands for
// them: it is sealedMark once the file is sealed.
type disk struct {
	fs   vfs.FS
	root string
}

var sealedMark = []byte{1}

func (d *disk) fullPath(name string) string { return path.Join(d.root, name) }

func (d *disk) Create(name string) (diskbackend.File, error) {
	if _, err := d.fs.Stat(d.fullPath(name)); err == nil {
		return nil, &fs.PathError{Op: "create", Path: name, Err: fs.ErrExist}
	}
	f, err := d.fs.Create(d.fullPath(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	w := &diskFile{f: f}
	_, err = w.writeRaw([]byte{0})
	return w, err
}

func (d *disk) Append(name string) (diskbackend.File, int64, error) {
	info, err := d.statRegular("append", name)
	if err != nil {
		return nil, 0, err
	}
	f, err := d.fs.OpenReadWrite(d.fullPath(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, 0, err
	}
	// The next Write goes where reading has ended.
	end, err := io.Copy(io.Discard, struct{ io.Reader }{f})
	w := &diskFile{f: f}
	if err == nil && end == 0 { // the crash left a name only
		_, err = w.writeRaw([]byte{0})
	}
	return w, info.Size(), err
}

func (d *disk) statRegular(op, name string) (fs.FileInfo, error) {
	info, err := d.Stat(name)
	if err == nil && info.IsDir() {
		err = &fs.PathError{Op: op, Path: name, Err: fs.ErrNotExist}
	}
	return info, err
}

func (d *disk) Open(name string) (diskbackend.ReadFile, error) {
	if _, err := d.statRegular("open", name); err != nil {
		return nil, err
	}
	f, err := d.fs.Open(d.fullPath(name))
	if err != nil {
		return nil, err
	}
	return diskReader{f}, nil
}

func (d *disk) Rename(from, to string) error { return d.fs.Rename(d.fullPath(from), d.fullPath(to)) }
func (d *disk) Remove(name string) error     { return d.fs.Remove(d.fullPath(name)) }
func (d *disk) MkdirAll(dir string) error    { return d.fs.MkdirAll(d.fullPath(dir), 0o700) }

func (d *disk) ReadDir(dir string) ([]string, error) {
	names, err := d.fs.List(d.fullPath(dir))
	if err != nil && d.underFile(dir) {
		err = &fs.PathError{Op: "readdir", Path: dir, Err: fs.ErrNotExist}
	}
	return names, err
}

// underFile reports whether a file stands where name has a directory. Pebble
// has no error of its own for that.
func (d *disk) underFile(name string) bool {
	for ; name != "."; name = path.Dir(name) {
		if info, err := d.fs.Stat(d.fullPath(name)); err == nil {
			return !info.IsDir()
		}
	}
	return false
}

func (d *disk) Stat(name string) (fs.FileInfo, error) {
	info, err := d.fs.Stat(d.fullPath(name))
	if err != nil && d.underFile(name) {
		err = &fs.PathError{Op: "stat", Path: name, Err: fs.ErrNotExist}
	}
	if err != nil || info.IsDir() {
		return info, err
	}
	f, err := d.fs.Open(d.fullPath(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	mark := []byte{0}
	if _, err := f.ReadAt(mark, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	return diskInfo{info, bytes.Equal(mark, sealedMark)}, nil
}

func (d *disk) SyncDir(dir string) error {
	f, err := d.fs.OpenDir(d.fullPath(dir))
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d *disk) Free() (free, total uint64, err error) { return 0, 0, errors.ErrUnsupported }

// A diskInfo describes a file without its first byte.
type diskInfo struct {
	fs.FileInfo
	sealed bool
}

func (i diskInfo) Size() int64 { return max(i.FileInfo.Size()-1, 0) }

func (i diskInfo) Mode() fs.FileMode {
	if i.sealed {
		return 0o400
	}
	return 0o600
}

type diskFile struct {
	f vfs.File

	mu     sync.RWMutex // held for reading while f is used, for writing by Close
	closed bool         // guarded by mu
}

func (w *diskFile) Write(p []byte) (int, error) {
	// Under the race detector Pebble's files overwrite their argument, to find
	// callers that use it again.
	return w.writeRaw(bytes.Clone(p))
}

func (w *diskFile) writeRaw(p []byte) (n int, err error) {
	err = w.whileOpen(func() error {
		n, err = w.f.Write(p)
		return err
	})
	return n, err
}

func (w *diskFile) Sync() error { return w.whileOpen(w.f.Sync) }

func (w *diskFile) Seal() error {
	return w.whileOpen(func() error {
		_, err := w.f.WriteAt(bytes.Clone(sealedMark), 0)
		return err
	})
}

// whileOpen calls fn, or fails after Close: Pebble's file would panic.
func (w *diskFile) whileOpen(fn func() error) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return fs.ErrClosed
	}
	return fn()
}

func (w *diskFile) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fs.ErrClosed
	}
	w.closed = true
	return w.f.Close()
}

type diskReader struct{ f vfs.File }

func (r diskReader) ReadAt(p []byte, off int64) (int, error) { return r.f.ReadAt(p, off+1) }
func (r diskReader) Close() error                            { return r.f.Close() }
