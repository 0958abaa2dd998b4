package cas_test

import (
	"context"
	"errors"
	"io"
	"slices"
	"testing"

	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// spoiledStore returns a store with one frame of five chunks in a sealed pack. Of a
// frame that is stored plain the third chunk is damaged; another does not decode.
func spoiledStore(t *testing.T, codec cas.Codec) (w *world, s *cas.Store, chunks [][]byte) {
	w = newWorld(t)
	s = w.open(t, nil)
	r := seeded(t)
	for range 5 {
		chunks = append(chunks, append(noise(r, 2000), prose(r, 2000)...))
	}
	put(t, s, codec, chunks...)
	closeStore(t, s)
	f, e := w.frameOf(t, chunks[2])
	at := f.Offset + int64(f.HeaderLen)
	if f.Codec == cas.Raw {
		at += int64(e.Offset) + 100
	}
	w.b = backendtest.Flip(w.mem, f.Pack.Key(), at)
	s = w.open(t, nil)
	must(t, s.SealOpen(t.Context()))
	return w, s, chunks
}

// frameOf returns the frame and the entry of a chunk.
func (w *world) frameOf(t *testing.T, chunk []byte) (cas.FrameEntry, cas.ChunkEntry) {
	t.Helper()
	e, f := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
	must(t, w.ix.Chunks(t.Context(), []cas.Digest{cas.Sum(chunk)}, e))
	must(t, w.ix.Frames(t.Context(), []cas.FrameID{e[0].Frame}, f))
	return f[0], e[0]
}

func rewriteAll(t *testing.T, w *world, s *cas.Store) cas.Rewritten {
	t.Helper()
	out, err := s.Rewrite(t.Context(), w.entries(t), nil)
	must(t, err)
	return out
}

// What proves damaged is marked and stays, and the rest of its frame goes to a
// new one; of a frame that does not decode nothing does. A second run finds
// nothing to do. When an upload has healed what was damaged, the pack can go.
func TestRewriteOfDamaged(t *testing.T) {
	for _, codec := range []cas.Codec{cas.Raw, cas.Zstd} {
		w, s, chunks := spoiledStore(t, codec)
		old, _ := w.frameOf(t, chunks[2])
		packs := w.entries(t)
		damaged := []int{2}
		if old.Codec == cas.Zstd {
			damaged = []int{0, 1, 2, 3, 4}
		}
		want := int64(len(damaged))
		out, err := s.Rewrite(t.Context(), packs, nil)
		if err != nil || out.Frames != 0 || out.Damaged != want || out.Chunks != 5-want || !slices.Equal(out.Left, []cas.PackID{old.Pack}) {
			t.Errorf("%s: %+v, %v", codec, out, err)
		}
		for i, c := range chunks {
			f, e := w.frameOf(t, c)
			if bad := slices.Contains(damaged, i); e.Usable() == bad || (f.ID == old.ID) != bad || (f.Pack == old.Pack) != bad {
				t.Errorf("%s: chunk %d: %+v in %+v", codec, i, e, f)
			} else if !bad {
				checkGet(t, s, c)
			}
		}
		out, err = s.Rewrite(t.Context(), packs, nil)
		if err != nil || out.Frames+out.Chunks+out.Damaged > 0 || len(out.Left) != 1 {
			t.Errorf("%s: again: %+v, %v", codec, out, err)
		}
		put(t, s, codec, chunks...)
		if out, err := s.Rewrite(t.Context(), packs, nil); err != nil || len(out.Left) > 0 {
			t.Errorf("%s: healed: %+v, %v", codec, out, err)
		}
		checkStored(t, s, chunks...)
		closeStore(t, s)
	}
}

// Bytes that were only hurt on their way are read again, and their frame is moved
// whole.
func TestRewriteReadsAgain(t *testing.T) {
	for _, spoil := range []func(n int, p []byte, off int64) error{
		func(n int, p []byte, _ int64) error { p[len(p)/2] ^= 1; return nil },
		func(n int, p []byte, _ int64) error { return io.ErrUnexpectedEOF },
	} {
		w := newWorld(t)
		f := &far{Backend: w.mem}
		w.b = f
		s := w.open(t, nil)
		c := noise(seeded(t), 50<<10)
		put(t, s, cas.Raw, c)
		must(t, s.SealOpen(t.Context()))
		before, _ := w.frameOf(t, c)
		once := true
		f.count(func(n int, p []byte, off int64) error {
			if len(p) > 40<<10 && once {
				once = false
				return spoil(n, p, off)
			}
			return nil
		})
		out := rewriteAll(t, w, s)
		after, _ := w.frameOf(t, c)
		if out.Frames != 1 || out.Damaged > 0 || len(out.Left) > 0 || after.ID != before.ID || after.Pack == before.Pack || once {
			t.Errorf("%+v, %+v", out, after)
		}
		checkGet(t, s, c)
		closeStore(t, s)
	}
}

// A frame that cannot be decoded here, for lack of its key or of a whole source,
// is moved as it is, if its checksum is right.
func TestRewriteUndecodable(t *testing.T) {
	w := newWorld(t)
	s := w.open(t, &cas.Options{Sealer: &toySealer{now: 7, keys: []uint64{7}}})
	r := seeded(t)
	kept, torn := noise(r, 5000), noise(r, 5000)
	put(t, s, cas.Raw, kept)
	put(t, s, cas.Raw, torn)
	must(t, s.SealOpen(t.Context()))
	closeStore(t, s)
	before, _ := w.frameOf(t, kept)
	spoiled, _ := w.frameOf(t, torn)
	w.b = backendtest.Flip(w.mem, spoiled.Pack.Key(), spoiled.Offset+int64(spoiled.HeaderLen)+100)
	s = w.open(t, nil)
	out := rewriteAll(t, w, s)
	if out.Frames != 1 || out.Damaged > 0 || !slices.Equal(out.Left, []cas.PackID{spoiled.Pack}) {
		t.Errorf("%+v", out)
	}
	closeStore(t, s)
	w.b = w.mem
	s = w.open(t, &cas.Options{Sealer: &toySealer{now: 8, keys: []uint64{7, 8}}})
	after, _ := w.frameOf(t, kept)
	if after.ID != before.ID || after.Pack == before.Pack || after.Key != 7 {
		t.Errorf("%+v, before %+v", after, before)
	}
	checkStored(t, s, kept, torn)
	closeStore(t, s)

	w = newWorld(t)
	opts := &cas.Options{Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}}
	s = w.open(t, opts)
	a, b := noise(r, 4000), noise(r, 4000)
	put(t, s, cas.Raw, a, b)
	must(t, s.SealOpen(t.Context()))
	closeStore(t, s)
	made := addToy(t, w, a, b)
	source, e := w.frameOf(t, a)
	w.b = backendtest.Flip(w.mem, source.Pack.Key(), source.Offset+int64(source.HeaderLen)+int64(e.Offset)+100)
	s = w.open(t, opts)
	out = rewriteAll(t, w, s)
	f, _ := w.frameOf(t, made)
	if out.Frames != 1 || out.Chunks != 1 || out.Damaged > 1 || !slices.Equal(out.Left, []cas.PackID{source.Pack}) || len(f.Sources) != 2 {
		t.Errorf("%+v, %+v", out, f)
	}
	put(t, s, cas.Raw, a)
	checkStored(t, s, a, b, made)
	closeStore(t, s)
}

