package report_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/manifest"
)

// loadTime is how long a store is changed by several while reports are made.
const loadTime = 500 * time.Millisecond

// Reports that are made while files are stored, removed and collected fail at nothing
// and add up in themselves; when all is quiet they are what a recount says.
func TestReportsUnderLoad(t *testing.T) {
	for name, open := range map[string]func(testing.TB, uint64) *world{"pebble": newPebbleWorld, "postgres": newPostgresWorld} {
		t.Run(name, func(t *testing.T) {
			w := open(t, 1)
			for range 10 {
				w.step()
			}
			stop := make(chan struct{})
			var busy sync.WaitGroup
			each := func(do func() error) {
				busy.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						if err := do(); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			for i := range uint64(3) {
				own := *w
				own.rnd = rand.New(rand.NewPCG(i, 7))
				each(own.act)
			}
			each(func() error {
				_, err := w.store.Collect(t.Context(), &collect.Options{Full: true})
				return err
			})
			made := 0
			for began := time.Now(); time.Since(began) < loadTime || made < 2; made++ {
				w.checkSums(t)
			}
			close(stop)
			busy.Wait()
			w.checkUsage("quiet again", 20)
			w.checkDedup("quiet again", 3)
			w.checkFragmentation("quiet again")
			w.checkGarbage("quiet again", 20)
			w.checkOrphans("quiet again")
		})
	}
}

// checkSums makes each report and checks that what it tells adds up.
func (w *world) checkSums(t *testing.T) {
	t.Helper()
	u, err := w.store.ReportUsage(t.Context(), &report.Options{Top: 2})
	must(t, err)
	var byBucket, byOwner manifest.Usage
	add := func(to, u *manifest.Usage) {
		for i, n := range u.Sums() {
			*to.Sums()[i] += *n
		}
	}
	for i := range u.Buckets {
		add(&byBucket, &u.Buckets[i].Usage)
	}
	add(&byOwner, &u.Others)
	for i := range u.Owners {
		add(&byOwner, &u.Owners[i].Usage)
	}
	if p := &u.Packs; byBucket != u.Files || byOwner != u.Files || p.Live+p.Records+p.Dead != p.Bytes || p.Dead < 0 {
		t.Errorf("usage does not add up: %+v", u)
	}
	d, err := w.store.ReportDedup(t.Context(), &report.Options{Top: 2})
	must(t, err)
	for i, l := range []report.GroupList{d.Buckets, d.Owners, d.Types, d.Folders} {
		sum := l.Rest
		for _, g := range l.Groups {
			sum.Versions, sum.LogicalBytes, sum.References = sum.Versions+g.Versions, sum.LogicalBytes+g.LogicalBytes, sum.References+g.References
			sum.ExclusiveBytes, sum.ShareStored = sum.ExclusiveBytes+g.ExclusiveBytes, sum.ShareStored+g.ShareStored
			if g.ExclusiveBytes > g.UniqueBytes || g.UniqueBytes > g.LogicalBytes || g.ShareStored > g.StoredBytes {
				t.Errorf("group %+v", g)
			}
		}
		if sum.Versions != d.Versions || sum.LogicalBytes != d.LogicalBytes || sum.References != d.References || sum.ExclusiveBytes > d.UniqueBytes || sum.ShareStored > d.CompressedBytes {
			t.Errorf("dimension %d: %+v of %+v", i, sum, d.DedupSums)
		}
	}
	if d.UniqueBytes > d.LogicalBytes || d.UniqueChunks > d.References {
		t.Errorf("dedup: %+v", d.DedupSums)
	}
	f, err := w.store.ReportFragmentation(t.Context(), nil)
	must(t, err)
	var files int64
	for _, c := range f.Classes {
		files += c.Files
	}
	if files != f.Files {
		t.Errorf("fragmentation: %d files in classes, %d in all", files, f.Files)
	}
	w.checkGarbageSums(t)
	o, err := w.store.ReportOrphans(t.Context(), &report.Options{Top: 5})
	must(t, err)
	for _, sum := range o.Sums {
		// What is being written, moved and deleted is none.
		if sum.Kind != report.OrphanChunk && sum.Kind != report.OrphanSegment {
			t.Errorf("orphans: %+v", o.Sums)
		}
	}
}

// checkGarbageSums checks that the report on collections adds up.
func (w *world) checkGarbageSums(t *testing.T) {
	t.Helper()
	g, err := w.store.ReportGarbage(t.Context(), &report.Options{Top: report.MaxTop})
	must(t, err)
	var days report.FreedSums
	var byBucket, waiting, byDomain int64
	for _, d := range g.Days {
		days.Purged, days.Nobody, days.Copied = days.Purged+d.Purged, days.Nobody+d.Nobody, days.Copied+d.Copied
	}
	for _, b := range g.Buckets {
		byBucket += b.Freed
	}
	for i := range g.Waiting {
		waiting += g.Waiting[i].Bytes
		for k := range g.Domains {
			byDomain += g.Domains[k].Sums[i].Bytes
		}
	}
	if days != g.Freed || byBucket != g.Freed.Purged || waiting != byDomain || int64(len(g.Uploads)) != min(g.UploadCount, report.MaxTop) {
		t.Errorf("collections: days %+v, buckets %d of %+v; %d waits, %d in domains", days, byBucket, g.Freed, waiting, byDomain)
	}
}
