package buckets

import (
	"context"
	"fmt"
	"io"

	"github.com/cairn-store/cairn/buckets/mediatype"
	"github.com/cairn-store/cairn/manifest"
)

// Put stores the content of r under name. By default a name that the folder
// already holds becomes a new version of that file. The file it returns is
// durable.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader, opts *PutOptions) (*File, error) {
	d, err := b.draftByName(ctx, name, opts)
	if err != nil {
		return nil, err
	}
	return d.put(ctx, r)
}

// CheckPut returns the error of a Put that would fail before it reads content.
func (b *Bucket) CheckPut(ctx context.Context, name string, opts *PutOptions) error {
	_, err := b.draftByName(ctx, name, opts)
	return err
}

// Replace stores the content of r as a new version of the file id (f_…).
func (b *Bucket) Replace(ctx context.Context, id string, r io.Reader, opts *PutOptions) (*File, error) {
	d, err := b.draftOfVersion(ctx, id, opts)
	if err != nil {
		return nil, err
	}
	return d.put(ctx, r)
}

// put stores the content of r and commits it.
func (d *Draft) put(ctx context.Context, r io.Reader) (f *File, err error) {
	if d.earlier != nil {
		return d.earlier, nil
	}
	if err := d.beginWriter(ctx); err != nil {
		return nil, err
	}
	defer func() { d.b.endWriter(ctx, d.w, err) }()
	if err := d.write(ctx, r); err != nil {
		return nil, d.b.s.wrapSpace(err)
	}
	if d.opts.Amend == nil {
		return d.commit(ctx)
	}
	amended, err := d.amend(ctx)
	if err != nil {
		return nil, err
	}
	return amended.commit(ctx)
}

// amend returns a draft of the content by what is known now that it has come,
// or d if that is what was known before.
func (d *Draft) amend(ctx context.Context) (*Draft, error) {
	name, opts := d.opts.Amend()
	if opts == nil {
		return d, nil
	}
	o := *opts
	o.Size, o.SizeKnown = d.content.Size, true
	var out *Draft
	var err error
	if d.target != "" {
		out, err = d.b.draftOfVersion(ctx, string(d.target), &o)
	} else {
		out, err = d.b.draftByName(ctx, name, &o)
	}
	if err != nil {
		return nil, err
	}
	out.content, out.stats, out.w = d.content, d.stats, d.w
	return out, out.setStoredType(ctx)
}

// write finds the type of what r gives, and stores it as the content.
func (d *Draft) write(ctx context.Context, r io.Reader) error {
	most, over := d.room.Limit()
	r = &limitedReader{r: r, left: most, over: over}
	if d.opts.SizeKnown {
		r = &exactReader{r: r, left: d.opts.Size, size: d.opts.Size}
	}
	r = &countingReader{r, &d.w.came}
	k, whole, err := d.b.s.types.ReadHead(d.name, r)
	if err != nil {
		return err
	}
	if err := d.setType(k); err != nil {
		return err
	}
	opts := d.b.writeOptions(d.w, d.splitter.String())
	opts.Digests, opts.Progress = d.opts.Digests, d.opts.Progress
	d.content, d.stats, err = manifest.Write(ctx, d.b.chunks(), whole, d.splitter, opts)
	return err
}

// setType notes what kind of content was found, and checks it against what the
// bucket, and the uploader's signed URL, take.
func (d *Draft) setType(k mediatype.Kind) error {
	d.mime = k.Type
	l := &d.b.b.Limits
	if err := l.CheckType(d.name, d.declared, k); err != nil {
		return err
	}
	if g := d.b.grant(); g != nil && len(g.Types) > 0 {
		signed := Limits{Types: g.Types, TypeCheck: l.TypeCheck}
		return signed.CheckType(d.name, d.declared, k)
	}
	return nil
}

// setStoredType is setType for content that is stored already.
func (d *Draft) setStoredType(ctx context.Context) error {
	r := d.b.newReader(ctx, d.content)
	defer r.Close()
	k, _, err := d.b.s.types.ReadHead(d.name, r)
	if err != nil {
		return err
	}
	return d.setType(k)
}

// A countingReader adds up what its reader gives.
type countingReader struct {
	io.Reader
	n *int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	*c.n += int64(n)
	return n, err
}

// An exactReader fails unless its stream has just the size declared.
type exactReader struct {
	r          io.Reader
	left, size int64
}

func (e *exactReader) Read(p []byte) (int, error) {
	n, err := e.r.Read(p)
	e.left -= int64(n)
	switch {
	case e.left < 0:
		return n, fmt.Errorf("more than the %d bytes declared: %w", e.size, ErrSize)
	case err == io.EOF && e.left > 0:
		return n, fmt.Errorf("%d bytes of the %d declared: %w", e.size-e.left, e.size, ErrSize)
	}
	return n, err
}