// A collector that has lost its lease changes nothing, and harms no upload.
func TestRewriteFenced(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, nil)
	r := seeded(t)
	c, other := noise(r, 5000), noise(r, 5000)
	put(t, s, cas.Raw, c)
	must(t, s.SealOpen(t.Context()))
	before, _ := w.frameOf(t, c)
	token := w.ix.TakeLease()
	w.ix.TakeLease()
	b := s.NewBatch(t.Context(), nil)
	defer b.Close()
	must(t, b.Put(other))
	must(t, b.Drain())
	_, err := s.Rewrite(t.Context(), w.entries(t), &cas.RewriteOptions{Collector: token})
	if !errors.Is(err, cas.ErrFenced) {
		t.Errorf("fenced: %v", err)
	}
	if after, _ := w.frameOf(t, c); !after.Equal(&before) {
		t.Errorf("%+v, before %+v", after, before)
	}
	must(t, b.Flush())
	checkStored(t, s, c, other)
}

// What is dropped or healed while it is copied is not brought back, nor moved.
func TestRewriteComparesAndSwaps(t *testing.T) {
	w := newWorld(t)
	h := &hooked{Backend: w.mem}
	w.b = h
	s := w.store(t, nil)
	r := seeded(t)
	dropped, healed, lone := noise(r, 5000), noise(r, 5000), noise(r, 5000)
	put(t, s, cas.Raw, dropped, healed)
	put(t, s, cas.Raw, lone)
	must(t, s.SealOpen(t.Context()))
	packs := w.entries(t)
	_, d := w.frameOf(t, dropped)
	_, l := w.frameOf(t, lone)
	_, bad := w.frameOf(t, healed)
	place := bad
	place.Frame, place.Slot, place.Offset = cas.FrameID{1}, 0, 0
	once := true
	h.setHook(func(op, _ string) error {
		if op == "sync" && once {
			once = false
			return errors.Join(w.ix.Apply(context.Background(), &cas.Change{Drop: []cas.ChunkEntry{d, l}, Bad: []cas.ChunkEntry{bad}}),
				w.ix.Apply(context.Background(), &cas.Change{Chunks: []cas.ChunkEntry{place},
					Frames: []cas.FrameEntry{{ID: place.Frame, PlainLen: 5000, Slots: 1}}}))
		}
		return nil
	})
	out, err := s.Rewrite(t.Context(), packs, nil)
	if err != nil || len(out.Left) > 0 || once {
		t.Fatalf("%+v, %v", out, err)
	}
	for _, c := range [][]byte{dropped, lone} {
		if _, e := w.frameOf(t, c); e != (cas.ChunkEntry{}) {
			t.Errorf("it came back: %+v", e)
		}
	}
	if _, e := w.frameOf(t, healed); e.Frame != place.Frame {
		t.Errorf("it was moved: %+v", e)
	}
}

