package castest

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

// testFrames checks that the frames of a pack come in order of offsets, and that
// a frame that was moved lies in its new pack only.
func testFrames(t *testing.T, s *suite) {
	a, b, c := frameEntry(3), frameEntry(2), frameEntry(1)
	a.Offset, b.Offset, c.Offset = 1, 1<<40, 255
	other := frameEntry(4)
	other.Pack = cas.PackID{8}
	s.applyChange(t, frameChange([]cas.FrameEntry{b, a, other, c}))
	check := func(pack byte, want ...cas.FrameEntry) {
		t.Helper()
		if got := collectAll(t, s.PackFrames(t.Context(), cas.PackID{pack})); !equalFrames(got, want) {
			t.Errorf("frames of pack %d:\n%+v\nwant\n%+v", pack, got, want)
		}
	}
	check(9, a, c, b)
	check(8, other)
	c.Pack, c.Offset = cas.PackID{8}, 5
	b.Offset = 0
	s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{c, b}})
	check(9, b, a)
	check(8, c, other)
	s.applyChange(t, &cas.Change{Drop: []cas.ChunkEntry{anchorOf(1)}})
	check(8, other)
	out := []cas.FrameEntry{a, a, a}
	err := s.Frames(t.Context(), []cas.FrameID{b.ID, c.ID, a.ID}, out)
	if err != nil || !equalFrames(out, []cas.FrameEntry{b, {}, a}) {
		t.Errorf("%+v, %v", out, err)
	}
}

// testDrop checks that an entry is dropped only if it is unchanged since it was
// read.
func testDrop(t *testing.T, s *suite) {
	s.m.NextEpoch(t, s.Index)
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(1)}, chunkEntry(1, 1)))
	now := s.lookUpChunk(t, 1)
	for name, change := range map[string]func(e *cas.ChunkEntry){
		"digest": func(e *cas.ChunkEntry) { e.Digest = digestOf(2) },
		"frame":  func(e *cas.ChunkEntry) { e.Frame = cas.FrameID{2} },
		"slot":   func(e *cas.ChunkEntry) { e.Slot++ },
		"offset": func(e *cas.ChunkEntry) { e.Offset++ },
		"length": func(e *cas.ChunkEntry) { e.Length++ },
		"state":  func(e *cas.ChunkEntry) { e.State = cas.Bad },
		"stamp":  func(e *cas.ChunkEntry) { e.Stamp-- },
	} {
		e := now
		change(&e)
		s.applyChange(t, &cas.Change{Drop: []cas.ChunkEntry{e}})
		if got := s.lookUpChunk(t, 1); got != now {
			t.Errorf("another %s: %+v, want %+v", name, got, now)
		}
	}
	s.applyChange(t, &cas.Change{Drop: []cas.ChunkEntry{now}})
	if got := s.lookUpChunk(t, 1); got != (cas.ChunkEntry{}) {
		t.Errorf("dropped: %+v", got)
	}
}

// testDependants checks that a frame depends on its sources as long as it is in
// the index, which is as long as a chunk lies in it.
func testDependants(t *testing.T, s *suite) {
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(1), frameEntry(2, 1)}, chunkEntry(1, 1), chunkEntry(2, 1)))
	if got := s.findDependants(t, 1); !slices.Equal(got, []cas.FrameID{{2}}) {
		t.Errorf("dependants: %v", got)
	}
	s.applyChange(t, &cas.Change{Drop: []cas.ChunkEntry{anchorOf(2)}})
	if got := collectAll(t, s.AllFrames(t.Context())); !equalFrames(got, []cas.FrameEntry{frameEntry(1)}) {
		t.Errorf("%+v", got)
	}
	if got := s.findDependants(t, 1); len(got) != 0 {
		t.Errorf("dependants: %v", got)
	}
	// A frame that is added again under its ID, with other sources, depends
	// on the new ones only.
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(2, 1, 1)}))
	s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{frameEntry(2, 2)}})
	if a, b := s.findDependants(t, 1), s.findDependants(t, 1, 2); len(a) != 0 || !slices.Equal(b, []cas.FrameID{{2}}) {
		t.Errorf("dependants: %v, %v", a, b)
	}
}

