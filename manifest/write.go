package manifest

import (
	"context"
	"crypto/md5"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"sync"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/chunker/blake3"
)

// WriteOptions are choices of Write.
type WriteOptions struct {
	Compression cas.Compression
	Since       uint64   // epoch in which the writer began, see cas.BatchOptions
	Digests     []string // whole-content digests to compute, see NewDigest
	// Segments stores segments in the metadata store, besides the packs. It may
	// be nil.
	Segments SegmentPutter
	Progress func(n int64) // called with the bytes read so far

	// Sums are updated with the chunks of a part, and give Assemble the digests
	// of the whole. They may be nil.
	Sums *Sums

	// Memory saves hashing contents that are sent again. It may be nil.
	Memory *SumMemory

	// Chunkers is a pool of *chunker.Chunker, all with the splitter of the call.
	// It saves allocations when many small contents are written. It may be nil.
	Chunkers *sync.Pool
}

// NewDigest returns a hash by its name: "sha256", "blake3" or "md5", or nil.
func NewDigest(name string) hash.Hash {
	switch name {
	case "sha256":
		return sha256.New()
	case "blake3":
		return blake3.New()
	case "md5":
		return md5.New()
	}
	return nil
}

// Write cuts r into chunks by s and stores them in dst. When it returns, all
// chunks and segments are durable. A commit makes a version of them.
func Write(ctx context.Context, dst *cas.Store, r io.Reader, s chunker.Splitter, opts *WriteOptions) (*Content, cas.BatchStats, error) {
	if opts == nil {
		opts = &WriteOptions{}
	}
	digests, err := newDigests(opts.Digests)
	if err != nil {
		return nil, cas.BatchStats{}, err
	}
	w := newContentWriter(ctx, dst, s, opts, digests.chunkTap(opts.Memory))
	defer w.batch.Close()
	chunks := opts.newChunker(r, s)
	err = w.batch.PutAll(chunks, opts.Progress)
	opts.releaseChunker(chunks)
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return nil, w.batch.Stats(), err
	}
	w.content.addDigests(digests.hashes)
	return w.content, w.batch.Stats(), nil
}

// A contentWriter stores a content whose chunks come in order. Each chunk that
// is put into the batch, or whose reference is added to the list, is the next.
type contentWriter struct {
	content  *Content
	batch    *cas.Batch
	list     *treeBuilder
	segments *segmentWriter

	emit func(cas.Ref) error // adds a chunk of the batch to the list
	// addRest adds what follows the last chunk of the batch to the list. It runs
	// when emit runs no more; nil if nothing follows.
	addRest func() error
}

// newContentWriter begins a content that is cut by s. The caller closes its
// batch.
func newContentWriter(ctx context.Context, dst *cas.Store, s chunker.Splitter, opts *WriteOptions, tap func([]byte, []cas.Digest)) *contentWriter {
	c := &Content{Chunker: s.String()}
	w := &contentWriter{content: c, list: &treeBuilder{c: c}}
	w.emit = w.list.addRef
	w.batch = dst.NewBatch(ctx, &cas.BatchOptions{Compression: opts.Compression, Since: opts.Since, Tap: tap,
		Emit: func(r cas.Ref) error { return w.emit(r) }})
	w.segments = &segmentWriter{ctx: ctx, b: w.batch, to: opts.Segments}
	w.list.put = w.segments.putNode
	return w
}

// finish ends the list. When it returns, all chunks and segments are durable.
func (w *contentWriter) finish() error {
	if err := w.batch.Drain(); err != nil {
		return err
	}
	if w.addRest != nil {
		if err := w.addRest(); err != nil {
			return err
		}
	}
	if err := w.list.finish(); err != nil {
		return err
	}
	if err := w.segments.flush(); err != nil {
		return err
	}
	return w.batch.Flush()
}

// newChunker returns a chunker of r, from the pool if there is one.
func (o *WriteOptions) newChunker(r io.Reader, s chunker.Splitter) *chunker.Chunker {
	if o.Chunkers != nil {
		if c, ok := o.Chunkers.Get().(*chunker.Chunker); ok {
			c.Reset(r)
			return c
		}
	}
	return chunker.New(r, s)
}

// releaseChunker puts c back into the pool.
func (o *WriteOptions) releaseChunker(c *chunker.Chunker) {
	if o.Chunkers != nil {
		c.Reset(nil)
		o.Chunkers.Put(c)
	}
}

// newDigests returns hashes for the digests called names.
func newDigests(names []string) (*Sums, error) {
	s := &Sums{make(map[string]hash.Hash)}
	for _, name := range names {
		h := NewDigest(name)
		if h == nil {
			return nil, fmt.Errorf("manifest: no digest is called %q: use sha256, blake3 or md5", name)
		}
		s.hashes[name] = h
	}
	return s, nil
}
