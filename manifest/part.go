package manifest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
)

// A Part is a run of content on its way that has been cut and stored.
type Part struct {
	Refs []cas.Ref // whole chunks, durable
	Rest []byte    // bytes after them that make no chunk yet: fewer than the splitter's Max
	Size int64     // bytes that came in
}

// errPause stands at the end of a part: more of the stream may follow.
var errPause = errors.New("more may follow")

// pauseReader ends with errPause where its stream ends or fails.
type pauseReader struct {
	r   io.Reader
	n   int64
	err error // what the stream failed with, nil for its end
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

// WritePart stores the next part of a stream that is cut by s: rest, what the
// part before has left, and then r to its end. Where r fails, what came before
// is kept all the same, and returned beside the error of r. On return the
// part's chunks are durable. Parts of a stream, put together by Assemble, are
// cut as the whole stream would be.
func WritePart(ctx context.Context, dst *cas.Store, rest []byte, r io.Reader, s chunker.Splitter, opts *WriteOptions) (*Part, cas.BatchStats, error) {
	if opts == nil {
		opts = &WriteOptions{}
	}
	part := &Part{}
	b := dst.NewBatch(ctx, &cas.BatchOptions{Compression: opts.Compression, Emit: func(r cas.Ref) error {
		part.Refs = append(part.Refs, r)
		return nil
	}})
	defer b.Close()
	in := &pauseReader{r: r}
	chunks := newChunker(io.MultiReader(bytes.NewReader(rest), in), s, opts.Chunkers)
	err := putAll(b, chunks, opts.Progress)
	if errors.Is(err, errPause) {
		err = b.Flush()
	}
	part.Rest, part.Size = slices.Clone(chunks.Rest()), in.n
	if opts.Chunkers != nil {
		chunks.Reset(nil)
		opts.Chunkers.Put(chunks)
	}
	if err != nil {
		return nil, b.Stats(), err
	}
	return part, b.Stats(), in.err
}

// Assemble makes a content of the parts of a stream: the references in refs,
// then the rest of the last one. The chunks that refs name must be stored; who
// commits the content checks that they still are.
func Assemble(ctx context.Context, dst *cas.Store, refs func(yield func(cas.Ref) error) error, rest []byte, s chunker.Splitter, opts *WriteOptions) (*Content, cas.BatchStats, error) {
	if opts == nil {
		opts = &WriteOptions{}
	}
	c := &Content{Chunker: s.String()}
	list := &listBuilder{c: c}
	b := dst.NewBatch(ctx, &cas.BatchOptions{Compression: opts.Compression, Emit: list.add})
	defer b.Close()
	list.put = func(p []byte) (cas.Digest, error) {
		d, err := b.PutSegment(ctx, p)
		if err == nil && opts.Segments != nil {
			err = opts.Segments.PutSegment(ctx, d, p)
		}
		return d, err
	}
	if err := refs(list.add); err != nil {
		return nil, b.Stats(), err
	}
	if err := putAll(b, chunker.New(bytes.NewReader(rest), s), nil); err != nil {
		return nil, b.Stats(), err
	}
	if err := b.Drain(); err != nil {
		return nil, b.Stats(), err
	}
	if err := list.finish(); err != nil {
		return nil, b.Stats(), err
	}
	if err := b.Flush(); err != nil {
		return nil, b.Stats(), err
	}
	return c, b.Stats(), digestAll(ctx, dst, c, opts)
}

// digestAll reads an assembled content once for the digests of the whole.
func digestAll(ctx context.Context, dst *cas.Store, c *Content, opts *WriteOptions) error {
	digests, tap, err := newDigests(opts.Digests)
	if err != nil || len(digests) == 0 {
		return err
	}
	g, ok := opts.Segments.(SegmentGetter)
	if !ok {
		return errors.New("manifest: digests of parts need segments that can be read back")
	}
	r := NewReader(ctx, dst, g, c)
	defer r.Close()
	if _, err := io.Copy(tapWriter(tap), r); err != nil {
		return fmt.Errorf("manifest: digests: %w", err)
	}
	c.Digests = make(map[string][]byte)
	for name, h := range digests {
		c.Digests[name] = h.Sum(nil)
	}
	return nil
}

type tapWriter func([]byte)

func (t tapWriter) Write(p []byte) (int, error) {
	t(p)
	return len(p), nil
}

// AppendRefs appends the encoding of chunk references to b, ParseRefs reads
// it.
func AppendRefs(b []byte, refs []cas.Ref) []byte { return appendRefs(b, refs) }

// ParseRefs reads what AppendRefs wrote.
func ParseRefs(p []byte) ([]cas.Ref, error) { return parseRefs(p) }
