package buckets

import (
	"context"
	"io"
	"io/fs"
	"iter"
)

// A Bucket is a named policy over files, as one principal sees it: every
// method first asks the store's authoriser.
type Bucket struct {
	store *Store
	name  string
	who   *Principal
}

// As returns the bucket as seen by who.
func (b *Bucket) As(who *Principal) *Bucket { return &Bucket{store: b.store, name: b.name, who: who} }

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.name }

// Put stores the content of r under name. By default a name that the folder
// already holds becomes a new version of that file. The file it returns is
// durable.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader, opts *PutOptions) (*File, error) {
	panic("unwritten")
}

// Replace stores the content of r as a new version of the file id (f_…).
func (b *Bucket) Replace(ctx context.Context, id string, r io.Reader, opts *PutOptions) (*File, error) {
	panic("unwritten")
}

// Stat describes the file (f_…) or version (m_…) id.
func (b *Bucket) Stat(ctx context.Context, id string, opts *GetOptions) (*File, error) {
	panic("unwritten")
}

// StatPath describes the active file at a path: folder and name joined by '/'.
func (b *Bucket) StatPath(ctx context.Context, path string) (*File, error) { panic("unwritten") }

// Open opens the content of the file (f_…) or version (m_…) id. ctx governs
// all reads of the object.
func (b *Bucket) Open(ctx context.Context, id string, opts *GetOptions) (*Object, error) {
	panic("unwritten")
}

// List yields the files that opts choose.
func (b *Bucket) List(ctx context.Context, opts *ListOptions) iter.Seq2[*File, error] {
	panic("unwritten")
}

// Cursor returns the value of ListOptions.After that continues after f.
func (b *Bucket) Cursor(f *File) string { panic("unwritten") }

// Update changes what is known about the file id (f_…), not its content.
func (b *Bucket) Update(ctx context.Context, id string, p *Patch) (*File, error) { panic("unwritten") }

// Delete moves the file id (f_…) to the trash; its name is free again.
func (b *Bucket) Delete(ctx context.Context, id string, opts *DeleteOptions) (*File, error) {
	panic("unwritten")
}

// Undelete takes the file id (f_…) out of the trash, under a free name if its
// own has been taken since.
func (b *Bucket) Undelete(ctx context.Context, id string) (*File, error) { panic("unwritten") }

// Purge removes the file id (f_…), trashed or not, and all its versions for good.
func (b *Bucket) Purge(ctx context.Context, id string, opts *DeleteOptions) error { panic("unwritten") }

// Copy makes a new file in dst with the content of id, moving no data.
func (b *Bucket) Copy(ctx context.Context, id string, dst *Bucket, opts *CopyOptions) (*File, error) {
	panic("unwritten")
}

// Versions yields the versions of the file id (f_…), newest first.
func (b *Bucket) Versions(ctx context.Context, id string) iter.Seq2[*File, error] {
	panic("unwritten")
}

// RestoreVersion makes a new version of the file id with the content of
// version n, moving no data.
func (b *Bucket) RestoreVersion(ctx context.Context, id string, n uint64) (*File, error) {
	panic("unwritten")
}

// DeleteVersion removes version n of the file id for good. When it was the
// current one, the newest that is left becomes current.
func (b *Bucket) DeleteVersion(ctx context.Context, id string, n uint64) error { panic("unwritten") }

// Usage sums the bucket up.
func (b *Bucket) Usage(ctx context.Context) (Usage, error) { panic("unwritten") }

// FS is a read-only view of the bucket's active files. ctx governs all its
// reads.
func (b *Bucket) FS(ctx context.Context) fs.FS { panic("unwritten") }
