package buckets

import (
	"cmp"
	"context"
	"errors"
	"io/fs"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

// Copy makes a new file in dst with the content of id. Within one backend no
// data moves.
func (b *Bucket) Copy(ctx context.Context, id string, dst *Bucket, opts *CopyOptions) (*File, error) {
	if opts == nil {
		opts = &CopyOptions{}
	}
	src, m, err := b.findPermitted(ctx, access.OpDownload, id, &GetOptions{Version: opts.Version})
	if errors.Is(err, ErrNoFile) { // since the request was first sent?
		if out, oerr := dst.findEarlier(ctx, dst.s.meta, opts.Once); out != nil || oerr != nil {
			return out, cmp.Or(oerr, dst.awaitDurable(ctx))
		}
	}
	if err != nil {
		return nil, err
	}
	put := &PutOptions{Folder: src.Folder, MIMEType: m.DeclaredMIMEType, OnConflict: opts.OnConflict, Once: opts.Once}
	if checkDeclared(put.MIMEType) != nil { // from before it was checked
		put.MIMEType = ""
	}
	// A copy tells no more than its maker may see.
	switch err := b.checkFile(ctx, access.OpRead, src, m); {
	case err == nil:
		put.Metadata, put.Tags = decodeExact(src.Metadata), src.Tags
		put.CacheControl = src.CacheControl
	case !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission):
		return nil, err
	}
	name := src.Name
	if opts.Name != "" {
		name = opts.Name
	}
	if opts.Folder != nil {
		put.Folder = *opts.Folder
	}
	if put.OnConflict == "" {
		put.OnConflict = ConflictNew
	}
	ctx = withAuditNote(ctx, auditNote{action: "file.copy", fromFile: string(src.ID)})
	if b.domain() != dst.domain() {
		r := b.newReader(ctx, &m.Content)
		defer r.Close()
		return dst.Put(ctx, name, r, put)
	}
	return dst.linkContent(ctx, name, b.b.name, m, put)
}

// linkContent makes the content of m, a version of the bucket src, a file of the
// bucket.
func (b *Bucket) linkContent(ctx context.Context, name, src string, m *manifest.Manifest, opts *PutOptions) (*File, error) {
	d, err := b.draftByName(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	if d.earlier != nil {
		return d.earlier, nil
	}
	d.mime, d.content = m.MIMEType, &m.Content
	if err := b.b.Limits.CheckSize(m.Size); err != nil {
		return nil, err
	}
	if err := b.b.Limits.checkRow(d.name, m); err != nil {
		return nil, err
	}
	d.sources = map[manifest.VersionID]string{m.ID: src}
	if err := d.beginWriter(ctx); err != nil {
		return nil, err
	}
	defer d.w.End(ctx)
	return d.commit(ctx)
}
