package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"
	"sync"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
)

// A Part is a part of a stream, cut and stored.
type Part struct {
	Refs []cas.Ref // whole chunks, durable
	Rest []byte    // bytes after the last whole chunk: fewer than the splitter's Max
	Size int64     // bytes read from the stream

	Stats cas.BatchStats // what the part has added to the store

	Sums map[string][]byte // State of WriteOptions.Sums after Refs
}

// errPause ends the input of a part: the stream may continue with another part.
var errPause = errors.New("more may follow")

// A pauseReader is a reader that returns errPause when the inner reader ends or
// fails.
type pauseReader struct {
	r   io.Reader
	n   int64
	err error // the error of the inner reader, nil at its end
}

func (p *pauseReader) Read(b []byte) (int, error) {
	n, err := p.r.Read(b)
	p.n += int64(n)
	if err != nil && err != io.EOF {
		p.err = err
	}
	if err != nil {
		err = errPause
	}
	return n, err
}

// An OpenPart is a part that is cut but not yet durable. The next part of the
// stream may begin meanwhile.
type OpenPart struct {
	Rest []byte // bytes after the last whole chunk; the next part begins with them
	Size int64  // bytes read from the stream

	b    *cas.Batch
	part *Part
	sums *Sums
	seen chan struct{} // closed when the sums include the part's chunks
	once sync.Once     // closes seen
}

// BeginPart reads the next part of a stream that is cut by s: rest, which the
// part before has left over, and then r to its end. If r fails, it returns the
// part that it has read together with the error of r. after is the part before
// if that may not be durable yet, else nil. The caller flushes or closes the
// part. Parts of a stream that Assemble joins are cut as the whole stream would
// be.
func BeginPart(ctx context.Context, dst *cas.Store, after *OpenPart, rest []byte, r io.Reader, s chunker.Splitter, opts *WriteOptions) (*OpenPart, error) {
	if opts == nil {
		opts = &WriteOptions{}
	}
	o := &OpenPart{part: &Part{}, sums: opts.Sums, seen: make(chan struct{})}
	tap := opts.Sums.chunkTap(opts.Memory)
	if tap != nil && after != nil {
		sum := tap
		tap = func(p []byte, ds []cas.Digest) {
			<-after.seen
			sum(p, ds)
		}
	}
	var before *cas.Batch
	if after != nil {
		before = after.b
	}
	o.b = dst.NewBatch(ctx, &cas.BatchOptions{Compression: opts.Compression, Since: opts.Since, Tap: tap, After: before, Emit: func(r cas.Ref) error {
		o.part.Refs = append(o.part.Refs, r)
		return nil
	}})
	in := &pauseReader{r: r}
	chunks := opts.newChunker(io.MultiReader(bytes.NewReader(rest), in), s)
	err := o.b.PutAll(chunks, opts.Progress)
	o.Rest, o.Size = slices.Clone(chunks.Rest()), in.n
	o.part.Rest, o.part.Size = o.Rest, o.Size
	opts.releaseChunker(chunks)
	if !errors.Is(err, errPause) {
		o.Close()
		return nil, err
	}
	return o, in.err
}

// Flush makes the chunks of the part durable and returns it. The part before
// must have been flushed.
func (o *OpenPart) Flush() (*Part, cas.BatchStats, error) {
	defer o.Close()
	if err := o.b.Drain(); err != nil {
		return nil, o.b.Stats(), err
	}
	if o.sums != nil {
		var err error
		if o.part.Sums, err = o.sums.State(); err != nil {
			return nil, o.b.Stats(), err
		}
	}
	o.passSums()
	if err := o.b.Flush(); err != nil {
		return nil, o.b.Stats(), err
	}
	o.part.Stats = o.b.Stats()
	return o.part, o.part.Stats, nil
}

// Close drops the part if it was not flushed.
func (o *OpenPart) Close() error {
	o.passSums()
	return o.b.Close()
}

// passSums lets the next part use the sums.
func (o *OpenPart) passSums() { o.once.Do(func() { close(o.seen) }) }

// WritePart is BeginPart followed by Flush.
func WritePart(ctx context.Context, dst *cas.Store, rest []byte, r io.Reader, s chunker.Splitter, opts *WriteOptions) (*Part, cas.BatchStats, error) {
	o, rerr := BeginPart(ctx, dst, nil, rest, r, s, opts)
	if o == nil {
		return nil, cas.BatchStats{}, rerr
	}
	part, stats, err := o.Flush()
	if err != nil {
		return nil, stats, err
	}
	return part, stats, rerr
}

// Assemble makes a content of the parts of a stream: the references that refs
// yields, then the rest of the last part. The chunks of the references must be
// stored. The commit must check that they still are.
func Assemble(ctx context.Context, dst *cas.Store, refs func(yield func(cas.Ref) error) error, rest []byte, s chunker.Splitter, opts *WriteOptions) (*Content, cas.BatchStats, error) {
	if opts == nil {
		opts = &WriteOptions{}
	}
	w := newContentWriter(ctx, dst, s, opts, nil)
	defer w.batch.Close()
	err := refs(w.list.addRef)
	if err == nil {
		err = w.batch.PutAll(chunker.New(bytes.NewReader(rest), s), nil)
	}
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return nil, w.batch.Stats(), err
	}
	if opts.Sums != nil {
		opts.Sums.Write(rest)
		w.content.addDigests(opts.Sums.hashes)
	}
	return w.content, w.batch.Stats(), digestAll(ctx, dst, w.content, opts)
}

// digestAll computes the digests of opts that c does not have yet, by reading
// the whole content once.
func digestAll(ctx context.Context, dst *cas.Store, c *Content, opts *WriteOptions) error {
	left := slices.DeleteFunc(slices.Clone(opts.Digests), func(name string) bool { return c.Digests[name] != nil })
	digests, err := newDigests(left)
	if err != nil || len(digests.hashes) == 0 {
		return err
	}
	g, ok := opts.Segments.(SegmentGetter)
	if !ok {
		return errors.New("manifest: digests of parts need segments that can be read back")
	}
	r := NewReader(ctx, dst, g, c)
	defer r.Close()
	if _, err := io.Copy(digests, r); err != nil {
		return fmt.Errorf("manifest: digests: %w", err)
	}
	c.addDigests(digests.hashes)
	return nil
}

func (c *Content) addDigests(hashes map[string]hash.Hash) {
	if c.Digests == nil && len(hashes) > 0 {
		c.Digests = make(map[string][]byte)
	}
	for name, h := range hashes {
		c.Digests[name] = h.Sum(nil)
	}
}
