package buckets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"

	"github.com/cairn-store/cairn/manifest"
)

const (
	maxPieces = 10_000
	maxTaken  = 64  // sources whose rows a commit checks; with more it looks up all chunks
	editTries = 100 // of an edit while others change the file
)

// ErrRange reports a range that does not lie within its file.
var ErrRange = errors.New("range is not within the file")

// A Piece is a run of bytes of what an edit makes: a range of a file that its
// maker may download, or bytes that it brings.
type Piece struct {
	File   string  // a version (m_…), or a file (f_…) for its current one; "" for Data
	Bucket *Bucket // that holds it; nil for the one that is edited
	Offset int64
	Length int64 // negative for all from Offset on

	Data []byte

	body *body
}

// A body is a stream that can be read only once.
type body struct {
	r    io.Reader
	size int64 // negative if it is not known
	came int64 // bytes of r that were taken

	// Once the body is stored, c holds it from off on. No row keeps its chunks,
	// but all tries of an edit have the same writer.
	c   *manifest.Content
	off int64
}

// Compose makes a file of pieces, as Put makes one of a stream. Within a
// backend, no data moves but what is around the seams.
func (b *Bucket) Compose(ctx context.Context, name string, pieces []Piece, opts *PutOptions) (f *File, err error) {
	d, err := b.draftByName(ctx, name, sized(opts))
	if err != nil {
		return nil, err
	}
	if d.earlier != nil {
		return d.earlier, nil
	}
	if err := d.beginWriter(ctx); err != nil {
		return nil, err
	}
	defer func() { d.b.endWriter(ctx, d.w, err) }()
	for range editTries {
		if err = d.compose(ctx, pieces); err == nil {
			return d.commit(ctx)
		}
		if !errors.Is(err, errStale) {
			return nil, b.s.wrapSpace(err)
		}
	}
	return nil, fmt.Errorf("others change what the file is made of too fast: %w", ErrPrecondition)
}

// Edit makes a new version of the file id (f_…) of pieces, its own among them
// or not. What else opts do not say of it stays as it is.
func (b *Bucket) Edit(ctx context.Context, id string, pieces []Piece, opts *PutOptions) (*File, error) {
	return b.editContent(ctx, id, opts, func(*manifest.Manifest) ([]Piece, error) { return pieces, nil })
}

// Extend makes a new version of the file id (f_…), with what r gives at its
// end; size is its length, negative if it is not known. Of several at a time,
// each is appended to what another has made.
func (b *Bucket) Extend(ctx context.Context, id string, r io.Reader, size int64, opts *PutOptions) (*File, error) {
	in := &body{r: r, size: size}
	return b.editContent(ctx, id, opts, func(base *manifest.Manifest) ([]Piece, error) {
		return []Piece{{File: string(base.ID), Length: -1}, {body: in}}, nil
	})
}

// Overwrite makes a new version of the file id (f_…), with the size bytes of r
// in place of those from offset on. The range may reach beyond the end; it
// begins at the end at the latest.
func (b *Bucket) Overwrite(ctx context.Context, id string, offset int64, r io.Reader, size int64, opts *PutOptions) (*File, error) {
	in := &body{r: r, size: size}
	return b.editContent(ctx, id, opts, func(base *manifest.Manifest) ([]Piece, error) {
		if offset < 0 || size < 0 || offset > base.Size {
			return nil, fmt.Errorf("%d bytes at %d of %d: %w", size, offset, base.Size, ErrRange)
		}
		pieces := []Piece{{File: string(base.ID), Length: offset}, {body: in}}
		if size < base.Size-offset {
			pieces = append(pieces, Piece{File: string(base.ID), Offset: offset + size, Length: -1})
		}
		return pieces, nil
	})
}

// Truncate makes a new version of the file id (f_…) of its first size bytes.
func (b *Bucket) Truncate(ctx context.Context, id string, size int64, opts *PutOptions) (*File, error) {
	return b.editContent(ctx, id, opts, func(base *manifest.Manifest) ([]Piece, error) {
		if size < 0 || size > base.Size {
			return nil, fmt.Errorf("first %d bytes of %d: %w", size, base.Size, ErrRange)
		}
		return []Piece{{File: string(base.ID), Length: size}}, nil
	})
}

