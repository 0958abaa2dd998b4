package cas_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/cas"
)

// scrubbedStore returns a store with one sealed pack that holds chunks in a frame
// stored plain and in one that is compressed, a segment, and a record.
func scrubbedStore(t *testing.T) (w *world, s *cas.Store, chunks map[string][]byte) {
	w = newWorld(t)
	s = w.store(t, nil)
	r := seeded(t)
	chunks = map[string][]byte{"raw": noise(r, 3000), "raw too": noise(r, 3000), "zstd": prose(r, 300<<10), "zstd too": append(noise(r, 9), prose(r, 300<<10)...),
		"segment": noise(r, 500)}
	put(t, s, cas.Raw, chunks["raw"], chunks["raw too"])
	put(t, s, cas.Zstd, chunks["zstd"], chunks["zstd too"])
	b := s.NewBatch(t.Context(), nil)
	defer b.Close()
	_, err := b.PutSegment(t.Context(), chunks["segment"])
	must(t, err)
	must(t, b.Flush())
	must(t, s.AppendRecords(t.Context(), &cas.Records{Commit: 1, Slots: [][]byte{[]byte("a record")}}))
	must(t, s.SealOpen(t.Context()))
	return w, s, chunks
}

func digestOf(name string, chunk []byte) cas.Digest {
	if name == "segment" {
		return cas.SumSegment(chunk)
	}
	return cas.Sum(chunk)
}

// frameWith returns the frame and the entry of a digest.
func (w *world) frameWith(t *testing.T, d cas.Digest) (cas.FrameEntry, cas.ChunkEntry) {
	t.Helper()
	e, f := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
	must(t, w.ix.Chunks(t.Context(), []cas.Digest{d}, e))
	must(t, w.ix.Frames(t.Context(), []cas.FrameID{e[0].Frame}, f))
	return f[0], e[0]
}

func scrubOnly(t *testing.T, w *world, s *cas.Store, opts *cas.ScrubOptions) cas.PackScrub {
	t.Helper()
	packs := w.entries(t)
	if len(packs) != 1 {
		t.Fatalf("%d packs", len(packs))
	}
	out, err := s.ScrubPack(t.Context(), packs[0], opts)
	must(t, err)
	return out
}

// A byte is inverted in the payload of each kind of frame: the chunks that it hurts
// are marked, and no others. One who only reads marks nothing. The same bytes heal
// what was hurt, and the next scrub of all packs finds nothing.
func TestScrubPack(t *testing.T) {
	for _, name := range []string{"", "raw", "zstd", "segment"} {
		w, s, chunks := scrubbedStore(t)
		hurt := map[string]bool{}
		if name != "" {
			f, e := w.frameWith(t, digestOf(name, chunks[name]))
			at := f.Offset + int64(f.HeaderLen) // without its first byte nothing decodes
			if f.Codec == cas.Raw {
				at += int64(e.Offset) + 50
			}
			hurt[name] = true
			if f.Codec != cas.Raw {
				hurt["zstd too"] = true
			}
			w.b = backendtest.Flip(w.mem, f.Pack.Key(), at)
			s = w.store(t, nil)
		}
		for _, readOnly := range []bool{true, false} {
			out := scrubOnly(t, w, s, &cas.ScrubOptions{ReadOnly: readOnly})
			var want []cas.Digest
			for n, c := range chunks {
				if hurt[n] {
					want = append(want, digestOf(n, c))
				}
				if _, e := w.frameWith(t, digestOf(n, c)); e.Usable() == (hurt[n] && !readOnly) {
					t.Errorf("%q is damaged, read only %t: %q is %+v", name, readOnly, n, e)
				}
			}
			slices.SortFunc(out.Bad, compareDigests)
			slices.SortFunc(want, compareDigests)
			if !slices.Equal(out.Bad, want) || out.BadCount != int64(len(want)) || out.UnmetCount > 0 || out.Damage != "" || out.Frames < 4 {
				t.Errorf("%q is damaged: %+v, want %v", name, out, want)
			}
		}
		if name == "" || name == "segment" {
			continue
		}
		must(t, s.SealOpen(t.Context()))
		put(t, s, cas.Raw, chunks["raw"], chunks["zstd"], chunks["zstd too"])
		must(t, s.SealOpen(t.Context()))
		for _, p := range w.entries(t) {
			if out, err := s.ScrubPack(t.Context(), p, nil); err != nil || !out.IsClean() {
				t.Errorf("%q was damaged and is healed: %+v, %v", name, out, err)
			}
		}
	}
}

func compareDigests(a, b cas.Digest) int { return slices.Compare(a[:], b[:]) }