// testDropSource checks that a chunk stays as long as a frame names it as a
// source, which it does until the change after the one that removes the frame.
func testDropSource(t *testing.T, s *suite) {
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(1), frameEntry(2, 1), frameEntry(3, 1)}, chunkEntry(1, 1)))
	source := s.lookUpChunk(t, 1)
	for _, drop := range [][]cas.ChunkEntry{{source}, {anchorOf(2), source}, {anchorOf(3), source}} {
		before := s.removals(t)
		s.applyChange(t, &cas.Change{Drop: drop})
		if got := s.lookUpChunk(t, 1); !got.Usable() || s.removals(t)-before > 1 {
			t.Errorf("a source was dropped: %+v, %d removals", got, s.removals(t))
		}
	}
	s.applyChange(t, &cas.Change{Drop: []cas.ChunkEntry{source}})
	if got := s.lookUpChunk(t, 1); got.Usable() || s.removals(t) != 3 {
		t.Errorf("after its dependants: %+v, %d removals", got, s.removals(t))
	}
}

// testSources checks that a frame is added only if each of its sources is usable
// and lies in a frame without sources.
func testSources(t *testing.T, s *suite) {
	bad := chunkEntry(3, 1)
	bad.State = cas.Bad
	// Chunk 1 is good, 3 bad, 5 lies in a frame of copies, 6 alone in its frame.
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(1), frameEntry(2, 1)}, chunkEntry(1, 1), bad, chunkEntry(5, 2)))
	s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{frameEntry(3)}, Chunks: []cas.ChunkEntry{chunkEntry(6, 3)}})
	s.m.NextEpoch(t, s.Index)
	one, gone := frameChange([]cas.FrameEntry{frameEntry(10, 1)}), frameChange([]cas.FrameEntry{frameEntry(10, 6)})
	one.Bad, gone.Drop = []cas.ChunkEntry{chunkEntry(1, 1)}, []cas.ChunkEntry{chunkEntry(6, 3)}
	others := frameChange([]cas.FrameEntry{frameEntry(10, 99), frameEntry(12)}, chunkEntry(20, 12))
	others.Packs, others.Stamp = []cas.PackEntry{{ID: cas.PackID{5}}}, []cas.Digest{digestOf(1)}
	for _, c := range []struct {
		name   string
		change *cas.Change
		ok     bool
	}{
		{"unknown", frameChange([]cas.FrameEntry{frameEntry(10, 99)}), false},
		{"bad", frameChange([]cas.FrameEntry{frameEntry(10, 3)}), false},
		{"in a frame with sources", frameChange([]cas.FrameEntry{frameEntry(10, 5)}), false},
		{"one of two", frameChange([]cas.FrameEntry{frameEntry(10, 1, 3)}), false},
		{"one of two frames", frameChange([]cas.FrameEntry{frameEntry(10, 1), frameEntry(11, 3)}), false},
		{"marked in the same change", one, false},
		{"dropped in the same change", gone, false},
		{"its frame gets sources", &cas.Change{Frames: []cas.FrameEntry{frameEntry(1, 1)}}, false},
		{"others are changed too", others, false},
		{"good", frameChange([]cas.FrameEntry{frameEntry(10, 1)}), true},
		{"good twice", frameChange([]cas.FrameEntry{frameEntry(11, 1, 1)}), true},
		{"added in the same change", frameChange([]cas.FrameEntry{frameEntry(13, 30), frameEntry(14)}, chunkEntry(30, 14)), true},
		{"healed in the same change", frameChange([]cas.FrameEntry{frameEntry(15, 3)}, chunkEntry(3, 1)), true},
	} {
		before := s.readContents(t)
		err := s.Apply(t.Context(), c.change)
		if c.ok {
			if err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		if !errors.Is(err, cas.ErrSource) {
			t.Errorf("%s: %v, want %v", c.name, err, cas.ErrSource)
		}
		if diff := before.diffFrom(s.readContents(t)); diff != "" {
			t.Errorf("%s: refused, and changed %s", c.name, diff)
		}
	}
	for _, n := range []byte{1, 3, 30} {
		if got := s.lookUpChunk(t, n); got.Stamp != 1 {
			t.Errorf("source %d has the stamp %d", n, got.Stamp)
		}
	}
}

