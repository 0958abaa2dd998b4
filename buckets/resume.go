package buckets

import (
	"context"
	"errors"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
)

// partName is what rules see as the name of a part.
const partName = "upload"

// draftOfPart begins an upload that will have no name of its own.
func (b *Bucket) draftOfPart(ctx context.Context, opts *PutOptions) (*Draft, error) {
	r, err := b.newRequest(opts)
	if err == nil && r.opts.hasOrigin() {
		err = errOrigin
	}
	if err != nil {
		return nil, err
	}
	r.name, r.partial, r.opts.OnConflict = partName, true, ConflictNew
	d := b.newDraft(r)
	if err := d.mayCreate(ctx); err != nil {
		return nil, err
	}
	return d, d.begin(ctx, nil)
}

// Row returns a row of what the draft was asked for: ResumeDraft returns the
// draft again.
func (d *Draft) Row() *manifest.Upload {
	row := &manifest.Upload{ID: manifest.NewUploadID(), Bucket: d.b.b.name, Who: d.b.whoKey(), Name: d.name, Folder: d.folder,
		Target: d.target, MIMEType: d.opts.MIMEType, Metadata: d.metadata, Tags: d.opts.Tags, CacheControl: d.opts.CacheControl, OnConflict: string(d.opts.OnConflict),
		SkipUnchanged: d.opts.SkipUnchanged, IfMatch: d.opts.IfMatch, Digests: d.opts.Digests, Partial: d.partial,
		Chunker: d.splitter.String(), Length: -1}
	if d.opts.SizeKnown {
		row.Length = d.opts.Size
	}
	if once := d.opts.Once; once != nil {
		row.OnceKey, row.OnceRequest = once.Key, once.Request
	}
	return row
}

func (b *Bucket) resumeDraft(row *manifest.Upload, length int64) (*Draft, error) {
	opts := &PutOptions{MIMEType: row.MIMEType, Size: max(length, 0), SizeKnown: length >= 0, Tags: row.Tags, CacheControl: row.CacheControl,
		OnConflict: OnConflict(row.OnConflict), SkipUnchanged: row.SkipUnchanged, IfMatch: row.IfMatch, Digests: row.Digests}
	if opts.Digests == nil {
		opts.Digests = []string{} // not the bucket's of today
	}
	if row.OnceKey != "" {
		opts.Once = &Once{Key: row.OnceKey, Request: row.OnceRequest}
	}
	if len(row.Metadata) > 0 {
		opts.Metadata = decodeExact(row.Metadata)
	}
	r, err := b.newRequest(opts)
	if err != nil {
		return nil, err
	}
	r.name, r.folder, r.target = row.Name, row.Folder, row.Target
	r.cut, err = chunker.Parse(row.Chunker)
	d := b.newDraft(r)
	d.upload, d.held = row.ID, row.Held
	return d, err
}

// CountHeld says that n bytes of the content are counted already, as other
// uploads.
func (d *Draft) CountHeld(n int64) { d.held += n }

// Replaces returns the file that the draft may become a version of, "" for a new
// one.
func (d *Draft) Replaces() manifest.FileID { return d.allowed }

// Earlier returns the answer to the same request, sent before, nil if there was
// none. With one, the draft is not needed.
func (d *Draft) Earlier() *File { return d.earlier }

// Splitter cuts the content.
func (d *Draft) Splitter() chunker.Splitter { return d.splitter }

// Authorize asks again whether a resumed draft may be.
func (d *Draft) Authorize(ctx context.Context) error {
	if d.target == "" {
		return d.mayCreate(ctx)
	}
	f, _, err := d.b.findRows(ctx, string(d.target), nil)
	if err != nil {
		return err
	}
	if _, _, err = d.authorizeUpdate(ctx, f); errors.Is(err, errVanished) {
		return ErrNoFile
	}
	return err
}

// Prepare begins a resumed draft, whose content has come by now. The caller ends
// w when it has committed the draft.
func (d *Draft) Prepare(ctx context.Context, w *Writer) error {
	d.w = w
	if d.target == "" {
		return d.beginByName(ctx)
	}
	f, _, err := d.b.findRows(ctx, string(d.target), nil)
	if err != nil {
		return err
	}
	return d.beginTarget(ctx, f)
}

// SetContent gives the draft its content, which is stored. It finds out the
// type, and looks all chunks up.
func (d *Draft) SetContent(ctx context.Context, c *manifest.Content, stats cas.BatchStats) error {
	d.content, d.stats = c, stats
	if err := d.setStoredType(ctx); err != nil {
		return err
	}
	return d.recheckChunks(ctx)
}

// Commit makes the draft a version. fn runs in the transaction that does, with
// what Commit will return, and fails it if it fails.
func (d *Draft) Commit(ctx context.Context, fn func(tx manifest.Tx, answer *File) error) (*File, error) {
	d.onCommit = fn
	return d.commit(ctx)
}