// Whichever read lies once, be it of headers, payloads or the footer: nothing is
// marked, and nothing is told.
func TestScrubReadsAgain(t *testing.T) {
	w, _, _ := scrubbedStore(t)
	f := &far{Backend: w.mem}
	w.b = f
	s := w.store(t, nil)
	f.count(nil)
	scrubOnly(t, w, s, nil)
	reads, _ := f.count(nil)
	for nth := 1; nth <= reads; nth++ {
		f.count(func(n int, p []byte, _ int64) error {
			if n == nth {
				p[len(p)/2] ^= 1
			}
			return nil
		})
		if out := scrubOnly(t, w, s, nil); !out.IsClean() {
			t.Errorf("read %d of %d lied: %+v", nth, reads, out)
		}
	}
}

// Damaged headers, records and footers, and a pack that is too short, are told, and
// mark nothing. A pack that is gone is not there.
func TestScrubOfBrokenPacks(t *testing.T) {
	w, _, chunks := scrubbedStore(t)
	p := w.entries(t)[0]
	f, _ := w.frameWith(t, digestOf("raw", chunks["raw"]))
	var record int64
	fs0, _ := frames(t, w.store(t, nil), p)
	for _, f := range fs0 {
		if f.Entry.Kind == cas.KindRecord {
			record = f.Entry.Offset + int64(f.Entry.HeaderLen)
		}
	}
	for name, at := range map[string]int64{"header of the pack": 20, "header of a frame": f.Offset + 10, "record": record} {
		w.b = backendtest.Flip(w.mem, p.ID.Key(), at)
		s := w.store(t, nil)
		out := scrubOnly(t, w, s, nil)
		if out.Damage == "" || out.BadCount > 0 || (out.UnmetCount > 0) != (name == "header of a frame") {
			t.Errorf("%s: %+v", name, out)
		}
		if out.UnmetCount > 0 && out.Unmet[0] != f.ID {
			t.Errorf("%s: not met %v, want %s", name, out.Unmet, f.ID)
		}
	}
	w.b = w.mem
	s := w.store(t, nil)
	must(t, w.mem.Delete(t.Context(), p.ID.Key()))
	if out, err := s.ScrubPack(t.Context(), p, nil); !errors.Is(err, fs.ErrNotExist) || !out.IsClean() {
		t.Errorf("the pack is gone: %+v, %v", out, err)
	}
	for _, c := range chunks {
		for _, d := range []cas.Digest{cas.Sum(c), cas.SumSegment(c)} {
			if _, e := w.frameWith(t, d); e.State == cas.Bad {
				t.Errorf("%s is marked", d)
			}
		}
	}
}

// An upload heals a chunk between the moment when it is read and the one when it
// would be marked.
func TestScrubNeverMarksHealed(t *testing.T) {
	w, s, chunks := spoiledStore(t, cas.Raw)
	healed := false
	x := &beforeBad{Index: w.ix, do: func(e cas.ChunkEntry) {
		healed = true
		must(t, w.ix.Apply(t.Context(), &cas.Change{Bad: []cas.ChunkEntry{e}}))
		put(t, s, cas.Raw, chunks[2])
	}}
	own, err := cas.Open(t.Context(), w.b, x, nil)
	must(t, err)
	defer closeStore(t, own)
	out, err := own.ScrubPack(t.Context(), w.entries(t)[0], nil)
	if err != nil || !out.IsClean() || !healed {
		t.Errorf("%+v, %v, healed %t", out, err, healed)
	}
	if _, e := w.frameOf(t, chunks[2]); !e.Usable() {
		t.Errorf("the healed chunk is %+v", e)
	}
	checkStored(t, s, chunks...)
	closeStore(t, s)
}

// A beforeBad index does something before it marks a chunk.
type beforeBad struct {
	cas.Index
	do func(e cas.ChunkEntry)
}

func (x *beforeBad) Apply(ctx context.Context, c *cas.Change) error {
	if len(c.Bad) > 0 {
		x.do(c.Bad[0])
	}
	return x.Index.Apply(ctx, c)
}

// All frames count against the limit, also where one is longer than its burst.
func TestScrubRate(t *testing.T) {
	w, s, _ := scrubbedStore(t)
	l := rate.NewLimiter(1, 1<<30) // it gives no more than its burst in the time of a test
	out := scrubOnly(t, w, s, &cas.ScrubOptions{Limit: l})
	if took := float64(1<<30) - l.Tokens(); out.Bytes == 0 || took < float64(out.Bytes)-100 || took > float64(out.Bytes) {
		t.Errorf("%d bytes read, %.0f asked for", out.Bytes, took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.ScrubPack(ctx, w.entries(t)[0], &cas.ScrubOptions{Limit: l}); !errors.Is(err, context.Canceled) {
		t.Errorf("given up: %v", err)
	}
}
