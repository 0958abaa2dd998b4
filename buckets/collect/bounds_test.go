package collect_test

import (
	"fmt"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
)

// However much is dead, one change drops a bounded number of entries, and one
// transaction dooms a bounded number of packs.
func TestSweepIsBounded(t *testing.T) {
	w := newWorldOf(t, 4<<10)
	for i := range 70 {
		name := fmt.Sprint(i)
		w.put(name, random(uint64(i), 5000))
		must(t, w.chunks.SealOpen(t.Context()))
		w.purge(name)
	}
	w.put("large", random(1000, 24<<20))
	w.purge("large")
	r := w.collect(nil)
	if r.DroppedChunks < 1100 || r.DeletedPacks < 70 {
		t.Fatalf("%+v", r)
	}
	if w.steps.mostDropped > 1024 || w.steps.mostDoomed > 64 {
		t.Errorf("%d entries were dropped at once, %d packs doomed", w.steps.mostDropped, w.steps.mostDoomed)
	}
	w.check()
}

// However many marks a checkpoint makes needless, one transaction removes a bounded
// number of them, and all go.
func TestMarksAreDroppedBoundedly(t *testing.T) {
	w := newWorld(t)
	for i := range 25 {
		w.put(fmt.Sprint(i), random(uint64(i), 5000))
		w.purge(fmt.Sprint(i))
	}
	w.steps.fewMarks = 10
	w.collect(&collect.Options{Full: true})
	if n := w.steps.calls["drop marks"]; n != 3 || w.steps.mostMarks > 10_000 {
		t.Errorf("%d transactions dropped marks, of up to %d", n, w.steps.mostMarks)
	}
	for r, err := range w.db.Marks(t.Context()) {
		must(t, err)
		t.Fatalf("a mark is left: %+v", r)
	}
}
