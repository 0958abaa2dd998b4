package check

import (
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// A version that lacks any of its chunks is told as damaged, and which chunk it is,
// wherever in a batch of look-ups that comes.
func TestAnyMissingChunkIsTold(t *testing.T) {
	race.LeaveOut(t)
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
	f.put("big", noise(1, 24<<20))
	g := f.open()
	defer g.close()
	var refs []cas.Ref
	for m, err := range g.db.AllRows(t.Context(), "demo") {
		must(t, err)
		must(t, m.Manifest.Refs(t.Context(), g.db.Segments("x"), func(r cas.Ref) error {
			refs = append(refs, r)
			return nil
		}))
	}
	if len(refs) < damageBatch+2 {
		t.Fatalf("%d chunks are not enough", len(refs))
	}
	ix := g.db.Index("x")
	for _, i := range []int{0, damageBatch - 1, damageBatch, len(refs) - 1} {
		entries := make([]cas.ChunkEntry, 1)
		must(t, ix.Chunks(t.Context(), []cas.Digest{refs[i].Digest}, entries))
		must(t, ix.Apply(t.Context(), &cas.Change{Drop: entries}))
		r, err := g.store().Check(t.Context(), nil)
		must(t, err)
		if len(r.Damaged) != 1 || r.Damaged[0].Digest != refs[i].Digest.String() {
			t.Errorf("chunk %d is missing: %+v", i, r.Damaged)
		}
		must(t, ix.Apply(t.Context(), &cas.Change{Chunks: entries}))
	}
	if r, err := g.store().Check(t.Context(), nil); err != nil || len(r.Damaged) > 0 {
		t.Errorf("nothing is missing: %+v, %v", r, err)
	}
}
