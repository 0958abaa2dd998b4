package buckets

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/names"
	"github.com/cairn-store/cairn/manifest"
)

// FS is a read-only view of the bucket's active files. Folders are the
// directories; one that has the path of a file hides it. ctx governs all
// reads.
func (b *Bucket) FS(ctx context.Context) fs.FS { return &bucketFS{ctx, b} }

type bucketFS struct {
	ctx context.Context // the methods of an fs.FS take none
	b   *Bucket
}

// Open implements fs.FS.
func (v *bucketFS) Open(name string) (fs.File, error) {
	if !fs.ValidPath(name) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrInvalid}
	}
	f, err := v.openName(names.CanonicalPath(name))
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: err}
	}
	return f, nil
}

// Glob implements fs.GlobFS, for patterns in any normal form.
func (v *bucketFS) Glob(pattern string) ([]string, error) {
	return fs.Glob(struct{ fs.FS }{v}, names.CanonicalPath(pattern))
}

func (v *bucketFS) openName(name string) (fs.File, error) {
	dir, err := v.isDir(name)
	if err != nil {
		return nil, err
	}
	if dir {
		return &fsDir{v: v, name: name}, nil
	}
	f, err := v.b.StatPath(v.ctx, name)
	if err != nil {
		return nil, err
	}
	o, err := v.b.Open(v.ctx, f.ManifestID, nil)
	if err != nil {
		return nil, err
	}
	return &fsFile{o}, nil
}

// isDir reports whether some file lies below name.
func (v *bucketFS) isDir(name string) (bool, error) {
	if name == "." {
		return true, nil
	}
	for _, err := range v.b.List(v.ctx, &ListOptions{Prefix: name + "/", Limit: 1}) {
		return err == nil, err
	}
	return false, nil
}

// An fsFile is an open file of the view.
type fsFile struct{ o *Object }

func (f *fsFile) Stat() (fs.FileInfo, error)              { return fsInfo{file: &f.o.File}, nil }
func (f *fsFile) Read(p []byte) (int, error)              { return f.o.Read(p) }
func (f *fsFile) ReadAt(p []byte, off int64) (int, error) { return f.o.ReadAt(p, off) }
func (f *fsFile) Seek(off int64, whence int) (int64, error) {
	return f.o.Seek(off, whence)
}
func (f *fsFile) WriteTo(w io.Writer) (int64, error) { return f.o.WriteTo(w) }
func (f *fsFile) Close() error                       { return f.o.Close() }

// fsInfo describes a file or, without one, a directory.
type fsInfo struct {
	file *File
	name string
}

func (i fsInfo) Name() string {
	if i.file != nil {
		return i.file.Name
	}
	return path.Base(i.name)
}

func (i fsInfo) Size() int64 {
	if i.file != nil {
		return i.file.Size
	}
	return 0
}

func (i fsInfo) Mode() fs.FileMode {
	if i.file != nil {
		return 0o444
	}
	return fs.ModeDir | 0o555
}

func (i fsInfo) ModTime() time.Time {
	if i.file != nil {
		return i.file.ModifiedAt
	}
	return time.Time{}
}

func (i fsInfo) IsDir() bool { return i.file == nil }

// Sys returns the *File, or nil for a directory.
func (i fsInfo) Sys() any {
	if i.file != nil {
		return i.file
	}
	return nil
}

// An fsDir is an open directory of the view.
type fsDir struct {
	v       *bucketFS
	name    string
	entries []fs.DirEntry
	listed  bool
}

func (d *fsDir) Stat() (fs.FileInfo, error) { return fsInfo{name: d.name}, nil }
func (d *fsDir) Close() error               { return nil }
func (d *fsDir) Read([]byte) (int, error) {
	return 0, &fs.PathError{Op: "read", Path: d.name, Err: errors.New("is a directory")}
}

// ReadDir implements fs.ReadDirFile.
func (d *fsDir) ReadDir(n int) ([]fs.DirEntry, error) {
	if err := d.v.b.s.life.Err(); err != nil {
		return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: err}
	}
	if !d.listed {
		var err error
		if d.entries, err = d.v.readDir(d.name); err != nil {
			return nil, &fs.PathError{Op: "readdir", Path: d.name, Err: err}
		}
		d.listed = true
	}
	if n <= 0 || n > len(d.entries) {
		if n > 0 && len(d.entries) == 0 {
			return nil, io.EOF
		}
		n = len(d.entries)
	}
	out := d.entries[:n]
	d.entries = d.entries[n:]
	return out, nil
}

// readDir returns the entries of a directory. Where the list rule does not look
// at files it does not read what lies deeper.
func (v *bucketFS) readDir(name string) ([]fs.DirEntry, error) {
	err := v.b.check(v.ctx, &access.Request{Op: access.OpList})
	perFile := errors.Is(err, access.ErrPerFile)
	if err != nil && !perFile {
		return nil, err
	}
	prefix := name + "/"
	if name == "." {
		prefix = ""
	}
	entries := make(map[string]fs.DirEntry)
	after := ""
	for {
		l, err := v.nextListed(prefix, after)
		if l == nil || err != nil {
			return sortedEntries(entries), err
		}
		after = l.Key
		rest := strings.TrimPrefix(after, prefix)
		if l.Current != nil && names.IsFolderMarker(after, l.Current.Size) {
			continue
		}
		dir, _, deeper := strings.Cut(rest, "/")
		var file *File
		if perFile || !deeper {
			if file, err = v.visibleFile(l, perFile); err != nil {
				return nil, err
			}
			if file == nil {
				continue
			}
		}
		switch {
		case deeper:
			entries[dir] = fs.FileInfoToDirEntry(fsInfo{name: dir})
			after = prefix + dir + "/\xff" // past all paths, which are UTF-8
		case entries[rest] == nil: // else a directory hides it
			entries[rest] = fs.FileInfoToDirEntry(fsInfo{file: file})
		}
	}
}

// visibleFile describes a file of the listing. It returns nil if the file's row is
// lost or, where each file decides, the principal may not see it.
func (v *bucketFS) visibleFile(l *manifest.Listed, perFile bool) (*File, error) {
	if l.Current == nil {
		return nil, nil
	}
	if perFile {
		if listed, err := v.b.mayList(v.ctx, l.File, l.Current); !listed || err != nil {
			return nil, err
		}
	}
	return v.b.describeFile(l.File, l.Current), nil
}

// nextListed returns the first active file under prefix whose path comes after a
// path, nil at the end.
func (v *bucketFS) nextListed(prefix, after string) (*manifest.Listed, error) {
	for l, err := range v.b.s.meta.List(v.ctx, v.b.b.name, &manifest.Range{Prefix: prefix, After: after}) {
		return l, err
	}
	return nil, nil
}

func sortedEntries(m map[string]fs.DirEntry) []fs.DirEntry {
	out := make([]fs.DirEntry, 0, len(m))
	for _, e := range m {
		out = append(out, e)
	}
	slices.SortFunc(out, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	return out
}
