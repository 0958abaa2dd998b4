package collect_test

import (
	"fmt"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/manifest"
)

// A purge gives back what only the purged file needed, and the ledger says whose
// that was.
func TestCollect(t *testing.T) {
	w := newWorld(t)
	shared := random(1, 300<<10)
	w.put("kept", append(shared[:len(shared):len(shared)], random(2, 200<<10)...))
	w.put("gone", append(shared[:len(shared):len(shared)], random(3, 900<<10)...))
	before := w.size()
	w.purge("gone")
	r := w.collect(nil)
	w.check()
	if r.DroppedBytes < 800<<10 || r.DroppedBytes > 1000<<10 || r.WaitingChunks > 0 {
		t.Errorf("report: %+v", r)
	}
	if freed := before - w.size(); freed < 700<<10 {
		t.Errorf("%d bytes were freed", freed)
	}
	w.checkLedger("gone", 700<<10)
	if n := w.graves(); n > 0 {
		t.Errorf("%d graves are left", n)
	}
	// There is nothing left to do.
	again := w.collect(nil)
	if again.DroppedChunks > 0 || again.LiveChunks != r.LiveChunks {
		t.Errorf("again: %+v", again)
	}
}

// graves counts the graves.
func (w *world) graves() (n int) {
	w.t.Helper()
	for _, err := range w.meta.Graves(w.t.Context(), domain) {
		must(w.t, err)
		n++
	}
	return n
}

// checkLedger checks that the purge of a file has freed at least so many bytes.
func (w *world) checkLedger(path string, least int64) {
	w.t.Helper()
	sum := int64(0)
	for e, err := range w.meta.Ledger(w.t.Context()) {
		must(w.t, err)
		if e.Cause.Path == path {
			sum += e.Bytes
		}
	}
	if sum < least {
		w.t.Errorf("the purge of %q has freed %d bytes, want at least %d", path, sum, least)
	}
}

// A dry run says what a run does, and changes nothing.
func TestDryRun(t *testing.T) {
	w := newWorld(t)
	for i := range 4 {
		w.put(fmt.Sprint(i), random(uint64(i), 500<<10))
	}
	w.purge("1", "2")
	must(t, w.chunks.SealOpen(t.Context()))
	before, epoch := w.size(), w.epoch()
	planned := w.collect(&collect.Options{DryRun: true})
	if w.size() != before || w.epoch() != epoch || w.graves() != 2 {
		t.Error("a dry run has changed something")
	}
	done := w.collect(nil)
	if planned.DroppedChunks != done.DroppedChunks || planned.DroppedBytes != done.DroppedBytes || planned.LiveChunks != done.LiveChunks ||
		planned.Floor != done.Floor || planned.Epoch != done.Epoch {
		t.Errorf("planned %+v\ndone %+v", planned, done)
	}
	w.check()
}

func (w *world) epoch() uint64 {
	w.t.Helper()
	n, err := w.meta.Epoch(w.t.Context(), domain)
	must(w.t, err)
	return n
}

// A writer that began before the cycle keeps what it has stored and found. When it
// has committed, that is needed; when it has ended, the next cycle takes it.
func TestWritersAreWaitedFor(t *testing.T) {
	w := newWorld(t)
	p := random(1, 300<<10)
	w.put("gone", p)
	w.purge("gone")
	u := w.store(p) // finds all chunks stored
	v := w.store(random(2, 300<<10))
	if r := w.collect(nil); r.DroppedChunks > 0 || r.WaitingChunks == 0 {
		t.Fatalf("while two writers are under way: %+v", r)
	}
	must(t, u.commit("again"))
	v.end()
	r := w.collect(nil)
	w.check()
	if r.DroppedBytes < 250<<10 || r.WaitingChunks > 0 {
		t.Errorf("when both have ended: %+v", r)
	}
}

// Parts of uploads are roots.
func TestPartsAreRoots(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	u := w.store(random(1, 200<<10))
	row := &manifest.Upload{ID: manifest.NewUploadID(), Bucket: bucket, Domain: domain, Length: -1, Parts: 1}
	must(t, w.update(ctx, "", func(tx manifest.Tx) error {
		if err := tx.PutUpload(ctx, row); err != nil {
			return err
		}
		return tx.PutPart(ctx, row.ID, 0, u.content.Inline)
	}))
	u.end()
	if len(u.content.Inline) == 0 {
		t.Fatal("the content has no inline chunks")
	}
	if r := w.collect(nil); r.DroppedChunks > 0 {
		t.Fatalf("%+v", r)
	}
	row.Expired = true
	must(t, w.update(ctx, "", func(tx manifest.Tx) error {
		if _, err := tx.DropParts(ctx, row.ID, 10); err != nil {
			return err
		}
		return tx.PutUpload(ctx, row)
	}))
	if r := w.collect(nil); r.DroppedChunks != int64(len(u.content.Inline)) {
		t.Errorf("when the upload has expired: %+v", r)
	}
}

// A cycle in which nothing can have died since one that found nothing to do marks
// nothing; a purge, or what an upload leaves behind, is noticed.
func TestNothingToDo(t *testing.T) {
	w := newWorld(t)
	w.put("kept", random(1, 300<<10))
	w.put("gone", random(2, 300<<10))
	c := w.collector()
	run := func() *collect.DomainReport {
		t.Helper()
		r, err := c.Run(t.Context(), nil)
		must(t, err)
		return &r.Domains[0]
	}
	settle := func() {
		t.Helper()
		for range 5 {
			if r := run(); r.Unchanged {
				if r.LiveChunks == 0 || r.DroppedChunks > 0 {
					t.Errorf("%+v", r)
				}
				return
			}
		}
		t.Fatal("collections do not come to rest")
	}
	settle()
	w.purge("gone")
	if r := run(); r.Unchanged || r.DroppedChunks == 0 {
		t.Errorf("after a purge: %+v", r)
	}
	settle()
	w.store(random(3, 300<<10)).end()
	if r := run(); r.Unchanged || r.DroppedChunks == 0 {
		t.Errorf("after an upload that left something: %+v", r)
	}
	settle()
	w.check()
}

// The ledger says of each chunk who held it last, also if it was removed while a
// cycle was under way, or if a cycle could not drop it.
func TestLedgerNamesTheLastHolder(t *testing.T) {
	w := newWorld(t)
	shared := random(1, 500<<10)
	w.put("first", shared)
	w.put("second", append(shared[:len(shared):len(shared)], random(2, 100<<10)...))
	w.put("third", random(3, 500<<10))
	w.purge("first")
	u := w.store(random(4, 10<<10)) // keeps the first cycle from dropping anything
	w.steps.hook = once("graves", func() { w.purge("third") })
	w.collect(nil)
	w.purge("second")
	u.end()
	w.collect(nil)
	sums := make(map[string]int64)
	for c, err := range w.meta.AllCharges(t.Context(), domain) {
		must(t, err)
		sums[c.Cause.Path] += c.Bytes
	}
	for e, err := range w.meta.Ledger(t.Context()) {
		must(t, err)
		sums[e.Cause.Path] += e.Bytes
	}
	// The first file alone held its last chunk, and its segments.
	if sums["first"] > 20<<10 || sums["second"] < 590<<10 || sums["third"] < 490<<10 {
		t.Errorf("freed %v", sums)
	}
	if n := w.graves(); n > 0 {
		t.Errorf("%d graves are left", n)
	}
	w.check()
}