// testStamps checks that what is added or stamped gets the current epoch.
func testStamps(t *testing.T, s *suite) {
	e := chunkEntry(1, 1)
	e.Stamp = 99 // the index sets stamps, whatever the caller gives
	s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{frameEntry(1)}, Chunks: []cas.ChunkEntry{e, chunkEntry(2, 1), chunkEntry(3, 1)}})
	stamps := func(want ...uint64) {
		t.Helper()
		for i, w := range want {
			if got := s.lookUpChunk(t, byte(i+1)); got.Stamp != w {
				t.Errorf("chunk %d has the stamp %d, want %d", i+1, got.Stamp, w)
			}
		}
	}
	stamps(0, 0, 0)
	s.m.NextEpoch(t, s.Index)
	s.m.NextEpoch(t, s.Index)
	if got := s.epoch(t); got != 2 {
		t.Errorf("epoch %d after two steps", got)
	}
	s.applyChange(t, &cas.Change{Stamp: []cas.Digest{digestOf(1), digestOf(9)}})
	stamps(2, 0, 0)
	// Another copy:
	s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{frameEntry(2)}, Chunks: []cas.ChunkEntry{chunkEntry(2, 2)}})
	stamps(2, 2, 0)
	s.m.NextEpoch(t, s.Index)
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{chunkEntry(3, 1)}})
	stamps(2, 2, 0)
	s.applyChange(t, &cas.Change{Stamp: []cas.Digest{digestOf(3)}, Chunks: []cas.ChunkEntry{chunkEntry(4, 1)}})
	stamps(2, 2, 3, 3)
	if got := s.lookUpChunk(t, 3); got.State != cas.Bad {
		t.Errorf("a stamp healed %+v", got)
	}
	if got := s.lookUpChunk(t, 9); got != (cas.ChunkEntry{}) {
		t.Errorf("a stamp made %+v", got)
	}
}

// testRemovals checks that the counter rises by one with every change that makes
// usable chunks unusable, and with no other.
func testRemovals(t *testing.T, s *suite) {
	e := []cas.ChunkEntry{chunkEntry(0, 1), chunkEntry(1, 1), chunkEntry(2, 1), chunkEntry(3, 1)}
	want, lease := uint64(0), s.m.TakeLease(t, s.Index)
	for _, c := range []struct {
		name   string
		change cas.Change
		rises  uint64
	}{
		{"add", cas.Change{Frames: []cas.FrameEntry{frameEntry(1)}, Chunks: e}, 0},
		{"add again", cas.Change{Frames: []cas.FrameEntry{frameEntry(1)}, Chunks: e}, 0},
		{"stamp", cas.Change{Stamp: []cas.Digest{digestOf(1)}}, 0},
		{"mark two", cas.Change{Bad: e[:2]}, 1},
		{"mark again", cas.Change{Bad: e[:2]}, 0},
		{"drop what is bad", cas.Change{Drop: []cas.ChunkEntry{{Digest: e[1].Digest, Frame: e[1].Frame, Slot: e[1].Slot,
			Offset: e[1].Offset, Length: e[1].Length, State: cas.Bad}}}, 0},
		{"heal", cas.Change{Chunks: e[:1]}, 0},
		{"drop", cas.Change{Drop: e[2:3]}, 1},
		{"drop again", cas.Change{Drop: e[2:3]}, 0},
		{"mark and heal at once", cas.Change{Bad: e[3:], Frames: []cas.FrameEntry{frameEntry(2)}, Chunks: []cas.ChunkEntry{chunkEntry(3, 2)}}, 1},
		{"move", cas.Change{Moved: []cas.MovedFrame{{FrameEntry: frameEntry(1), From: cas.PackID{9}}}}, 0},
		{"relocate", cas.Change{Frames: []cas.FrameEntry{frameEntry(3)},
			Relocated: []cas.RelocatedChunk{{From: e[0], To: chunkEntry(0, 3)}}}, 0},
		{"drop a pack", cas.Change{DropPacks: []cas.PackID{{9}}}, 0},
		{"mark for a collector", cas.Change{Collector: lease, Bad: []cas.ChunkEntry{chunkEntry(0, 3)}}, 1},
		{"drop for a collector", cas.Change{Collector: lease, Drop: []cas.ChunkEntry{chunkEntry(3, 2)}}, 0},
	} {
		s.applyChange(t, &c.change)
		if want += c.rises; s.removals(t) != want {
			t.Errorf("%s: %d removals, want %d", c.name, s.removals(t), want)
			want = s.removals(t)
		}
	}
}

