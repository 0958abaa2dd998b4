package castest

import (
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

// checkLive checks how many chunks lie in a frame, of three bytes each, and that
// an unknown frame has none.
func (s *suite) checkLive(t *testing.T, when string, frame byte, want uint32) {
	t.Helper()
	f := s.lookUpFrame(t, frame)
	if f.Known() != (want > 0) || f.Live != want || f.LiveBytes != 3*want {
		t.Errorf("%s: frame %d has %d live chunks of %d bytes, want %d", when, frame, f.Live, f.LiveBytes, want)
	}
}

func (s *suite) lookUpPack(t *testing.T, id byte) (p cas.PackEntry) {
	t.Helper()
	for _, e := range collectAll(t, s.AllPacks(t.Context())) {
		if e.ID == (cas.PackID{id}) {
			p = e
		}
	}
	return p
}

// checkPacks checks that what is live of every pack is the sum over its frames,
// and that frames are found by their packs and sources as long as they are known.
func (s *suite) checkPacks(t *testing.T, when string) {
	t.Helper()
	live, frames := make(map[cas.PackID]int64), make(map[cas.PackID][]cas.FrameEntry)
	for _, f := range collectAll(t, s.AllFrames(t.Context())) {
		live[f.Pack] += f.LiveStored()
		frames[f.Pack] = append(frames[f.Pack], f)
	}
	for _, p := range collectAll(t, s.AllPacks(t.Context())) {
		if p.Live != live[p.ID] {
			t.Errorf("%s: pack %s has %d live bytes, its frames have %d", when, p.ID, p.Live, live[p.ID])
		}
		if got := collectAll(t, s.PackFrames(t.Context(), p.ID)); len(got) != len(frames[p.ID]) {
			t.Errorf("%s: %d frames are found in pack %s, want %d", when, len(got), p.ID, len(frames[p.ID]))
		}
	}
}

func packEntry(id byte) cas.PackEntry {
	return cas.PackEntry{ID: cas.PackID{id}, Size: 1 << 40, Sealed: true, Serial: uint64(id)}
}

// inPack returns the entry of a frame in another pack, at another offset.
func inPack(f cas.FrameEntry, pack byte) cas.FrameEntry {
	f.Pack, f.Offset = cas.PackID{pack}, f.Offset+int64(pack)
	return f
}

// testLive checks what is counted as live of frames and packs. Frames have 7
// plain bytes in 11 stored, and chunks 3.
func testLive(t *testing.T, s *suite) {
	wrong := frameEntry(1)
	wrong.Live, wrong.LiveBytes = 7, 8
	pack := packEntry(9)
	pack.Live, pack.Doomed = 99, true
	for _, step := range []struct {
		name   string
		change cas.Change
		live   [4]uint32 // of the frames 0 to 3
		pack9  int64
		pack8  int64
	}{
		{"a frame of two", cas.Change{Frames: []cas.FrameEntry{wrong}, Chunks: []cas.ChunkEntry{chunkEntry(1, 1), chunkEntry(2, 1)}},
			[4]uint32{1: 2}, 0, 0},
		{"its pack, later", cas.Change{Packs: []cas.PackEntry{pack}}, [4]uint32{1: 2}, 9, 0},
		{"its pack again", cas.Change{Packs: []cas.PackEntry{pack, packEntry(8)}}, [4]uint32{1: 2}, 9, 0},
		{"copies alone", cas.Change{Frames: []cas.FrameEntry{frameEntry(2)}, Chunks: []cas.ChunkEntry{chunkEntry(1, 2), chunkEntry(2, 2)}},
			[4]uint32{1: 2}, 9, 0},
		{"a frame of nothing", cas.Change{Frames: []cas.FrameEntry{frameEntry(2)}}, [4]uint32{1: 2}, 9, 0},
		{"a copy, and one that is new", cas.Change{Frames: []cas.FrameEntry{frameEntry(2)},
			Chunks: []cas.ChunkEntry{chunkEntry(1, 2), chunkEntry(3, 2)}}, [4]uint32{1: 2, 2: 1}, 9 + 4, 0},
		{"twice in a change", cas.Change{Chunks: []cas.ChunkEntry{chunkEntry(4, 1), chunkEntry(4, 2), chunkEntry(4, 1)}},
			[4]uint32{1: 3, 2: 1}, 11 + 4, 0},
		{"marked", cas.Change{Bad: []cas.ChunkEntry{chunkEntry(4, 1), chunkEntry(3, 2)}}, [4]uint32{1: 3, 2: 1}, 11 + 4, 0},
		{"healed elsewhere", cas.Change{Chunks: []cas.ChunkEntry{chunkEntry(4, 2)}}, [4]uint32{1: 2, 2: 2}, 9 + 9, 0},
		{"healed in place", cas.Change{Chunks: []cas.ChunkEntry{chunkEntry(3, 2)}}, [4]uint32{1: 2, 2: 2}, 9 + 9, 0},
		{"its place changes", cas.Change{Frames: []cas.FrameEntry{inPack(frameEntry(2), 8)}}, [4]uint32{1: 2, 2: 2}, 9, 9},
		{"its pack is dropped", cas.Change{DropPacks: []cas.PackID{{8}}}, [4]uint32{1: 2, 2: 2}, 9, 0},
		{"a chunk without a pack", cas.Change{Drop: []cas.ChunkEntry{chunkEntry(4, 2)}}, [4]uint32{1: 2, 2: 1}, 9, 0},
		{"its pack comes back", cas.Change{Packs: []cas.PackEntry{packEntry(8)}}, [4]uint32{1: 2, 2: 1}, 9, 4},
		{"dropped and added to it", cas.Change{Drop: []cas.ChunkEntry{chunkEntry(3, 2)}, Chunks: []cas.ChunkEntry{chunkEntry(5, 2)}},
			[4]uint32{1: 2, 2: 1}, 9, 4},
		{"dropped and added again", cas.Change{Drop: []cas.ChunkEntry{chunkEntry(5, 2)}, Chunks: []cas.ChunkEntry{chunkEntry(5, 2)}},
			[4]uint32{1: 2, 2: 1}, 9, 4},
		{"dropped and added elsewhere", cas.Change{Drop: []cas.ChunkEntry{chunkEntry(2, 1)}, Chunks: []cas.ChunkEntry{chunkEntry(2, 2)}},
			[4]uint32{1: 1, 2: 2}, 4, 9},
		{"the last is marked", cas.Change{Bad: []cas.ChunkEntry{chunkEntry(1, 1)}}, [4]uint32{1: 1, 2: 2}, 4, 9},
		{"the last is healed elsewhere", cas.Change{Frames: []cas.FrameEntry{frameEntry(3)}, Chunks: []cas.ChunkEntry{chunkEntry(1, 3)}},
			[4]uint32{2: 2, 3: 1}, 4, 9},
		{"the last is dropped", cas.Change{Drop: []cas.ChunkEntry{chunkEntry(1, 3)}}, [4]uint32{2: 2}, 0, 9},
		{"all are dropped", cas.Change{Drop: []cas.ChunkEntry{chunkEntry(2, 2), chunkEntry(5, 2)}}, [4]uint32{}, 0, 0},
	} {
		for _, when := range []string{step.name, step.name + " again"} {
			s.applyChange(t, &step.change)
			for n, want := range step.live {
				s.checkLive(t, when, byte(n), want)
			}
			if got := s.lookUpPack(t, 9); got.Live != step.pack9 || got.Doomed {
				t.Errorf("%s: pack 9 is %+v, want %d live bytes", when, got, step.pack9)
			}
			if got := s.lookUpPack(t, 8); got.Live != step.pack8 {
				t.Errorf("%s: pack 8 has %d live bytes, want %d", when, got.Live, step.pack8)
			}
			s.checkPacks(t, when)
		}
	}
	if got := collectAll(t, s.AllChunks(t.Context())); len(got) != 0 {
		t.Errorf("left are %+v", got)
	}
}

// testLiveSources checks that a frame with sources leaves with its last chunk, as
// any, and that those depend on it no longer.
func testLiveSources(t *testing.T, s *suite) {
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(1)}, chunkEntry(1, 1)))
	s.applyChange(t, &cas.Change{Packs: []cas.PackEntry{packEntry(9)}, Frames: []cas.FrameEntry{frameEntry(2, 1)},
		Chunks: []cas.ChunkEntry{chunkEntry(2, 2), chunkEntry(3, 2)}})
	for _, step := range []struct {
		chunk      byte
		dependants int
	}{{2, 1}, {3, 0}} {
		s.applyChange(t, &cas.Change{Drop: []cas.ChunkEntry{s.lookUpChunk(t, step.chunk)}})
		if got := s.findDependants(t, 1); len(got) != step.dependants || s.lookUpFrame(t, 2).Live != uint32(step.dependants) {
			t.Errorf("without chunk %d: dependants %v, frame %+v", step.chunk, got, s.lookUpFrame(t, 2))
		}
		s.checkPacks(t, "a chunk is dropped")
	}
	s.applyChange(t, &cas.Change{Drop: []cas.ChunkEntry{s.lookUpChunk(t, 1)}})
	if got := s.lookUpChunk(t, 1); got.Usable() || len(s.findDependants(t, 1)) != 0 {
		t.Errorf("the source is still there: %+v", got)
	}
}