// Many small frames are moved by several changes and few reads, in the order that
// is asked for, at the rate that is given, and lie in fewer packs.
func TestRewriteMany(t *testing.T) {
	race.LeaveOut(t)
	for _, remote := range []bool{false, true} {
		w := newWholeWorld(t)
		f := &far{Backend: w.mem}
		w.b = f
		opts := &cas.Options{Remote: remote, PackSize: 8 << 20}
		s := w.open(t, opts)
		r := seeded(t)
		var chunks [][]byte
		for range 30 { // packs, since each is published whole
			var group [][]byte
			for range 300 {
				group = append(group, noise(r, 100))
			}
			put(t, s, cas.Raw, group...)
			chunks = append(chunks, group...)
		}
		large := [][]byte{noise(r, 1<<20), noise(r, 1<<20), noise(r, 1<<20)}
		put(t, s, cas.Raw, large...)
		var drop []cas.ChunkEntry
		for i := 0; i < len(chunks); i += 300 {
			_, e := w.frameOf(t, chunks[i])
			drop = append(drop, e)
		}
		must(t, w.ix.Apply(t.Context(), &cas.Change{Drop: drop}))
		must(t, s.SealOpen(t.Context()))
		packs := w.entries(t)
		f.count(nil)
		out, err := s.Rewrite(t.Context(), packs, &cas.RewriteOptions{Limit: rate.NewLimiter(1<<30, 1000), Order: func(_ context.Context, fs []*cas.LiveFrame) error {
			slices.Reverse(fs)
			return nil
		}})
		if err != nil || out.Chunks != 30*299 || out.Frames != 3 || len(out.Left) > 0 {
			t.Errorf("%+v, %v", out, err)
		}
		if reads, _ := f.count(nil); reads > 4*len(packs)+3 {
			t.Errorf("%d packs: %d reads", len(packs), reads)
		}
		first, _ := w.frameOf(t, large[2])
		last, _ := w.frameOf(t, large[0])
		if first.Pack == last.Pack && first.Offset > last.Offset {
			t.Errorf("the first lies at %d, the last at %d", first.Offset, last.Offset)
		}
		if n := len(w.entries(t)) - len(packs); n > 2 {
			t.Errorf("%d new packs", n)
		}
		for i, c := range chunks {
			if i%300 != 0 && i%7 == 0 {
				checkGet(t, s, c)
			}
		}
		checkStored(t, s, large...)
		closeStore(t, s)
	}
}

// shortened is a backend one of whose objects has lost its end.
type shortened struct {
	backend.Backend
	key  string
	size int64
}

func (b *shortened) Stat(ctx context.Context, key string) (backend.Info, error) {
	info, err := b.Backend.Stat(ctx, key)
	if key == b.key {
		info.Size = b.size
	}
	return info, err
}

func (b *shortened) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	if key == b.key && off+int64(len(p)) > b.size {
		return io.ErrUnexpectedEOF
	}
	return b.Backend.ReadAt(ctx, key, p, off)
}

// Of a pack that has lost its end what is left is copied; the others are rewritten
// as if nothing were.
func TestRewriteOfShortPack(t *testing.T) {
	for _, first := range []bool{false, true} { // the first frame is left
		w := newWorld(t)
		s := w.open(t, nil)
		r := seeded(t)
		a, b, c := noise(r, 300_000), noise(r, 300_000), noise(r, 300_000)
		put(t, s, cas.Zstd, a)
		put(t, s, cas.Zstd, b)
		must(t, s.SealOpen(t.Context()))
		put(t, s, cas.Zstd, c)
		closeStore(t, s)
		cut, _ := w.frameOf(t, b)
		short := &shortened{w.mem, cut.Pack.Key(), 100}
		if first {
			short.size = cut.Offset + 50
		}
		w.b = short
		s = w.open(t, nil)
		must(t, s.SealOpen(t.Context()))
		out, err := s.Rewrite(t.Context(), w.entries(t), nil)
		if err != nil || !slices.Contains(out.Left, cut.Pack) {
			t.Fatalf("first %v: %+v, %v", first, out, err)
		}
		if f, _ := w.frameOf(t, a); (f.Pack != cut.Pack) != first {
			t.Errorf("first %v: the first frame is in %s", first, f.Pack)
		}
		if f, _ := w.frameOf(t, b); f.Pack != cut.Pack {
			t.Errorf("first %v: the second frame was copied to %s", first, f.Pack)
		}
		if f, _ := w.frameOf(t, c); slices.Contains(out.Left, f.Pack) {
			t.Errorf("first %v: the other pack is left", first)
		}
		checkGet(t, s, c)
	}
}
