package cas_test

import (
	"context"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
)

// A countingIndex counts the chunks that are looked up.
type countingIndex struct {
	cas.Index
	chunks int
}

func (x *countingIndex) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	x.chunks += len(ds)
	return x.Index.Chunks(ctx, ds, out)
}

// A frame of which the index counts all chunks as live is moved without a look-up
// of any. A chunk of it that was marked, though its bytes are good, stays marked. Of
// a frame that lacks a chunk all are looked up, and what was marked stays.
func TestRewriteLooksUpLittle(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	var chunks [][]byte
	for range 6 {
		chunks = append(chunks, noise(r, 4000))
	}
	s := w.open(t, nil)
	put(t, s, cas.Raw, chunks[:3]...)
	put(t, s, cas.Raw, chunks[3:]...)
	closeStore(t, s)
	ix := &countingIndex{Index: w.ix}
	s, err := cas.Open(t.Context(), w.b, ix, &cas.Options{Exclusive: true})
	must(t, err)
	defer closeStore(t, s)
	must(t, s.SealOpen(t.Context()))
	whole, marked := w.frameOf(t, chunks[1])
	rest, alsoMarked := w.frameOf(t, chunks[4])
	_, dropped := w.frameOf(t, chunks[3])
	must(t, w.ix.Apply(t.Context(), &cas.Change{Drop: []cas.ChunkEntry{dropped}, Bad: []cas.ChunkEntry{marked, alsoMarked}}))

	ix.chunks = 0
	out := rewriteAll(t, w, s)
	if out.Frames != 1 || out.Chunks != 1 || out.Damaged > 0 || !slices.Equal(out.Left, []cas.PackID{rest.Pack}) {
		t.Errorf("%+v", out)
	}
	if ix.chunks > 3 {
		t.Errorf("%d chunks were looked up", ix.chunks)
	}
	f, e := w.frameOf(t, chunks[1])
	if f.ID != whole.ID || f.Pack == whole.Pack || e.State != cas.Bad {
		t.Errorf("%+v in %+v, before in %+v", e, f, whole)
	}
	if f, e := w.frameOf(t, chunks[4]); f.Pack != rest.Pack || e.State != cas.Bad {
		t.Errorf("%+v in %+v, before in %+v", e, f, rest)
	}
	for _, i := range []int{0, 2, 5} {
		checkGet(t, s, chunks[i])
	}
}
