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
	Digests     []string      // whole-content digests to compute, see NewDigest
	Segments    SegmentPutter // where segments go besides the packs; nil for nowhere
	Progress    func(n int64) // bytes taken in so far

	// Sums are shown the chunks of a part, and are asked for the digests of
	// the whole by Assemble. Nil has no part in it.
	Sums *Sums

	// Memory spares those who send the same content again the digests of the
	// whole; nil for none.
	Memory *SumMemory

	// Chunkers is a pool of *chunker.Chunker that all cut by the splitter
	// of the call, for those who write many small contents; nil for none.
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
// chunks and segments are durable; a commit makes a version of them.
func Write(ctx context.Context, dst *cas.Store, r io.Reader, s chunker.Splitter, opts *WriteOptions) (*Content, cas.BatchStats, error) {
	if opts == nil {
		opts = &WriteOptions{}
	}
	c := &Content{Chunker: s.String()}
	list := &treeBuilder{c: c}
	digests, err := newDigests(opts.Digests)
	if err != nil {
		return nil, cas.BatchStats{}, err
	}
	b := dst.NewBatch(ctx, &cas.BatchOptions{Compression: opts.Compression, Emit: list.add, Tap: digests.tap(opts.Memory)})
	defer b.Close()
	keep := &segmentKeeper{ctx: ctx, b: b, to: opts.Segments}
	list.put = keep.put
	chunks := newChunker(r, s, opts.Chunkers)
	err = b.PutAll(chunks, opts.Progress)
	if opts.Chunkers != nil {
		chunks.Reset(nil)
		opts.Chunkers.Put(chunks)
	}
	if err != nil {
		return nil, b.Stats(), err
	}
	if err := b.Drain(); err != nil {
		return nil, b.Stats(), err
	}
	if err := list.end(keep); err != nil {
		return nil, b.Stats(), err
	}
	c.addDigests(digests.hashes)
	return c, b.Stats(), nil
}

func newChunker(r io.Reader, s chunker.Splitter, pool *sync.Pool) *chunker.Chunker {
	if pool != nil {
		if c, ok := pool.Get().(*chunker.Chunker); ok {
			c.Reset(r)
			return c
		}
	}
	return chunker.New(r, s)
}

// newDigests returns the digests of a content that are asked for.
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
