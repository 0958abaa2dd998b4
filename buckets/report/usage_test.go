package report_test

import (
	"cmp"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// recountUsage sums up every row and pack by itself.
func (w *world) recountUsage(top int) *report.Usage {
	w.t.Helper()
	ctx, u := w.t.Context(), &report.Usage{}
	owners := make(map[[2]string]*manifest.OwnedUsage)
	for _, name := range []string{"a", "b", "c"} {
		b := report.BucketUsage{Bucket: name, Domain: policies[name].Domain}
		for f, err := range w.db.AllFiles(ctx) {
			must(w.t, err)
			if f.Bucket != name {
				continue
			}
			o := owners[[2]string{name, f.Owner}]
			if o == nil {
				o = &manifest.OwnedUsage{Bucket: name, Owner: f.Owner}
				owners[[2]string{name, f.Owner}] = o
			}
			for _, to := range []*manifest.Usage{&b.Usage, &u.Files, &o.Usage} {
				to.Add(f, 1)
			}
		}
		for up, err := range w.db.UploadsUnderWay(ctx, name) {
			must(w.t, err)
			b.Unfinished += up.Held
		}
		var err error
		b.Leftovers, _, err = w.db.LeftoverBytes(ctx, name, "")
		must(w.t, err)
		u.Unfinished, u.Leftovers = u.Unfinished+b.Unfinished, u.Leftovers+b.Leftovers
		u.Buckets = append(u.Buckets, b)
	}
	for _, o := range owners {
		u.Owners = append(u.Owners, *o)
	}
	slices.SortFunc(u.Owners, func(a, b manifest.OwnedUsage) int {
		return cmp.Or(cmp.Compare(b.Charged(), a.Charged()), strings.Compare(a.Bucket, b.Bucket), strings.Compare(a.Owner, b.Owner))
	})
	for len(u.Owners) > top {
		last := u.Owners[len(u.Owners)-1]
		u.OtherOwners++
		for i, n := range last.Sums() {
			*u.Others.Sums()[i] += *n
		}
		u.Owners = u.Owners[:len(u.Owners)-1]
	}
	for _, d := range domains {
		sums := report.DomainUsage{Domain: d}
		for p, err := range w.chunks[d].Index().AllPacks(ctx) {
			must(w.t, err)
			live := int64(0)
			for f, err := range w.chunks[d].Index().PackFrames(ctx, p.ID) {
				must(w.t, err)
				live += f.LiveStored()
			}
			sums.Packs, sums.Bytes, sums.Live, sums.Records = sums.Packs+1, sums.Bytes+p.Size, sums.Live+live, sums.Records+p.Records
			sums.Dead += p.Size - live - p.Records
			if p.Doomed {
				sums.Doomed += p.Size
			}
		}
		u.Packs.Packs += sums.Packs
		u.Packs.Bytes += sums.Bytes
		u.Packs.Live += sums.Live
		u.Packs.Records += sums.Records
		u.Packs.Dead += sums.Dead
		u.Packs.Doomed += sums.Doomed
		u.Domains = append(u.Domains, sums)
	}
	return u
}

func (w *world) checkUsage(when string, top int) {
	w.t.Helper()
	want := w.recountUsage(top)
	var got *report.Usage
	w.untilQuiet(func() (same bool) {
		var err error
		got, err = w.store.ReportUsage(w.t.Context(), &report.Options{Top: top})
		must(w.t, err)
		last := want
		want = w.recountUsage(top)
		return reflect.DeepEqual(want, last)
	})
	if got.At.IsZero() || w.disk != nil && got.Metadata == 0 {
		w.t.Errorf("%s: at %s, %d bytes of metadata", when, got.At, got.Metadata)
	}
	want.At, want.Metadata = got.At, got.Metadata
	if !reflect.DeepEqual(got, want) {
		w.t.Fatalf("%s:\n got %+v\nwant %+v", when, got, want)
	}
}

// Usage is what a recount of every row and pack says, whatever was done before, and
// after crashes.
func TestUsage(t *testing.T) {
	race.LeaveOut(t)
	t.Run("pebble", func(t *testing.T) {
		for seed := range uint64(3) {
			w := newPebbleWorld(t, seed)
			w.checkUsage("empty", 20)
			for i := range 60 {
				w.step()
				if i%10 == 5 {
					w.checkUsage("changed", 1+i%7)
				}
				if i%25 == 24 {
					w.crash(int(seed) * 50)
					w.checkUsage("crashed", 20)
				}
			}
		}
	})
	t.Run("postgres", func(t *testing.T) {
		w := newPostgresWorld(t, 7)
		for range 40 {
			w.step()
		}
		w.checkUsage("changed", 20)
		w.checkUsage("changed", 2)
	})
}
