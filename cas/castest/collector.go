package castest

import (
	"errors"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

func (s *suite) hitChunks(t *testing.T, since uint64, ns ...byte) []cas.ChunkEntry {
	t.Helper()
	ds, out := make([]cas.Digest, len(ns)), make([]cas.ChunkEntry, len(ns))
	for i, n := range ns {
		ds[i], out[i] = digestOf(n), cas.ChunkEntry{Length: 7} // what was there must be cleared
	}
	if err := s.Hit(t.Context(), since, ds, out); err != nil {
		t.Fatal(err)
	}
	return out
}

// testHit checks that a hit raises the stamps that are lower than the beginning
// of its writer, to the current epoch, and no others.
func testHit(t *testing.T, s *suite) {
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(1)}, chunkEntry(1, 1), chunkEntry(2, 1), chunkEntry(3, 1)))
	s.applyChange(t, &cas.Change{Bad: []cas.ChunkEntry{chunkEntry(2, 1)}})
	s.m.NextEpoch(t, s.Index)
	s.applyChange(t, &cas.Change{Stamp: []cas.Digest{digestOf(3)}})
	s.m.NextEpoch(t, s.Index)
	for _, step := range []struct {
		name  string
		since uint64
		want  [3]uint64 // stamps of the chunks 1 to 3
	}{
		{"of nobody", 0, [3]uint64{0, 0, 1}},
		{"of a writer that began in 1", 1, [3]uint64{2, 2, 1}},
		{"again", 1, [3]uint64{2, 2, 1}},
		{"of a writer that began in 2", 2, [3]uint64{2, 2, 2}},
	} {
		out := s.hitChunks(t, step.since, 1, 2, 3, 9, 1)
		for i, want := range step.want {
			got := s.lookUpChunk(t, byte(i+1))
			if got != out[i] || got.Stamp != want {
				t.Errorf("%s: chunk %d is %+v, the answer %+v, want the stamp %d", step.name, i+1, got, out[i], want)
			}
		}
		if out[3] != (cas.ChunkEntry{}) || out[4] != out[0] {
			t.Errorf("%s: an unknown chunk is %+v, the first again %+v", step.name, out[3], out[4])
		}
	}
	if s.removals(t) != 1 {
		t.Errorf("%d removals", s.removals(t))
	}
	s.hitChunks(t, 5)
}

