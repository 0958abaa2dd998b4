package collect_test

import (
	"fmt"
	"testing"
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