// testRemovalsVisible checks that a mark and the rise of the counter become
// visible at once: no reader sees only one of them.
func testRemovalsVisible(t *testing.T, s *suite) {
	const rounds = 100
	at := func(n uint64) cas.ChunkEntry {
		return cas.ChunkEntry{Digest: digestOf(1), Frame: cas.FrameID{1}, Slot: uint32(n), Length: 1}
	}
	done := make(chan struct{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			out := make([]cas.ChunkEntry, 1)
			// counted returns how many removals there were when the entry was
			// read: the nth slot to be marked has number n.
			counted := func() uint64 {
				if err := s.Chunks(t.Context(), []cas.Digest{digestOf(1)}, out); err != nil {
					t.Error(err)
				}
				if out[0].State == cas.Bad || out[0].Slot == 0 {
					return uint64(out[0].Slot)
				}
				return uint64(out[0].Slot) - 1
			}
			for {
				select {
				case <-done:
					return
				default:
				}
				before := counted()
				n, err := s.Removals(t.Context())
				if after := counted(); err != nil || before > n || n > after {
					t.Errorf("%d removals between %d and %d, %v", n, before, after, err)
				}
			}
		})
	}
	for n := range uint64(rounds) {
		c := &cas.Change{Frames: []cas.FrameEntry{frameEntry(1)}, Chunks: []cas.ChunkEntry{at(n + 1)}}
		if err := s.Apply(t.Context(), c); err != nil {
			t.Error(err)
		}
		if err := s.Apply(t.Context(), &cas.Change{Bad: []cas.ChunkEntry{at(n + 1)}}); err != nil {
			t.Error(err)
		}
	}
	close(done)
	wg.Wait()
	if got := s.removals(t); got != rounds {
		t.Errorf("%d removals", got)
	}
}

// testAgain checks that a change that is made again in the same epoch changes
// nothing but the counter of removals.
func testAgain(t *testing.T, s *suite) {
	frames := []cas.FrameEntry{frameEntry(1), frameEntry(2), frameEntry(6), frameEntry(7)}
	s.applyChange(t, frameChange(frames, chunkEntry(1, 1), chunkEntry(2, 1), chunkEntry(3, 1), chunkEntry(4, 1)))
	s.m.NextEpoch(t, s.Index)
	moved := frameEntry(6)
	moved.Pack = cas.PackID{8}
	c := &cas.Change{
		DropPacks: []cas.PackID{{3}}, Bad: []cas.ChunkEntry{chunkEntry(1, 1)},
		Drop: []cas.ChunkEntry{chunkEntry(2, 1), anchorOf(2), anchorOf(7)}, Stamp: []cas.Digest{digestOf(3)},
		Packs: []cas.PackEntry{{ID: cas.PackID{8}, Size: 3}, {ID: cas.PackID{9}, Size: 3}}, Frames: []cas.FrameEntry{frameEntry(4, 3), frameEntry(5), frameEntry(7)},
		Chunks:    []cas.ChunkEntry{chunkEntry(1, 5), chunkEntry(6, 5), chunkEntry(7, 4)},
		Moved:     []cas.MovedFrame{{FrameEntry: moved, From: cas.PackID{9}}},
		Relocated: []cas.RelocatedChunk{{From: chunkEntry(4, 1), To: chunkEntry(4, 7)}},
	}
	s.applyChange(t, c)
	want := s.readContents(t)
	s.applyChange(t, c)
	if diff := want.diffFrom(s.readContents(t)); diff != "" {
		t.Errorf("the second time it changed %s", diff)
	}
}

// testRestart checks that the contents of an index outlive its process.
func testRestart(t *testing.T, s *suite) {
	if s.m.Reopen == nil {
		return
	}
	s.m.NextEpoch(t, s.Index)
	c := frameChange([]cas.FrameEntry{frameEntry(1), frameEntry(2, 1)}, chunkEntry(1, 1), chunkEntry(2, 1))
	c.Packs = []cas.PackEntry{{ID: cas.PackID{9}, Size: 7, Writer: [16]byte{4}, Serial: 5, LastCommit: 6, Records: 7}}
	s.applyChange(t, c)
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{chunkEntry(2, 1)}})
	s.m.NextEpoch(t, s.Index)
	want := s.readContents(t)
	s.Index = s.m.Reopen(t, s.Index)
	if diff := want.diffFrom(s.readContents(t)); diff != "" {
		t.Errorf("the restart changed %s", diff)
	}
}