// testHitOrDrop lets writers look up what a collector drops. Whoever is told
// that the chunk is there has kept it from being dropped.
func testHitOrDrop(t *testing.T, s *suite) {
	const rounds = 60
	for range rounds {
		s.applyChange(t, &cas.Change{Frames: []cas.FrameEntry{frameEntry(1)}, Chunks: []cas.ChunkEntry{chunkEntry(1, 1), chunkEntry(2, 1)}})
		s.m.NextEpoch(t, s.Index)
		drop := []cas.ChunkEntry{s.lookUpChunk(t, 1)}
		lease, since := s.m.TakeLease(t, s.Index), s.epoch(t)
		var wg sync.WaitGroup
		var hits [4][]cas.ChunkEntry
		for i := range hits {
			wg.Go(func() { hits[i] = s.hitChunks(t, since, 1, 2) })
		}
		wg.Go(func() {
			if err := s.Apply(t.Context(), &cas.Change{Collector: lease, Drop: drop}); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		now, live := s.lookUpChunk(t, 1), uint32(1)
		if now.Usable() {
			live++
		}
		s.checkLive(t, "looked up and dropped", 1, live)
		for _, out := range hits {
			if out[0].Usable() && (!now.Usable() || out[0].Stamp < since) || !out[1].Usable() {
				t.Fatalf("a writer was told of %+v, the index has %+v", out, now)
			}
		}
	}
}

// testFenced checks that the changes of a collector whose lease was taken are
// refused whole.
func testFenced(t *testing.T, s *suite) {
	s.applyChange(t, frameChange([]cas.FrameEntry{frameEntry(1)}, chunkEntry(1, 1), chunkEntry(2, 1)))
	first := s.m.TakeLease(t, s.Index)
	s.applyChange(t, &cas.Change{Collector: first, Drop: []cas.ChunkEntry{chunkEntry(1, 1)}})
	second := s.m.TakeLease(t, s.Index)
	if first == 0 || second <= first {
		t.Errorf("leases %d and %d", first, second)
	}
	if s.m.Reopen != nil {
		s.Index = s.m.Reopen(t, s.Index)
	}
	before := s.readContents(t)
	for _, lease := range []uint64{first, second + 1} {
		late := frameChange([]cas.FrameEntry{frameEntry(2)}, chunkEntry(3, 2))
		late.Collector, late.Drop, late.DropPacks = lease, []cas.ChunkEntry{chunkEntry(2, 1)}, []cas.PackID{{9}}
		if err := s.Apply(t.Context(), late); !errors.Is(err, cas.ErrFenced) {
			t.Errorf("lease %d after %d: %v", lease, second, err)
		}
	}
	if diff := before.diffFrom(s.readContents(t)); diff != "" {
		t.Errorf("refused, and changed %s", diff)
	}
	s.applyChange(t, &cas.Change{Collector: second, Drop: []cas.ChunkEntry{chunkEntry(2, 1)}})
	if got := s.lookUpChunk(t, 2); got.Usable() || s.removals(t) != 0 {
		t.Errorf("%+v, %d removals", got, s.removals(t))
	}
}

// testDoomed checks that nothing gets into a pack whose deletion has begun, until
// the pack is dropped.
func testDoomed(t *testing.T, s *suite) {
	c := frameChange([]cas.FrameEntry{frameEntry(1), frameEntry(2)})
	c.Packs = []cas.PackEntry{packEntry(8), packEntry(9)}
	s.applyChange(t, c)
	s.m.DoomPack(t, s.Index, cas.PackID{8}, packEntry(8).Size)
	if s.m.Reopen != nil {
		s.Index = s.m.Reopen(t, s.Index)
	}
	s.m.NextEpoch(t, s.Index)
	before := s.readContents(t)
	for name, c := range map[string]*cas.Change{
		"new": frameChange([]cas.FrameEntry{frameEntry(3), inPack(frameEntry(4), 8)}, chunkEntry(1, 3)),
		"in the place of another": {Frames: []cas.FrameEntry{inPack(frameEntry(1), 8)}, Stamp: []cas.Digest{anchorOf(1).Digest},
			DropPacks: []cas.PackID{{9}}},
		"of nothing": {Frames: []cas.FrameEntry{inPack(frameEntry(4), 8)}},
		"moved":      {Moved: []cas.MovedFrame{{FrameEntry: inPack(frameEntry(1), 8), From: cas.PackID{9}}}, Drop: []cas.ChunkEntry{anchorOf(2)}},
	} {
		if err := s.Apply(t.Context(), c); !errors.Is(err, cas.ErrDoomed) {
			t.Errorf("%s: %v, want %v", name, err, cas.ErrDoomed)
		}
		if diff := before.diffFrom(s.readContents(t)); diff != "" {
			t.Errorf("%s: refused, and changed %s", name, diff)
		}
	}
	longer := packEntry(8)
	longer.Size++
	s.applyChange(t, &cas.Change{Packs: []cas.PackEntry{longer}})
	if got := s.lookUpPack(t, 8); !got.Doomed || got.Size != longer.Size {
		t.Errorf("after a change of a doomed pack: %+v", got)
	}
	s.applyChange(t, &cas.Change{DropPacks: []cas.PackID{{8}}})
	s.applyChange(t, &cas.Change{Packs: []cas.PackEntry{longer}})
	if got := s.lookUpPack(t, 8); got != longer {
		t.Errorf("after a doomed pack was dropped: %+v", got)
	}
}
