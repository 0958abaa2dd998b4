package buckets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/manifest"
)

const (
	maxPieces = 10_000
	maxTaken  = 64  // versions whose rows a commit looks at, rather than look up all chunks
	editTries = 100 // to edit a file that others change meanwhile
)

// ErrRange reports a range that does not lie within its file.
var ErrRange = errors.New("range is not within the file")

// errStale says that the version that an edit began with is no longer the
// current one.
var errStale = errors.New("the file has changed")

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

// A body is bytes that come once.
type body struct {
	r    io.Reader
	size int64 // negative if it is not known

	// Once it has come: where it is stored, and since when.
	c        *manifest.Content
	off      int64
	removals uint64
}

// Compose makes a file of pieces, as Put makes one of a stream. Within a
// backend, no data moves but what is around the seams.
func (b *Bucket) Compose(ctx context.Context, name string, pieces []Piece, opts *PutOptions) (*File, error) {
	u, err := b.newNamedUpload(ctx, name, sized(opts))
	if err != nil || u.earlier != nil {
		return u.made(), err
	}
	if err := u.compose(ctx, pieces); err != nil {
		return nil, wrapSpace(err)
	}
	return u.commitRetry(ctx)
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

// sized are opts without a size, which an edit finds out.
func sized(opts *PutOptions) *PutOptions {
	var o PutOptions
	if opts != nil {
		o = *opts
	}
	o.Size, o.SizeKnown = 0, false
	return &o
}

// made is the file that the same upload, sent before, has made.
func (u *upload) made() *File {
	if u == nil {
		return nil
	}
	return u.earlier
}

// editContent makes a version of what plan makes of the current one. When
// that has changed by the time of the commit, it begins again: no edit undoes
// another.
func (b *Bucket) editContent(ctx context.Context, id string, opts *PutOptions, plan func(base *manifest.Manifest) ([]Piece, error)) (*File, error) {
	var added, stored int64
	for range editTries {
		u, err := b.newReplacement(ctx, id, sized(opts))
		if err != nil || u.earlier != nil {
			return u.made(), err
		}
		_, base, err := b.find(ctx, id, nil)
		if err != nil {
			return nil, err
		}
		if u.base = base.ID; u.opts.MIMEType == "" {
			u.opts.MIMEType = base.DeclaredMIMEType
		}
		pieces, err := plan(base)
		if err == nil {
			err = u.compose(ctx, pieces)
		}
		added, stored = added+u.stats.NewBytes, stored+u.stats.StoredBytes
		u.stats.NewBytes, u.stats.StoredBytes = added, stored
		if err != nil {
			return nil, wrapSpace(err)
		}
		if f, err := u.commitRetry(ctx); err != errStale {
			return f, err
		}
	}
	return nil, fmt.Errorf("others change the file too fast: %w", ErrPrecondition)
}

// compose makes the content of pieces, and finds its type.
func (u *upload) compose(ctx context.Context, pieces []Piece) error {
	if len(pieces) == 0 || len(pieces) > maxPieces {
		return fmt.Errorf("%d pieces: want 1 to %d: %w", len(pieces), maxPieces, fs.ErrInvalid)
	}
	c := &composition{u: u, sources: make(map[string]*File), taken: make(map[manifest.VersionID]bool), pieces: make([]manifest.Piece, 0, len(pieces))}
	defer c.close()
	for i := range pieces {
		if err := c.add(ctx, &pieces[i]); err != nil {
			return fmt.Errorf("piece %d: %w", i, err)
		}
	}
	if c.size > u.room {
		return u.over
	}
	if u.opts.Size, u.opts.SizeKnown = c.size, !c.open; !c.open {
		if err := u.mayCommit(ctx); err != nil { // before the first byte is taken
			return err
		}
	}
	if c.body != nil && c.body.c == nil {
		c.limit()
	}
	var err error
	u.c, u.stats, err = manifest.Compose(ctx, u.b.chunks(), c.pieces, c.content, u.splitter, &manifest.WriteOptions{
		Compression: u.b.b.Compression, Digests: u.opts.Digests, Segments: stored{u.b.s.meta.Segments(u.b.domain()), u.b.segments()}})
	if err != nil {
		return err
	}
	if c.body != nil {
		if c.open {
			c.body.size = u.c.Size - c.size
		}
		if c.body.c != nil { // no row holds it: what was found stored must still be since then
			u.removals = c.body.removals
		}
		c.body.c, c.body.off, c.body.removals = u.c, c.bodyAt, u.removals
	}
	if err := u.sniffStored(ctx); err != nil {
		return err
	}
	if len(c.taken) > maxTaken {
		return u.recheck(ctx)
	}
	u.taken = slices.Collect(maps.Keys(c.taken))
	return nil
}
