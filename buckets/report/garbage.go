package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/manifest"
)

// Garbage tells where the bytes went that collections have freed, what still waits
// to be freed and for what, and what unfinished uploads hold.
type Garbage struct {
	At time.Time

	Freed   FreedSums    // of all entries that the ledger keeps
	Entries int64        // how many those are
	Since   time.Time    // of the oldest; zero if there is none
	Days    []FreedDay   // the newest ones on which something was freed, oldest first
	Buckets []BucketSums // those with the most freed bytes first
	Newest  []manifest.Freed

	Waiting []collect.WaitingSum // of all domains, for each reason
	Domains []DomainGarbage      // in order of names

	// Uploads are those under way that hold most, of UploadCount that hold
	// UploadBytes.
	Uploads     []*manifest.Upload
	UploadCount int64
	UploadBytes int64
}

// FreedSums are sums over entries of the ledger.
type FreedSums struct {
	Purged int64 // of files and versions that were removed
	Nobody int64 // of what never became part of a file: uploads given up, records, headers
	Copied int64 // that were needed, and lie in other packs now
}

func (s *FreedSums) addEntry(e *manifest.Freed) {
	switch {
	case e.Copied:
		s.Copied += e.Bytes
	case e.Cause.Bucket == "":
		s.Nobody += e.Bytes
	default:
		s.Purged += e.Bytes
	}
}

// A FreedDay is what was freed on a day.
type FreedDay struct {
	Day time.Time // midnight, UTC
	FreedSums
}

// BucketSums are sums over a bucket.
type BucketSums struct {
	Bucket    string
	Freed     int64 // of the entries of the ledger
	Entries   int64
	Waiting   int64 // in packs, of removals, until those go
	Leftovers int64 // of uploads that ended without a file
	Uploads   int64 // under way
	Held      int64 // by those
}

// DomainGarbage is what waits in a domain.
type DomainGarbage struct {
	Domain  string
	Sums    []collect.WaitingSum
	Epoch   uint64
	Floor   uint64
	Writers []manifest.Writer // that keep chunks; at most MaxTop, the oldest first
	Graves  int64

	// Packs are those with the most dead bytes, of PackCount.
	Packs     []collect.WaitingPack
	PackCount int64
}

// maxDays is how many days are listed.
const maxDays = 1000

// MakeGarbage finds out what nothing needs any more by a mark of each domain, as a
// collection makes it: that takes as long as a collection that finds nothing to do.
// It reads all entries of the ledger, all charges and all unfinished uploads.
func MakeGarbage(ctx context.Context, s *Store, opts *Options) (*Garbage, error) {
	o := opts.withDefaults()
	g := &garbageMaker{Garbage: Garbage{At: s.Now()}, store: s, opts: o, buckets: make(map[string]*BucketSums)}
	for _, step := range []func(context.Context) error{g.readLedger, g.findWaiting, g.listUploads} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("report on collections: %w", err)
		}
	}
	for _, b := range g.buckets {
		g.Buckets = append(g.Buckets, *b)
	}
	slices.SortFunc(g.Buckets, func(a, b BucketSums) int {
		return cmp.Or(cmp.Compare(b.Freed, a.Freed), strings.Compare(a.Bucket, b.Bucket))
	})
	return &g.Garbage, nil
}

// A garbageMaker is one call of MakeGarbage.
type garbageMaker struct {
	Garbage
	store   *Store
	opts    *Options
	buckets map[string]*BucketSums // as many as operators have ever declared
}

func (g *garbageMaker) sumsOf(bucket string) *BucketSums {
	b := g.buckets[bucket]
	if b == nil {
		b = &BucketSums{Bucket: bucket}
		g.buckets[bucket] = b
	}
	return b
}

func (g *garbageMaker) readLedger(ctx context.Context) error {
	days := make(map[time.Time]*FreedDay)
	for e, err := range g.store.Meta.Ledger(ctx) {
		if err != nil {
			return err
		}
		if g.Entries++; len(g.Newest) < g.opts.Top {
			g.Newest = append(g.Newest, *e)
		}
		if g.Since.IsZero() || e.At.Before(g.Since) {
			g.Since = e.At
		}
		g.Freed.addEntry(e)
		if !e.Copied && e.Cause.Bucket != "" {
			b := g.sumsOf(e.Cause.Bucket)
			b.Freed += e.Bytes
			b.Entries++
		}
		at := e.At.UTC().Truncate(24 * time.Hour)
		d := days[at]
		if d == nil {
			d = &FreedDay{Day: at}
			days[at] = d
		}
		d.addEntry(e)
	}
	for _, d := range days {
		g.Days = append(g.Days, *d)
	}
	slices.SortFunc(g.Days, func(a, b FreedDay) int { return a.Day.Compare(b.Day) })
	g.Days = g.Days[max(0, len(g.Days)-maxDays):]
	return nil
}

func (g *garbageMaker) findWaiting(ctx context.Context) error {
	for _, why := range collect.WaitReasons() {
		g.Waiting = append(g.Waiting, collect.WaitingSum{Reason: why})
	}
	for _, domain := range g.store.listDomains() {
		w, err := collect.FindWaiting(ctx, g.store.Collect, domain, g.store.markOptions(g.opts))
		if err != nil {
			return err
		}
		d := DomainGarbage{Domain: domain, Sums: w.Sums, Epoch: w.Epoch, Floor: w.Floor, Graves: w.Graves,
			Writers: w.Writers[:min(len(w.Writers), MaxTop)], PackCount: int64(len(w.Packs))}
		largest := newTopList(g.opts.Top, func(a, b *collect.WaitingPack) int {
			return cmp.Or(cmp.Compare(a.Dead, b.Dead), slices.Compare(b.Pack[:], a.Pack[:]))
		})
		for _, p := range w.Packs {
			largest.addEntry(p)
		}
		d.Packs = largest.listLargest()
		for i, sum := range w.Sums {
			g.Waiting[i].Count += sum.Count
			g.Waiting[i].Bytes += sum.Bytes
		}
		g.Domains = append(g.Domains, d)
		for bucket, n := range w.Charged {
			if bucket != "" {
				g.sumsOf(bucket).Waiting += n
			}
		}
		left, err := g.store.Meta.LeftoversOf(ctx, domain)
		if err != nil {
			return err
		}
		for i := range left {
			g.sumsOf(left[i].Bucket).Leftovers += left[i].Bytes
		}
	}
	return nil
}

func (g *garbageMaker) listUploads(ctx context.Context) error {
	homes, err := g.store.Meta.Homes(ctx)
	if err != nil {
		return err
	}
	largest := newTopList(g.opts.Top, func(a, b **manifest.Upload) int {
		return cmp.Or(cmp.Compare((*a).Held, (*b).Held), strings.Compare(string((*b).ID), string((*a).ID)))
	})
	for _, h := range homes {
		for u, err := range g.store.Meta.UploadsUnderWay(ctx, h.Bucket) {
			if err != nil {
				return err
			}
			b := g.sumsOf(h.Bucket)
			b.Uploads++
			b.Held += u.Held
			g.UploadCount++
			g.UploadBytes += u.Held
			largest.addEntry(u)
		}
	}
	g.Uploads = largest.listLargest()
	return nil
}

// markOptions are options for a mark.
func (s *Store) markOptions(o *Options) *collect.Options {
	return &collect.Options{TempDir: o.TempDir, MaxWriterAge: s.MaxWriterAge, Progress: func(p collect.Progress) {
		o.Progress(Progress{Domain: p.Domain, Phase: p.Phase, Done: p.Done, Total: p.Total})
	}}
}
