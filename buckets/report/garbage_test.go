package report_test

import (
	"cmp"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// recountGarbage sums up the ledger, all charges and all uploads by itself. What
// waits it takes from collect.FindWaiting, which has its own test.
func (w *world) recountGarbage(top int) *report.Garbage {
	w.t.Helper()
	ctx, g := w.t.Context(), &report.Garbage{}
	type sums map[string]int64
	freed, entries, charged, left, uploads, held := sums{}, sums{}, sums{}, sums{}, sums{}, sums{}
	days := make(map[string]report.FreedSums)
	add := func(to *report.FreedSums, e *manifest.Freed) {
		if e.Copied {
			to.Copied += e.Bytes
		} else if e.Cause.Path == "" && e.Cause.Bucket == "" {
			to.Nobody += e.Bytes
		} else {
			to.Purged += e.Bytes
		}
	}
	for e, err := range w.db.Ledger(ctx) {
		must(w.t, err)
		g.Entries++
		g.Since = e.At // the last is the oldest
		if len(g.Newest) < top {
			g.Newest = append(g.Newest, *e)
		}
		add(&g.Freed, e)
		key := e.At.UTC().Format(time.DateOnly)
		day := days[key]
		add(&day, e)
		days[key] = day
		if !e.Copied {
			freed[e.Cause.Bucket] += e.Bytes
			entries[e.Cause.Bucket]++
		}
	}
	for key, sums := range days {
		day, err := time.Parse(time.DateOnly, key)
		must(w.t, err)
		g.Days = append(g.Days, report.FreedDay{Day: day, FreedSums: sums})
	}
	slices.SortFunc(g.Days, func(a, b report.FreedDay) int { return a.Day.Compare(b.Day) })
	all := make(map[collect.Reason]collect.WaitingSum)
	for _, d := range domains {
		for c, err := range w.db.AllCharges(ctx, d) {
			must(w.t, err)
			charged[c.Cause.Bucket] += c.Bytes
		}
		found, err := collect.FindWaiting(ctx, &collect.Store{Meta: w.db, Chunks: w.chunks}, d, nil)
		must(w.t, err)
		one := report.DomainGarbage{Domain: d, Sums: found.Sums, Epoch: found.Epoch, Floor: found.Floor, Writers: found.Writers,
			PackCount: int64(len(found.Packs)), Packs: found.Packs}
		for _, err := range w.db.Graves(ctx, d) {
			must(w.t, err)
			one.Graves++
		}
		slices.SortStableFunc(one.Packs, func(a, b collect.WaitingPack) int { return cmp.Compare(b.Dead, a.Dead) })
		one.Packs = one.Packs[:min(len(one.Packs), top)]
		g.Domains = append(g.Domains, one)
		for _, sum := range found.Sums {
			s := all[sum.Reason]
			all[sum.Reason] = collect.WaitingSum{Reason: sum.Reason, Count: s.Count + sum.Count, Bytes: s.Bytes + sum.Bytes}
		}
	}
	for _, why := range collect.WaitReasons() {
		g.Waiting = append(g.Waiting, all[why])
	}
	for name := range policies {
		for u, err := range w.db.UploadsUnderWay(ctx, name) {
			must(w.t, err)
			g.Uploads = append(g.Uploads, u)
			uploads[name]++
			held[name] += u.Held
			g.UploadBytes += u.Held
		}
		var err error
		left[name], _, err = w.db.LeftoverBytes(ctx, name, "")
		must(w.t, err)
		if b := (report.BucketSums{Bucket: name, Freed: freed[name], Entries: entries[name], Waiting: charged[name], Leftovers: left[name],
			Uploads: uploads[name], Held: held[name]}); b != (report.BucketSums{Bucket: name}) {
			g.Buckets = append(g.Buckets, b)
		}
	}
	slices.SortFunc(g.Buckets, func(a, b report.BucketSums) int {
		return cmp.Or(cmp.Compare(b.Freed, a.Freed), strings.Compare(a.Bucket, b.Bucket))
	})
	slices.SortFunc(g.Uploads, func(a, b *manifest.Upload) int {
		return cmp.Or(cmp.Compare(b.Held, a.Held), strings.Compare(string(a.ID), string(b.ID)))
	})
	g.UploadCount = int64(len(g.Uploads))
	g.Uploads = g.Uploads[:min(len(g.Uploads), top)]
	return g
}

func (w *world) checkGarbage(when string, top int) *report.Garbage {
	w.t.Helper()
	want := w.recountGarbage(top)
	var got *report.Garbage
	w.untilQuiet(func() (same bool) {
		var err error
		got, err = w.store.ReportGarbage(w.t.Context(), &report.Options{Top: top})
		must(w.t, err)
		last := want
		want = w.recountGarbage(top)
		return reflect.DeepEqual(want, last)
	})
	want.At = got.At
	for _, g := range []*report.Garbage{got, want} {
		for i := range g.Domains { // so that nil and empty are alike
			g.Domains[i].Writers = append([]manifest.Writer{}, g.Domains[i].Writers...)
			g.Domains[i].Packs = append([]collect.WaitingPack{}, g.Domains[i].Packs...)
		}
		g.Buckets = append([]report.BucketSums{}, g.Buckets...)
		g.Uploads = append([]*manifest.Upload{}, g.Uploads...)
	}
	if !reflect.DeepEqual(got, want) {
		w.t.Fatalf("%s:\n got %+v\nwant %+v", when, got, want)
	}
	return got
}

// What the report says is what a recount of every row says, whatever was done before,
// and after crashes.
func TestGarbage(t *testing.T) {
	race.LeaveOut(t)
	soak := os.Getenv("CAIRN_SOAK") != ""
	t.Run("pebble", func(t *testing.T) {
		seeds := uint64(2)
		if soak {
			seeds = 30
		}
		for seed := range seeds {
			w := newPebbleWorld(t, 100+seed)
			w.checkGarbage("empty", 20)
			var purged, entries, uploads int64
			for i := range 120 {
				w.step()
				if i%20 == 14 {
					_, err := w.store.Collect(t.Context(), &collect.Options{Full: i%40 == 14})
					must(t, err)
				}
				if i%10 == 5 {
					g := w.checkGarbage("changed", 1+i%7)
					purged, entries, uploads = max(purged, g.Freed.Purged), max(entries, g.Entries), max(uploads, g.UploadCount)
				}
				if i%40 == 24 {
					w.crash(int(seed%3) * 50)
					w.checkGarbage("crashed", 20)
				}
			}
			if purged == 0 || entries == 0 || uploads == 0 {
				t.Errorf("seed %d: %d bytes of purges, %d entries, %d uploads", seed, purged, entries, uploads)
			}
		}
	})
	t.Run("postgres", func(t *testing.T) {
		w := newPostgresWorld(t, 8)
		for range 40 {
			w.step()
		}
		w.checkGarbage("changed", 20)
		w.checkGarbage("changed", 2)
	})
}