// sized returns opts without a size: an edit computes it.
func sized(opts *PutOptions) *PutOptions {
	var o PutOptions
	if opts != nil {
		o = *opts
	}
	o.Size, o.SizeKnown = 0, false
	return &o
}

// editContent makes a version of what plan makes of the current one. When
// that has changed by the time of the commit, it begins again: no edit undoes
// another.
func (b *Bucket) editContent(ctx context.Context, id string, opts *PutOptions, plan func(base *manifest.Manifest) ([]Piece, error)) (f *File, err error) {
	var w *Writer // of all tries
	defer func() {
		if w != nil {
			b.endWriter(ctx, w, err)
		}
	}()
	var added, stored int64
	for range editTries {
		d, err := b.draftOfVersion(ctx, id, sized(opts))
		if err != nil {
			return nil, err
		}
		if d.earlier != nil {
			return d.earlier, nil
		}
		if w == nil {
			if w, err = d.b.s.beginWriter(ctx, d.b.domain()); err != nil {
				return nil, err
			}
		}
		if d.w = w; w.domain != d.b.domain() {
			return nil, ErrMoved // between two tries: what has come is where the bucket was
		}
		if d.base = d.found.ID; d.declared == "" {
			d.declared = d.found.DeclaredMIMEType
		}
		pieces, err := plan(d.found)
		if err == nil {
			err = d.compose(ctx, pieces)
		}
		added, stored = added+d.stats.NewBytes, stored+d.stats.StoredBytes
		d.stats.NewBytes, d.stats.StoredBytes = added, stored
		if errors.Is(err, errStale) {
			continue
		}
		if err != nil {
			return nil, b.s.wrapSpace(err)
		}
		if f, err := d.commit(ctx); !errors.Is(err, errStale) {
			return f, err
		}
	}
	return nil, fmt.Errorf("others change the file too fast: %w", ErrPrecondition)
}

// compose makes the content of pieces, and finds its type. It fails with errStale
// if versions that pieces stand for were removed meanwhile: then it may be called
// again, with pieces of what is current now.
func (d *Draft) compose(ctx context.Context, pieces []Piece) error {
	if len(pieces) == 0 || len(pieces) > maxPieces {
		return fmt.Errorf("%d pieces: want 1 to %d: %w", len(pieces), maxPieces, fs.ErrInvalid)
	}
	c := &composition{d: d, sources: make(map[string]*File), taken: make(map[manifest.VersionID]string), pieces: make([]manifest.Piece, 0, len(pieces))}
	defer c.close()
	for i := range pieces {
		err := c.add(ctx, &pieces[i])
		if errors.Is(err, errSourceGone) {
			return c.retry()
		}
		if err != nil {
			return fmt.Errorf("piece %d: %w", i, err)
		}
	}
	if err := d.room.Check(c.size); err != nil {
		return err
	}
	if err := d.b.b.Limits.CheckComposed(c.size-c.brought, c.largest); err != nil {
		return err
	}
	if d.size = c.size; !c.open {
		if err := d.authorizeCommit(ctx); err != nil { // before the first byte is taken
			return err
		}
	}
	if c.body != nil && c.body.c == nil {
		c.limit()
	}
	var err error
	opts := d.b.writeOptions(d.w, d.splitter.String())
	opts.Digests = d.opts.Digests
	d.content, d.stats, err = manifest.Compose(ctx, d.b.chunks(), c.pieces, c.content, d.splitter, opts)
	if err != nil {
		return c.retryIfGone(ctx, err)
	}
	if c.body != nil {
		if c.open {
			c.body.size = d.content.Size - c.size
		}
		c.body.c, c.body.off = d.content, c.bodyAt
	}
	if err := d.setStoredType(ctx); err != nil {
		return c.retryIfGone(ctx, err)
	}
	if len(c.taken) > maxTaken {
		return d.recheckChunks(ctx)
	}
	d.sources = c.taken
	return nil
}
