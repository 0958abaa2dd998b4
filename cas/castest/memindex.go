// Package castest checks implementations of cas.Index and offers one in
// memory.
package castest

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"
	"sync"

	"github.com/cairn-store/cairn/cas"
)

// A MemIndex is an Index in memory, for tests.
type MemIndex struct {
	mu       sync.RWMutex
	chunks   map[cas.Digest]cas.ChunkEntry
	frames   map[cas.FrameID]cas.FrameEntry
	packs    map[cas.PackID]cas.PackEntry
	epoch    uint64
	removals uint64
	lease    uint64
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

func (x *MemIndex) Frames(ctx context.Context, ids []cas.FrameID, out []cas.FrameEntry) error {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for i, id := range ids {
		out[i] = x.frames[id]
	}
	return ctx.Err()
}

func (x *MemIndex) PackFrames(ctx context.Context, id cas.PackID) iter.Seq2[cas.FrameEntry, error] {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var in []cas.FrameEntry
	for _, f := range x.frames {
		if f.Pack == id {
			in = append(in, f)
		}
	}
	slices.SortFunc(in, func(a, b cas.FrameEntry) int {
		return cmp.Or(cmp.Compare(a.Offset, b.Offset), bytes.Compare(a.ID[:], b.ID[:]))
	})
	return func(yield func(cas.FrameEntry, error) bool) {
		for _, f := range in {
			if !yield(f, nil) {
				return
			}
		}
	}
}

func (x *MemIndex) Dependants(ctx context.Context, ds []cas.Digest) ([]cas.FrameID, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.findDependants(ds), ctx.Err()
}

func (x *MemIndex) findDependants(ds []cas.Digest) (ids []cas.FrameID) {
	for id, f := range x.frames {
		if slices.ContainsFunc(f.Sources, func(s cas.Source) bool { return slices.Contains(ds, s.Digest) }) {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, compareFrames)
	return ids
}

func (x *MemIndex) Removals(ctx context.Context) (uint64, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.removals, ctx.Err()
}

func (x *MemIndex) Epoch(ctx context.Context) (uint64, error) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	return x.epoch, ctx.Err()
}

// NextEpoch raises the epoch by one.
func (x *MemIndex) NextEpoch() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.epoch++
}

// TakeLease returns the token of a new collector. That of the one before is no
// longer valid.
func (x *MemIndex) TakeLease() uint64 {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.lease++
	return x.lease
}

// DoomPack marks a pack as doomed, whatever lies in it.
func (x *MemIndex) DoomPack(id cas.PackID) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if p, ok := x.packs[id]; ok {
		p.Doomed = true
		x.packs[id] = p
	}
}

func (x *MemIndex) Hit(ctx context.Context, since uint64, ds []cas.Digest, out []cas.ChunkEntry) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	for i, d := range ds {
		if e, ok := x.chunks[d]; ok && e.Stamp < since {
			e.Stamp = x.epoch
			x.chunks[d] = e
		}
		out[i] = x.chunks[d]
	}
	return ctx.Err()
}

// Apply makes the change on a copy, since it may fail and must have changed
// nothing then.
func (x *MemIndex) Apply(ctx context.Context, c *cas.Change) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	if c.Collector != 0 && c.Collector != x.lease {
		return cas.ErrFenced
	}
	y := &memChange{old: x, epoch: x.epoch, chunks: maps.Clone(x.chunks), frames: maps.Clone(x.frames), packs: maps.Clone(x.packs)}
	removed := y.removeEntries(c)
	y.addEntries(c)
	y.moveEntries(c)
	for _, step := range []func(*cas.Change) error{y.countLive, y.checkSources, y.checkDooms} {
		if err := step(c); err != nil {
			return err
		}
	}
	x.chunks, x.frames, x.packs = y.chunks, y.frames, y.packs
	if removed {
		x.removals++
	}
	return nil
}
func compareFrames(a, b cas.FrameID) int { return bytes.Compare(a[:], b[:]) }

func (x *MemIndex) AllChunks(ctx context.Context) iter.Seq2[cas.ChunkEntry, error] {
	return yieldAll(x, func() map[cas.Digest]cas.ChunkEntry { return x.chunks }, func(a, b cas.Digest) int { return bytes.Compare(a[:], b[:]) })
}

func (x *MemIndex) AllFrames(ctx context.Context) iter.Seq2[cas.FrameEntry, error] {
	return yieldAll(x, func() map[cas.FrameID]cas.FrameEntry { return x.frames }, compareFrames)
}

func (x *MemIndex) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	return yieldAll(x, func() map[cas.PackID]cas.PackEntry { return x.packs }, func(a, b cas.PackID) int { return bytes.Compare(a[:], b[:]) })
}

func yieldAll[K comparable, V any](x *MemIndex, m func() map[K]V, compare func(a, b K) int) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		x.mu.RLock()
		m := maps.Clone(m())
		x.mu.RUnlock()
		for _, k := range slices.SortedFunc(maps.Keys(m), compare) {
			if !yield(m[k], nil) {
				return
			}
		}
	}
}
