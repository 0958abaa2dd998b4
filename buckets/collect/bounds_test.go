package collect_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
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
// number of them.
func TestMarksAreDroppedBoundedly(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	ids := make([]manifest.FileID, 10_010)
	for i := range ids {
		ids[i] = manifest.NewFileID()
	}
	put := func(tx manifest.Tx, id manifest.FileID) error {
		return tx.PutFile(ctx, &manifest.File{ID: id, Bucket: bucket, Name: string(id), CreatedAt: time.Now(), UpdatedAt: time.Now()})
	}
	purge := func(tx manifest.Tx, id manifest.FileID) error { return tx.Purge(ctx, id, time.Now()) }
	for _, change := range []func(manifest.Tx, manifest.FileID) error{put, purge} {
		for some := range slices.Chunk(ids, 1000) {
			must(t, w.update(ctx, domain, func(tx manifest.Tx) error {
				for _, id := range some {
					if err := change(tx, id); err != nil {
						return err
					}
				}
				return nil
			}))
		}
	}
	w.collect(&collect.Options{Full: true})
	if n := w.steps.calls["drop marks"]; n != 2 || w.steps.mostMarks > 10_000 {
		t.Errorf("%d transactions dropped marks, of up to %d", n, w.steps.mostMarks)
	}
	for r, err := range w.db.Marks(ctx) {
		must(t, err)
		t.Fatalf("a mark is left: %+v", r)
	}
}
