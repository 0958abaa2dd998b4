package crashfs

import (
	"io"
	"os"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// VFS returns the file system for Pebble.
func (f *FS) VFS() vfs.FS { return &countingFS{f.mem, f} }

// A countingFS counts the operations that change something.
type countingFS struct {
	vfs.FS
	f *FS
}

// Unwrap implements vfs.FS. It returns nil, since operations on the inner file
// system would not be counted.
func (c *countingFS) Unwrap() vfs.FS { return nil }

// wrapFile returns a function that makes a countingFile of a new file.
func (c *countingFS) wrapFile(name string) func(vfs.File, error) (vfs.File, error) {
	return func(f vfs.File, err error) (vfs.File, error) {
		if err != nil {
			return nil, err
		}
		return &countingFile{f, c.f, strings.HasSuffix(name, ".sst")}, nil
	}
}

func (c *countingFS) Create(name string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	defer c.f.beginWrite()()
	return c.wrapFile(name)(c.FS.Create(name, cat))
}

func (c *countingFS) OpenReadWrite(name string, cat vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	defer c.f.beginWrite()()
	return c.wrapFile(name)(c.FS.OpenReadWrite(name, cat, opts...))
}

func (c *countingFS) ReuseForWrite(from, to string, cat vfs.DiskWriteCategory) (vfs.File, error) {
	defer c.f.beginWrite()()
	return c.wrapFile(to)(c.FS.ReuseForWrite(from, to, cat))
}

// OpenDir implements vfs.FS. Directories are opened to be synced.
func (c *countingFS) OpenDir(name string) (vfs.File, error) {
	return c.wrapFile(name)(c.FS.OpenDir(name))
}

func (c *countingFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return c.wrapFile(name)(c.FS.Open(name, opts...))
}

func (c *countingFS) Link(from, to string) error {
	defer c.f.beginWrite()()
	return c.FS.Link(from, to)
}

func (c *countingFS) Rename(from, to string) error {
	defer c.f.beginWrite()()
	return c.FS.Rename(from, to)
}

func (c *countingFS) Remove(name string) error {
	defer c.f.beginWrite()()
	return c.FS.Remove(name)
}

func (c *countingFS) RemoveAll(name string) error {
	defer c.f.beginWrite()()
	return c.FS.RemoveAll(name)
}

func (c *countingFS) MkdirAll(dir string, perm os.FileMode) error {
	defer c.f.beginWrite()()
	return c.FS.MkdirAll(dir, perm)
}

func (c *countingFS) Lock(name string) (io.Closer, error) {
	defer c.f.beginWrite()()
	return c.FS.Lock(name)
}

type countingFile struct {
	vfs.File
	f     *FS
	table bool // its bytes were written to the log before
}

func (c *countingFile) Write(p []byte) (int, error) {
	defer c.f.beginWrite()()
	c.countWritten(p)
	return c.File.Write(p)
}

func (c *countingFile) countWritten(p []byte) {
	if !c.table {
		c.f.written.Add(int64(len(p)))
	}
}

func (c *countingFile) Read(p []byte) (int, error) {
	n, err := c.File.Read(p)
	c.f.read.Add(int64(n))
	return n, err
}

func (c *countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := c.File.ReadAt(p, off)
	c.f.read.Add(int64(n))
	return n, err
}

func (c *countingFile) WriteAt(p []byte, off int64) (int, error) {
	defer c.f.beginWrite()()
	c.countWritten(p)
	return c.File.WriteAt(p, off)
}

func (c *countingFile) Sync() error {
	defer c.f.beginWrite()()
	return c.File.Sync()
}

func (c *countingFile) SyncData() error {
	defer c.f.beginWrite()()
	return c.File.SyncData()
}
