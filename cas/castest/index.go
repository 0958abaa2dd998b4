package castest

import (
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

// A Maker makes the indexes that RunIndex checks.
type Maker struct {
	// Open returns an empty index.
	Open func(t *testing.T) cas.Index
	// Reopen returns the same index after a restart. It is nil for an index
	// that does not outlive its process.
	Reopen func(t *testing.T, ix cas.Index) cas.Index
	// NextEpoch raises the epoch of the index's domain by one.
	NextEpoch func(t *testing.T, ix cas.Index)
	// TakeLease makes a new collector of the index's domain and returns its
	// token. That of the one before is no longer valid.
	TakeLease func(t *testing.T, ix cas.Index) uint64
	// DoomPack dooms a pack of the domain that is not in use, and keeps its size.
	DoomPack func(t *testing.T, ix cas.Index, id cas.PackID, size int64)
}

// RunIndex checks an implementation of cas.Index.
func RunIndex(t *testing.T, m Maker) {
	for name, test := range map[string]func(*testing.T, *suite){
		"Empty": testEmpty, "FirstCopyStays": testFirstCopyStays, "Bad": testBad, "Packs": testPacks,
		"Frames": testFrames, "Drop": testDrop, "Dependants": testDependants, "DropSource": testDropSource,
		"Sources": testSources, "Stamps": testStamps, "Removals": testRemovals, "Again": testAgain,
		"Concurrent": testConcurrent, "RemovalsAreVisibleWithTheChange": testRemovalsVisible, "Restart": testRestart,
		"Live": testLive, "LiveSources": testLiveSources, "LiveConcurrent": testLiveConcurrent, "Moved": testMoved, "Relocated": testRelocated,
		"Hit": testHit, "HitOrDrop": testHitOrDrop, "Fenced": testFenced, "Doomed": testDoomed, "Model": testModel,
	} {
		t.Run(name, func(t *testing.T) { test(t, &suite{Index: m.Open(t), m: m}) })
	}
}

// A suite is an index under test.
type suite struct {
	cas.Index
	m Maker
}

func digestOf(n byte) cas.Digest { return cas.Sum([]byte{n}) }

// chunkEntry is a chunk in a frame.
func chunkEntry(n, frame byte) cas.ChunkEntry {
	return cas.ChunkEntry{Digest: digestOf(n), Frame: cas.FrameID{frame}, Slot: uint32(n), Offset: 2, Length: 3}
}

// anchorOf is a chunk that keeps a frame in the index.
func anchorOf(frame byte) cas.ChunkEntry { return chunkEntry(200+frame, frame) }

// frameChange adds frames, with a chunk in each, and the chunks.
func frameChange(frames []cas.FrameEntry, chunks ...cas.ChunkEntry) *cas.Change {
	c := &cas.Change{Frames: frames, Chunks: chunks}
	for i := range frames {
		c.Chunks = append(c.Chunks, anchorOf(frames[i].ID[0]))
	}
	return c
}

// frameEntry is a frame in the pack 9, of chunks or of copies from sources.
func frameEntry(id byte, sources ...byte) cas.FrameEntry {
	f := cas.FrameEntry{ID: cas.FrameID{id}, Pack: cas.PackID{9}, Offset: int64(id) << 33, HeaderLen: 5, StoredLen: 6,
		PlainLen: 7, Slots: 8, Kind: cas.KindData, Codec: cas.Zstd}
	for i, n := range sources {
		f.Sources = append(f.Sources, cas.Source{Digest: digestOf(n), Offset: uint32(i), Length: 9})
	}
	return f
}

func (s *suite) applyChange(t *testing.T, c *cas.Change) {
	t.Helper()
	if err := s.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func (s *suite) lookUpChunk(t *testing.T, n byte) cas.ChunkEntry {
	t.Helper()
	out := make([]cas.ChunkEntry, 1)
	if err := s.Chunks(t.Context(), []cas.Digest{digestOf(n)}, out); err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func (s *suite) lookUpFrame(t *testing.T, id byte) cas.FrameEntry {
	t.Helper()
	out := make([]cas.FrameEntry, 1)
	if err := s.Frames(t.Context(), []cas.FrameID{{id}}, out); err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func (s *suite) removals(t *testing.T) uint64 {
	t.Helper()
	n, err := s.Removals(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *suite) epoch(t *testing.T) uint64 {
	t.Helper()
	n, err := s.Epoch(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func (s *suite) findDependants(t *testing.T, ns ...byte) []cas.FrameID {
	t.Helper()
	var ds []cas.Digest
	for _, n := range ns {
		ds = append(ds, digestOf(n))
	}
	ids, err := s.Dependants(t.Context(), ds)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func collectAll[T any](t *testing.T, seq iter.Seq2[T, error]) (out []T) {
	t.Helper()
	for e, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func equalFrames(a, b []cas.FrameEntry) bool {
	return slices.EqualFunc(a, b, func(a, b cas.FrameEntry) bool { return a.Equal(&b) })
}

func testEmpty(t *testing.T, s *suite) {
	// A slot of the answer that held something else must be cleared.
	out := []cas.ChunkEntry{{Length: 7}, {Length: 8}}
	err := s.Chunks(t.Context(), []cas.Digest{digestOf(1), digestOf(2)}, out)
	if err != nil || out[0] != (cas.ChunkEntry{}) || out[1] != (cas.ChunkEntry{}) {
		t.Errorf("unknown chunks: %+v, %v", out, err)
	}
	frames := []cas.FrameEntry{frameEntry(7, 7), frameEntry(8)}
	if err := s.Frames(t.Context(), []cas.FrameID{{1}, {2}}, frames); err != nil || !equalFrames(frames, make([]cas.FrameEntry, 2)) {
		t.Errorf("unknown frames: %+v, %v", frames, err)
	}
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{chunkEntry(1, 1)}, Drop: []cas.ChunkEntry{chunkEntry(2, 1)}, Stamp: []cas.Digest{digestOf(3)},
		DropPacks: []cas.PackID{{1}}, Moved: []cas.MovedFrame{{FrameEntry: frameEntry(1), From: cas.PackID{9}}},
		Relocated: []cas.RelocatedChunk{{From: chunkEntry(1, 1), To: chunkEntry(1, 2)}}})
	if got := collectAll(t, s.AllChunks(t.Context())); len(got) != 0 {
		t.Errorf("changes of what is unknown added %+v", got)
	}
	if got := collectAll(t, s.PackFrames(t.Context(), cas.PackID{1})); len(got) != 0 {
		t.Errorf("frames of an unknown pack: %+v", got)
	}
	if got := s.findDependants(t, 1); len(got) != 0 {
		t.Errorf("dependants of nothing: %v", got)
	}
	if s.removals(t) != 0 || s.epoch(t) != 0 {
		t.Errorf("%d removals, epoch %d", s.removals(t), s.epoch(t))
	}
}

func testFirstCopyStays(t *testing.T, s *suite) {
	first, second := chunkEntry(1, 1), chunkEntry(1, 2)
	f := frameEntry(1)
	f.Kind, f.Codec, f.Key = cas.KindSegment, cas.Gzip, 1<<63
	s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{f, frameEntry(2)}, Chunks: []cas.ChunkEntry{first, second}})
	s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{frameEntry(2)}, Chunks: []cas.ChunkEntry{second}})
	if got := s.lookUpChunk(t, 1); got != first {
		t.Errorf("%+v, want %+v", got, first)
	}
	if got := s.lookUpFrame(t, 1); !got.Equal(&f) {
		t.Errorf("%+v, want %+v", got, f)
	}
}

func testBad(t *testing.T, s *suite) {
	old := chunkEntry(1, 1)
	otherFrame, otherSlot, otherDigest := old, old, old
	otherFrame.Frame, otherSlot.Slot, otherDigest.Digest = cas.FrameID{2}, 7, digestOf(2)
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(1), frameEntry(2), frameEntry(3)}, old))
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{otherFrame, otherSlot, otherDigest}})
	if got := s.lookUpChunk(t, 1); got != old {
		t.Errorf("marked by what somebody read elsewhere: %+v", got)
	}
	moved := frameEntry(1)
	moved.Pack = cas.PackID{8}
	s.applyChange(t, &cas.Change{Moved: []cas.MovedFrame{{FrameEntry: moved, From: cas.PackID{9}}}})
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{old, otherFrame}, BadIn: cas.PackID{9}})
	if got := s.lookUpChunk(t, 1); got != old {
		t.Errorf("marked by what somebody read where the frame was: %+v", got)
	}
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{old}, BadIn: cas.PackID{8}})
	if got := s.lookUpChunk(t, 1); got.Usable() {
		t.Errorf("not marked where the frame is: %+v", got)
	}
	s.applyChange(t, &cas.Change{Chunks: []cas.ChunkEntry{old}})
	stale := old
	stale.Stamp, stale.Offset = 99, 99 // Bad does not compare these
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{stale}})
	if got := s.lookUpChunk(t, 1); got.State != cas.Bad || got.Usable() || got.Frame != old.Frame {
		t.Errorf("marked: %+v", got)
	}
	healed, again := chunkEntry(1, 2), chunkEntry(1, 3)
	s.applyChange(t, &cas.Change{Chunks: []cas.ChunkEntry{healed}})
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{old}})
	if got := s.lookUpChunk(t, 1); got != healed {
		t.Errorf("healed: %+v", got)
	}
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{healed}, Chunks: []cas.ChunkEntry{again}})
	if got := s.lookUpChunk(t, 1); got != again {
		t.Errorf("marked and healed at once: %+v", got)
	}
}