// testMoved checks that a frame takes its new place only if it still is in the
// pack that it was copied from.
func testMoved(t *testing.T, s *suite) {
	c := frameChange([]cas.FrameEntry{frameEntry(1), frameEntry(2), frameEntry(3, 1), frameEntry(4)}, chunkEntry(1, 1))
	c.Packs = []cas.PackEntry{packEntry(7), packEntry(8), packEntry(9)}
	s.applyChange(t, c)
	s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{inPack(frameEntry(2), 7)}})
	move := func(id byte, sources ...byte) cas.MovedFrame {
		return cas.MovedFrame{FrameEntry: inPack(frameEntry(id, sources...), 8), From: cas.PackID{9}}
	}
	c = &cas.Change{Drop: []cas.ChunkEntry{anchorOf(4)},
		Moved: []cas.MovedFrame{move(1), move(2), move(3, 1), move(4), move(5)}}
	for _, when := range []string{"moved", "moved again"} {
		s.applyChange(t, c)
		for id, want := range map[byte]cas.FrameEntry{1: inPack(frameEntry(1), 8), 2: inPack(frameEntry(2), 7), 3: inPack(frameEntry(3, 1), 8),
			4: {}, 5: {}} {
			if got := s.lookUpFrame(t, id); !got.Equal(&want) {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		s.checkLive(t, when, 1, 2)
		s.checkPacks(t, when)
		if got := s.findDependants(t, 1); !slices.Equal(got, []cas.FrameID{{3}}) {
			t.Errorf("%s: dependants %v", when, got)
		}
		if got := s.lookUpPack(t, 9); got.Live != 0 {
			t.Errorf("%s: %d live bytes in the old pack", when, got.Live)
		}
	}
	back := cas.MovedFrame{FrameEntry: frameEntry(1), From: cas.PackID{8}}
	s.applyChange(t, &cas.Change{Moved: []cas.MovedFrame{back}})
	if got := s.lookUpFrame(t, 1); !got.Equal(&back.FrameEntry) || s.removals(t) != 1 {
		t.Errorf("moved back: %+v, %d removals", got, s.removals(t))
	}
}

// testRelocated checks that a chunk takes its new place only if it still is in
// the frame and slot that it was copied from, and keeps its state and stamp.
func testRelocated(t *testing.T, s *suite) {
	c := frameChange([]cas.FrameEntry{frameEntry(1), frameEntry(2)}, chunkEntry(1, 1), chunkEntry(2, 1), chunkEntry(3, 1), chunkEntry(4, 2))
	c.Packs = []cas.PackEntry{packEntry(8), packEntry(9)}
	s.applyChange(t, c)
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{chunkEntry(2, 1), chunkEntry(3, 1)}})
	s.m.NextEpoch(t, s.Index)
	s.applyChange(t, &cas.Change{Chunks: []cas.ChunkEntry{chunkEntry(3, 2)}}) // healed
	s.m.NextEpoch(t, s.Index)
	to := func(n, frame byte) cas.ChunkEntry {
		e := chunkEntry(n, frame)
		e.Slot, e.Offset, e.Stamp = 77, 78, 79
		return e
	}
	otherSlot := chunkEntry(4, 2)
	otherSlot.Slot++
	c = &cas.Change{Frames: []cas.FrameEntry{inPack(frameEntry(5), 8), inPack(frameEntry(6), 8)}, Relocated: []cas.RelocatedChunk{
		{From: chunkEntry(1, 1), To: to(1, 5)}, {From: chunkEntry(1, 1), To: to(1, 6)}, {From: chunkEntry(2, 1), To: to(2, 5)}, {From: anchorOf(1), To: to(201, 5)},
		{From: chunkEntry(3, 1), To: to(3, 6)}, {From: otherSlot, To: to(4, 6)}, {From: chunkEntry(9, 1), To: to(9, 6)}}}
	for _, when := range []string{"relocated", "relocated again"} {
		s.applyChange(t, c)
		one, two, three, four := to(1, 5), to(2, 5), chunkEntry(3, 2), chunkEntry(4, 2)
		one.Stamp, two.Stamp, three.Stamp, two.State = 0, 0, 1, cas.Bad
		for n, want := range map[byte]cas.ChunkEntry{1: one, 2: two, 3: three, 4: four, 9: {}} {
			if got := s.lookUpChunk(t, n); got != want {
				t.Errorf("%s: %+v, want %+v", when, got, want)
			}
		}
		for frame, want := range map[byte]uint32{1: 0, 2: 3, 5: 3, 6: 0} {
			s.checkLive(t, when, frame, want)
		}
		s.checkPacks(t, when)
	}
	if s.removals(t) != 1 {
		t.Errorf("%d removals", s.removals(t))
	}
}

