// Package castest checks implementations of cas.Index and offers one in
// memory.
package castest

import (
	"bytes"
	"context"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/cairn-store/cairn/cas"
)

// A MemIndex is an Index in memory, for tests.
type MemIndex struct {
	mu     sync.RWMutex
	chunks map[cas.Digest]cas.ChunkEntry
	frames map[cas.FrameID]cas.FrameEntry
	packs  map[cas.PackID]cas.PackEntry
}

// NewMemIndex returns an empty index.
func NewMemIndex() *MemIndex {
	return &MemIndex{
		chunks: make(map[cas.Digest]cas.ChunkEntry),
		frames: make(map[cas.FrameID]cas.FrameEntry),
		packs:  make(map[cas.PackID]cas.PackEntry),
	}
}

var _ cas.Index = (*MemIndex)(nil)

func (x *MemIndex) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for i, d := range ds {
		out[i] = x.chunks[d]
	}
	return ctx.Err()
}

func (x *MemIndex) Frame(ctx context.Context, id cas.FrameID) (cas.FrameEntry, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	f, ok := x.frames[id]
	if !ok {
		return f, fs.ErrNotExist
	}
	return f, ctx.Err()
}

func (x *MemIndex) Apply(ctx context.Context, c *cas.Change) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, d := range c.Bad {
		if e, ok := x.chunks[d]; ok {
			e.State = cas.Bad
			x.chunks[d] = e
		}
	}
	for _, p := range c.Packs {
		x.packs[p.ID] = p
	}
	for _, f := range c.Frames {
		x.frames[f.ID] = f
	}
	for _, e := range c.Chunks {
		if old, ok := x.chunks[e.Digest]; !ok || old.State == cas.Bad {
			x.chunks[e.Digest] = e
		}
	}
	return nil
}

func (x *MemIndex) AllChunks(ctx context.Context) iter.Seq2[cas.ChunkEntry, error] {
	return all(&x.mu, x.chunks, func(a, b cas.Digest) int { return bytes.Compare(a[:], b[:]) })
}

func (x *MemIndex) AllFrames(ctx context.Context) iter.Seq2[cas.FrameEntry, error] {
	return all(&x.mu, x.frames, func(a, b cas.FrameID) int { return bytes.Compare(a[:], b[:]) })
}

func (x *MemIndex) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	return all(&x.mu, x.packs, func(a, b cas.PackID) int { return bytes.Compare(a[:], b[:]) })
}

func all[K comparable, V any](mu *sync.RWMutex, m map[K]V, compare func(a, b K) int) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		mu.RLock()
		m := maps.Clone(m)
		mu.RUnlock()
		for _, k := range slices.SortedFunc(maps.Keys(m), compare) {
			if !yield(m[k], nil) {
				return
			}
		}
	}
}