func testPacks(t *testing.T, s *suite) {
	a := cas.PackEntry{ID: cas.PackID{2}, Size: 10, Writer: [16]byte{1, 15: 2}, Serial: 1 << 40, LastCommit: 1 << 50, Records: 1 << 45}
	b := cas.PackEntry{ID: cas.PackID{1}, Size: 20, Sealed: true}
	s.applyChange(t, &cas.Change{Packs: []cas.PackEntry{a, b}})
	a.Size, a.Sealed, a.LastCommit, a.Records = 30, true, 1<<50+1, 1<<45+1
	s.applyChange(t, &cas.Change{Packs: []cas.PackEntry{a}})
	if got := collectAll(t, s.AllPacks(t.Context())); !slices.Equal(got, []cas.PackEntry{b, a}) {
		t.Errorf("%+v", got)
	}
	s.applyChange(t, &cas.Change{DropPacks: []cas.PackID{a.ID, {7}}})
	if got := collectAll(t, s.AllPacks(t.Context())); !slices.Equal(got, []cas.PackEntry{b}) {
		t.Errorf("%+v", got)
	}
}

// testConcurrent adds the same chunks from many goroutines: for each chunk, one
// of them wins.
func testConcurrent(t *testing.T, s *suite) {
	var wg sync.WaitGroup
	for w := range byte(8) {
		wg.Go(func() {
			for n := range byte(50) {
				c := &cas.Change{Frames: []cas.FrameEntry{frameEntry(w + 1)}, Chunks: []cas.ChunkEntry{chunkEntry(n, w+1)}}
				if err := s.Apply(t.Context(), c); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	chunks, live := collectAll(t, s.AllChunks(t.Context())), uint32(0)
	for _, f := range collectAll(t, s.AllFrames(t.Context())) {
		live += f.Live
	}
	if len(chunks) != 50 || live != 50 {
		t.Errorf("%d chunks, %d live", len(chunks), live)
	}
}
