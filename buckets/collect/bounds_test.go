package collect_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
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

// However many causes the dead bytes of a pack have, one transaction enters a
// bounded number of them into the ledger. A collector that is killed between two
// leaves the rest to the next one: each cause is entered once, and all entries of
// the pack add up to its size.
func TestLedgerIsEnteredBoundedly(t *testing.T) {
	const causes, files, batches = 2000, 20, 3 // two are full, and one enters the rest
	w := newWorld(t)
	for i := range files { // their records are nobody's bytes
		w.put(fmt.Sprint("file", i), random(uint64(i), 2<<10))
	}
	must(t, w.chunks.SealOpen(t.Context()))
	var pack cas.PackEntry
	for p, err := range w.db.Index(domain).AllPacks(t.Context()) {
		must(t, err)
		if p.Live > 0 {
			pack = p
		}
	}
	var charges []manifest.Charge
	for i := range causes - files { // the others are the purges
		charges = append(charges, manifest.Charge{Pack: pack.ID, Cause: manifest.Cause{Bucket: bucket, Path: fmt.Sprint(i)}, Bytes: 1})
	}
	must(t, w.db.AddCharges(t.Context(), domain, charges))
	for i := range files {
		w.purge(fmt.Sprint("file", i))
	}
	w.close()
	for at := 1; at <= batches; at++ {
		for _, after := range []bool{false, true} {
			c := w.copyWorld()
			c.open()
			c.steps.after = after
			c.steps.hook = func(what string) {
				if what == "enter into the ledger" && c.steps.calls[what] == at {
					c.steps.at = c.steps.n
				}
			}
			_, err := c.collector().Run(t.Context(), &collect.Options{Full: true})
			if !errors.Is(err, errKilled) {
				t.Fatalf("at %d: %v", at, err)
			}
			most := c.steps.mostEntered
			c.reopen()
			c.collect(&collect.Options{Full: true})
			if most = max(most, c.steps.mostEntered); most > 1002 {
				t.Errorf("%d entries in one transaction", most)
			}
			c.checkSums(fmt.Sprint(at))
			c.checkEntries(fmt.Sprint(at), &pack, causes)
			c.close()
		}
	}
}

// checkEntries checks that each cause of a pack stands in the ledger once, and that
// all add up to the size of the pack.
func (w *world) checkEntries(what string, p *cas.PackEntry, causes int) {
	w.t.Helper()
	seen, sum := make(map[manifest.Cause]bool), int64(0)
	for e, err := range w.meta.Ledger(w.t.Context()) {
		must(w.t, err)
		if e.Pack != p.ID {
			continue
		}
		sum += e.Bytes
		if seen[e.Cause] {
			w.t.Errorf("%s: the ledger has %+v twice", what, e.Cause)
		}
		seen[e.Cause] = true
	}
	if len(seen) != causes+1 || sum != p.Size { // and nobody's
		w.t.Errorf("%s: %d causes of %d, %d bytes of %d", what, len(seen)-1, causes, sum, p.Size)
	}
}
