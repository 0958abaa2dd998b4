package cas_test

import (
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

// markChunk marks a chunk, as a reader does that has found it damaged.
func markChunk(t *testing.T, s *cas.Store, d cas.Digest) {
	t.Helper()
	e := make([]cas.ChunkEntry, 1)
	if err := s.Index().Chunks(t.Context(), []cas.Digest{d}, e); err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), &cas.Change{Bad: e}); err != nil {
		t.Fatal(err)
	}
}

// openWithToy returns a store with the chunks a and b, and one that is made from them.
func openWithToy(t *testing.T) (w *world, s *cas.Store, a, b, chunk []byte) {
	t.Helper()
	w = newWorld(t)
	opts := &cas.Options{Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}}
	s = w.open(t, opts)
	r := seeded(t)
	a, b = noise(r, 4000), noise(r, 4000)
	put(t, s, cas.Raw, a, b)
	closeStore(t, s)
	chunk = addToy(t, w, a, b)
	return w, w.open(t, opts), a, b, chunk
}

// A writer must not count on a chunk that is made from a damaged one. Who brings
// it stores it anew, without sources.
func TestHitOfCopies(t *testing.T) {
	w, s, a, b, chunk := openWithToy(t)
	defer closeStore(t, s)
	ds := []cas.Digest{cas.Sum(b), cas.Sum(chunk)}
	hit := func(want ...cas.Digest) {
		t.Helper()
		if missing, err := s.Hit(t.Context(), 0, ds); err != nil || !slices.Equal(missing, want) {
			t.Errorf("missing %v, %v; want %v", missing, err, want)
		}
	}

	hit()
	markChunk(t, s, cas.Sum(a))
	put(t, s, cas.Raw, a) // before anybody has asked for what is made from it
	hit()
	if frame := frameOf(t, w, cas.Sum(chunk)); len(frame.Sources) != 2 {
		t.Errorf("the chunk has left its frame, though its sources are whole again: %+v", frame)
	}

	markChunk(t, s, cas.Sum(a))
	hit(cas.Sum(chunk))
	if _, st := put(t, s, cas.Raw, b, chunk); st.NewBytes != int64(len(chunk)) {
		t.Errorf("stored %d new bytes, want the chunk's %d", st.NewBytes, len(chunk))
	}
	hit()
	if frame := frameOf(t, w, cas.Sum(chunk)); len(frame.Sources) != 0 {
		t.Errorf("the chunk is still made from others: %+v", frame)
	}
	checkStored(t, s, chunk)
}

// An upload finds by itself that a source is damaged.
func TestPutOfCopies(t *testing.T) {
	w, s, _, b, chunk := openWithToy(t)
	defer closeStore(t, s)
	markChunk(t, s, cas.Sum(b))
	put(t, s, cas.Raw, chunk)
	if frame := frameOf(t, w, cas.Sum(chunk)); len(frame.Sources) != 0 {
		t.Errorf("the chunk is still made from others: %+v", frame)
	}
	checkStored(t, s, chunk)
}

func frameOf(t *testing.T, w *world, d cas.Digest) *cas.FrameEntry {
	t.Helper()
	e, f := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
	if err := w.ix.Chunks(t.Context(), []cas.Digest{d}, e); err != nil {
		t.Fatal(err)
	}
	if err := w.ix.Frames(t.Context(), []cas.FrameID{e[0].Frame}, f); err != nil {
		t.Fatal(err)
	}
	return &f[0]
}
