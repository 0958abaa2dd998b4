package buckets

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math"
	"slices"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A composition is the pieces of an edit, looked up and authorised.
type composition struct {
	d       *Draft
	sources map[string]*File              // by bucket and ID: a file stands for one version throughout
	taken   map[manifest.VersionID]string // whose chunks and segments the new content may have, and their buckets
	pieces  []manifest.Piece
	foreign []*foreign
	size    int64 // of all pieces whose length is known
	largest int64 // of the sources
	brought int64 // bytes of the pieces that come with the request
	open    bool  // the body's is not

	body   *body
	bodyAt int64 // where it begins
	bodyIn int   // which piece it is
}

// bodyName names, among sources, the content that holds the stored body. It is no
// ID of a version.
const bodyName = "body"

func (c *composition) add(ctx context.Context, p *Piece) error {
	if (p.File != "") == (p.Data != nil || p.body != nil) {
		return concept("want either a file or data", fs.ErrInvalid)
	}
	out, err := manifest.Piece{Off: p.Offset, Len: p.Length}, error(nil)
	switch {
	case p.body != nil:
		out = c.take(p.body)
		c.brought += out.Len
	case p.File == "":
		c.brought += int64(len(p.Data))
		out = manifest.Piece{Data: c.count(bytes.NewReader(p.Data)), Len: int64(len(p.Data))}
	default:
		err = c.find(ctx, p, &out)
	}
	if err != nil {
		return err
	}
	if out.Len > math.MaxInt64-c.size {
		return fmt.Errorf("all pieces together: %w", ErrTooLarge)
	}
	c.pieces, c.size = append(c.pieces, out), c.size+out.Len
	return nil
}

// count counts what is read of r and may be stored for nothing.
func (c *composition) count(r io.Reader) io.Reader { return &countingReader{r, &c.d.w.came} }

// take returns the piece that the body is: a stream or, once it is stored, a range
// of the content that holds it.
func (c *composition) take(in *body) manifest.Piece {
	c.body, c.bodyAt, c.bodyIn = in, c.size, len(c.pieces)
	if in.c != nil {
		return manifest.Piece{From: bodyName, Off: in.off, Len: in.size}
	}
	c.open = in.size < 0
	return manifest.Piece{Data: in.r, Len: max(in.size, 0)}
}

// errSourceGone reports that a version that pieces are taken from was removed since
// it was found.
var errSourceGone = concept("a version that the file is made of was removed meanwhile", ErrNoFile)

// retry returns errStale, unless some of the body is lost with what was tried.
func (c *composition) retry() error {
	if c.body != nil && c.body.came > 0 && c.body.c == nil {
		return fmt.Errorf("a version was removed while the body came; send it again: %w", ErrChunksGone)
	}
	return errStale
}

// retryIfGone is retry for an err that says, or comes from it, that a version that
// pieces are taken from was removed: its chunks may have been collected before they
// were read. It returns any other error as it is.
func (c *composition) retryIfGone(ctx context.Context, err error) error {
	if errors.Is(err, errSourceGone) {
		return c.retry()
	}
	if !errors.Is(err, cas.ErrMissing) {
		return err
	}
	sources := slices.Collect(maps.Keys(c.taken))
	for _, f := range c.foreign {
		sources = append(sources, f.of)
	}
	for _, id := range sources {
		if _, gone := c.d.b.s.meta.Manifest(ctx, id); errors.Is(gone, fs.ErrNotExist) {
			return c.retry()
		}
	}
	return err
}

// limit makes the body fail if it is not as long as its sender states, or longer
// than the draft may be.
func (c *composition) limit() {
	p := &c.pieces[c.bodyIn]
	if c.open {
		most, over := c.d.room.Limit()
		p.Data = &limitedReader{r: p.Data, left: most - c.size, over: over}
	} else {
		p.Data = &exactReader{r: p.Data, left: c.body.size, size: c.body.size}
	}
	p.Data = &countingReader{c.count(p.Data), &c.body.came}
}

// find completes the piece out with the version that p is a range of, which the
// user must be allowed to download.
func (c *composition) find(ctx context.Context, p *Piece, out *manifest.Piece) error {
	src := c.d.b
	if p.Bucket != nil {
		src = p.Bucket
	}
	key := src.b.name + "/" + p.File
	f := c.sources[key]
	if f == nil {
		row, m, err := src.findRows(ctx, p.File, nil)
		if errors.Is(err, ErrNoFile) && manifest.VersionID(p.File) == c.d.base {
			return errSourceGone // the edit was planned with it
		}
		if err != nil {
			return err
		}
		if err := src.checkFile(ctx, access.OpDownload, row, m); err != nil {
			return err
		}
		f = &File{ManifestID: string(m.ID), Size: m.Size}
		c.sources[key], c.largest = f, max(c.largest, f.Size)
	}
	if p.Offset < 0 || p.Offset > f.Size || p.Length > f.Size-p.Offset {
		return fmt.Errorf("%d bytes at %d of %d: %w", p.Length, p.Offset, f.Size, ErrRange)
	}
	if out.Len < 0 {
		out.Len = f.Size - p.Offset
	}
	if out.From = f.ManifestID; src.s == c.d.b.s && src.domain() == c.d.b.domain() {
		c.taken[manifest.VersionID(f.ManifestID)] = src.b.name
		return nil
	}
	r := &foreign{ctx: ctx, b: src, of: manifest.VersionID(f.ManifestID), off: out.Off, n: out.Len}
	c.foreign = append(c.foreign, r)
	out.From, out.Data = "", c.count(r)
	return nil
}

// content returns the content that pieces name as their source.
func (c *composition) content(ctx context.Context, name string) (*manifest.Content, error) {
	if name == bodyName {
		return c.body.c, nil
	}
	return c.d.b.contentOf(ctx, manifest.VersionID(name))
}

func (b *Bucket) contentOf(ctx context.Context, id manifest.VersionID) (*manifest.Content, error) {
	m, err := b.s.meta.Manifest(ctx, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, errSourceGone
	}
	if err != nil {
		return nil, err
	}
	return &m.Content, nil
}

func (c *composition) close() {
	for _, r := range c.foreign {
		r.close()
	}
}

// A foreign is a range of a content in another domain. It is opened at its first
// read and closed at its end, since an edit may have many.
type foreign struct {
	ctx    context.Context // of all reads, since Read takes none
	b      *Bucket
	of     manifest.VersionID
	off, n int64

	r  *manifest.Reader
	in io.Reader
}

func (f *foreign) Read(p []byte) (int, error) {
	if f.n == 0 {
		return 0, io.EOF
	}
	if f.r == nil {
		c, err := f.b.contentOf(f.ctx, f.of)
		if err != nil {
			return 0, err
		}
		f.r = f.b.newReader(f.ctx, c)
		f.in = io.NewSectionReader(f.r, f.off, f.n)
	}
	n, err := f.in.Read(p)
	if err == io.EOF {
		f.close()
	}
	return n, err
}

func (f *foreign) close() {
	if f.r != nil {
		f.r.Close()
		f.r, f.in, f.n = nil, nil, 0
	}
}
