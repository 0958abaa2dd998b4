package castest

import (
	"errors"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

// RunIndex checks an implementation of cas.Index. open returns an empty
// index; reopen, if not nil, returns the same one after a restart.
func RunIndex(t *testing.T, open func(t *testing.T) cas.Index, reopen func(t *testing.T, ix cas.Index) cas.Index) {
	for name, test := range map[string]func(*testing.T, cas.Index){
		"Empty": testEmpty, "FirstCopyStays": testFirstCopyStays, "Bad": testBad, "Packs": testPacks,
		"Concurrent": testConcurrent,
	} {
		t.Run(name, func(t *testing.T) { test(t, open(t)) })
	}
	t.Run("Model", func(t *testing.T) { testModel(t, open(t), reopen) })
}

func digest(n byte) cas.Digest { return cas.Sum([]byte{n}) }

func apply(t *testing.T, ix cas.Index, c *cas.Change) {
	t.Helper()
	if err := ix.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
}

func chunk(t *testing.T, ix cas.Index, d cas.Digest) cas.ChunkEntry {
	t.Helper()
	out := make([]cas.ChunkEntry, 1)
	if err := ix.Chunks(t.Context(), []cas.Digest{d}, out); err != nil {
		t.Fatal(err)
	}
	return out[0]
}

func list[T any](t *testing.T, seq iter.Seq2[T, error]) (out []T) {
	t.Helper()
	for e, err := range seq {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

func testEmpty(t *testing.T, ix cas.Index) {
	// A slot of the answer that held something else must be cleared.
	out := []cas.ChunkEntry{{Length: 7}, {Length: 8}}
	if err := ix.Chunks(t.Context(), []cas.Digest{digest(1), digest(2)}, out); err != nil || out[0] != (cas.ChunkEntry{}) || out[1] != (cas.ChunkEntry{}) {
		t.Errorf("unknown chunks: %+v, %v", out, err)
	}
	if _, err := ix.Frame(t.Context(), cas.FrameID{1}); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("unknown frame: %v", err)
	}
	apply(t, ix, &cas.Change{Bad: []cas.Digest{digest(1)}})
	if got := list(t, ix.AllChunks(t.Context())); len(got) != 0 {
		t.Errorf("marking what is unknown added %+v", got)
	}
}

func testFirstCopyStays(t *testing.T, ix cas.Index) {
	first := cas.ChunkEntry{Digest: digest(1), Frame: cas.FrameID{1}, Slot: 2, Offset: 3, Length: 4}
	second := cas.ChunkEntry{Digest: digest(1), Frame: cas.FrameID{2}, Length: 4}
	f := cas.FrameEntry{ID: cas.FrameID{1}, Pack: cas.PackID{9}, Offset: 1 << 40, HeaderLen: 5, StoredLen: 6, PlainLen: 7, Slots: 8,
		Kind: cas.KindSegment, Codec: cas.Gzip}
	apply(t, ix, &cas.Change{Frames: []cas.FrameEntry{f}, Chunks: []cas.ChunkEntry{first, second}})
	apply(t, ix, &cas.Change{Chunks: []cas.ChunkEntry{second}})
	if got := chunk(t, ix, digest(1)); got != first {
		t.Errorf("%+v, want %+v", got, first)
	}
	if got, err := ix.Frame(t.Context(), f.ID); err != nil || got != f {
		t.Errorf("%+v, %v, want %+v", got, err, f)
	}
}

func testBad(t *testing.T, ix cas.Index) {
	old := cas.ChunkEntry{Digest: digest(1), Frame: cas.FrameID{1}, Length: 4}
	healed := cas.ChunkEntry{Digest: digest(1), Frame: cas.FrameID{2}, Length: 4}
	apply(t, ix, &cas.Change{Chunks: []cas.ChunkEntry{old}})
	apply(t, ix, &cas.Change{Bad: []cas.Digest{digest(1)}})
	if got := chunk(t, ix, digest(1)); got.State != cas.Bad || got.Usable() {
		t.Errorf("marked: %+v", got)
	}
	apply(t, ix, &cas.Change{Chunks: []cas.ChunkEntry{healed}})
	if got := chunk(t, ix, digest(1)); got != healed {
		t.Errorf("healed: %+v", got)
	}
	again := cas.ChunkEntry{Digest: digest(1), Frame: cas.FrameID{3}, Length: 4}
	apply(t, ix, &cas.Change{Bad: []cas.Digest{digest(1)}, Chunks: []cas.ChunkEntry{again}})
	if got := chunk(t, ix, digest(1)); got != again {
		t.Errorf("marked and healed at once: %+v", got)
	}
}

func testPacks(t *testing.T, ix cas.Index) {
	a, b := cas.PackEntry{ID: cas.PackID{2}, Size: 10}, cas.PackEntry{ID: cas.PackID{1}, Size: 20, Sealed: true}
	apply(t, ix, &cas.Change{Packs: []cas.PackEntry{a, b}})
	a.Size, a.Sealed = 30, true
	apply(t, ix, &cas.Change{Packs: []cas.PackEntry{a}})
	if got := list(t, ix.AllPacks(t.Context())); !slices.Equal(got, []cas.PackEntry{b, a}) {
		t.Errorf("%+v", got)
	}
}

// testConcurrent: of many who add the same chunks, one wins each.
func testConcurrent(t *testing.T, ix cas.Index) {
	var wg sync.WaitGroup
	for w := range byte(8) {
		wg.Go(func() {
			for n := range byte(50) {
				e := cas.ChunkEntry{Digest: digest(n), Frame: cas.FrameID{w + 1}, Length: 1}
				if err := ix.Apply(t.Context(), &cas.Change{Chunks: []cas.ChunkEntry{e}}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if got := list(t, ix.AllChunks(t.Context())); len(got) != 50 {
		t.Errorf("%d chunks", len(got))
	}
}

// testModel compares random changes with a MemIndex.
func testModel(t *testing.T, ix cas.Index, reopen func(*testing.T, cas.Index) cas.Index) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	want := NewMemIndex()
	for n := range 300 {
		c := &cas.Change{}
		for range r.IntN(5) {
			c.Chunks = append(c.Chunks, cas.ChunkEntry{Digest: digest(byte(r.IntN(60))), Frame: cas.FrameID{byte(1 + r.IntN(9))}, Slot: r.Uint32(), Length: r.Uint32()})
			c.Frames = append(c.Frames, cas.FrameEntry{ID: cas.FrameID{byte(r.IntN(9))}, Offset: r.Int64(), Kind: cas.KindData})
		}
		if r.IntN(4) == 0 {
			c.Bad = append(c.Bad, digest(byte(r.IntN(60))))
			c.Packs = append(c.Packs, cas.PackEntry{ID: cas.PackID{byte(r.IntN(9))}, Size: r.Int64(), Sealed: r.IntN(2) == 0})
		}
		apply(t, ix, c)
		apply(t, want, c)
		if n%100 == 99 && reopen != nil {
			ix = reopen(t, ix)
		}
	}
	ctx := t.Context()
	if got, want := list(t, ix.AllChunks(ctx)), list(t, want.AllChunks(ctx)); !slices.Equal(got, want) {
		t.Errorf("chunks\n%+v\nwant\n%+v", got, want)
	}
	if got, want := list(t, ix.AllFrames(ctx)), list(t, want.AllFrames(ctx)); !slices.Equal(got, want) {
		t.Errorf("frames\n%+v\nwant\n%+v", got, want)
	}
	if got, want := list(t, ix.AllPacks(ctx)), list(t, want.AllPacks(ctx)); !slices.Equal(got, want) {
		t.Errorf("packs\n%+v\nwant\n%+v", got, want)
	}
}