// testLiveConcurrent checks that the sums are right after changes that were made
// side by side: all chunks of a frame are healed, each by several.
func testLiveConcurrent(t *testing.T, s *suite) {
	c := &cas.Change{Packs: []cas.PackEntry{packEntry(8), packEntry(9)}, Frames: []cas.FrameEntry{frameEntry(1)}}
	for n := range byte(30) {
		c.Chunks = append(c.Chunks, chunkEntry(n, 1))
	}
	s.applyChange(t, c)
	s.applyChange(t, &cas.Change{Bad: c.Chunks})
	var wg sync.WaitGroup
	for w := range byte(6) {
		wg.Go(func() {
			for n := range byte(30) {
				id := 10 + w
				change := &cas.Change{Frames: []cas.FrameEntry{inPack(frameEntry(id), 8)}, Chunks: []cas.ChunkEntry{chunkEntry((n+5*w)%30, id)}}
				if err := s.Apply(t.Context(), change); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	s.checkPacks(t, "all are healed")
	live := make(map[cas.FrameID]uint32)
	for _, e := range collectAll(t, s.AllChunks(t.Context())) {
		live[e.Frame]++
	}
	for _, f := range collectAll(t, s.AllFrames(t.Context())) {
		s.checkLive(t, "all are healed", f.ID[0], live[f.ID])
		delete(live, f.ID)
	}
	s.checkLive(t, "all are healed", 1, 0)
	if len(live) > 0 || s.lookUpPack(t, 9).Live != 0 {
		t.Errorf("chunks lie in %v, the old pack has %+v", live, s.lookUpPack(t, 9))
	}
}
