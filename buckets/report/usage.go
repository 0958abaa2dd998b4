package report

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// A Usage sums up what is stored, before deduplication and compression, and what
// packs and metadata take. The sums over files are kept current and read as of one
// moment; so are those of the packs of a domain. Those moments may differ.
type Usage struct {
	At      time.Time
	Files   manifest.Usage // of all buckets
	Buckets []BucketUsage  // in order of names

	// Owners are the sums of owners in buckets, those with the most bytes first.
	// There are OtherOwners more, which Others sums up.
	Owners      []manifest.OwnedUsage
	OtherOwners int64
	Others      manifest.Usage

	Unfinished int64 // bytes that uploads under way hold
	Leftovers  int64 // bytes of uploads that ended, until they are collected
	Metadata   int64 // bytes of the database
	Packs      PackSums
	Domains    []DomainUsage // in order of names
}

// A BucketUsage sums up a bucket.
type BucketUsage struct {
	Bucket     string
	Domain     string // where its files lie; "" if it is no longer declared
	Unfinished int64
	Leftovers  int64
	manifest.Usage
}

// A DomainUsage sums up the packs of a domain.
type DomainUsage struct {
	Domain string
	PackSums
}

// PackSums are sums over packs, as the index knows them.
type PackSums struct {
	Packs   int64
	Bytes   int64
	Live    int64 // of frames, that chunks which are indexed account for
	Records int64 // of frames of records
	// Dead is the rest: what nothing needs, and headers and footers of packs.
	Dead   int64
	Doomed int64 // bytes of packs that are being deleted
}

func (s *PackSums) addSums(o *PackSums) {
	s.Packs += o.Packs
	s.Bytes += o.Bytes
	s.Live += o.Live
	s.Records += o.Records
	s.Dead += o.Dead
	s.Doomed += o.Doomed
}

// MakeUsage sums up what is stored. It reads a row for each owner and each pack.
func MakeUsage(ctx context.Context, s *Store, opts *Options) (*Usage, error) {
	u := &Usage{At: s.Now(), Metadata: s.Meta.DiskSize()}
	err := u.sumOwners(ctx, s, opts.withDefaults())
	if err == nil {
		err = u.sumUploads(ctx, s)
	}
	if err == nil {
		err = u.sumPacks(ctx, s)
	}
	if err != nil {
		return nil, fmt.Errorf("report on usage: %w", err)
	}
	return u, nil
}

// sumOwners sums up files: those of each owner are a part of their bucket's.
func (u *Usage) sumOwners(ctx context.Context, s *Store, o *Options) error {
	homes, err := s.Meta.Homes(ctx)
	if err != nil {
		return err
	}
	for _, h := range homes {
		u.Buckets = append(u.Buckets, BucketUsage{Bucket: h.Bucket, Domain: h.Domain})
	}
	largest := newTopList(o.Top, compareOwned)
	for owned, err := range s.Meta.OwnerUsages(ctx) {
		if err != nil {
			return err
		}
		if owned.Usage == (manifest.Usage{}) {
			continue // of somebody whose last file was removed
		}
		addUsage(&u.Files, &owned.Usage)
		addUsage(&u.findBucket(owned.Bucket).Usage, &owned.Usage)
		if dropped, ok := largest.addEntry(*owned); ok {
			u.OtherOwners++
			addUsage(&u.Others, &dropped.Usage)
		}
	}
	u.Owners = largest.listLargest()
	return nil
}

// findBucket returns the sums of a bucket. Buckets are as many as operators declare.
func (u *Usage) findBucket(name string) *BucketUsage {
	i, ok := slices.BinarySearchFunc(u.Buckets, name, func(b BucketUsage, name string) int { return strings.Compare(b.Bucket, name) })
	if !ok {
		u.Buckets = slices.Insert(u.Buckets, i, BucketUsage{Bucket: name})
	}
	return &u.Buckets[i]
}

func compareOwned(a, b *manifest.OwnedUsage) int {
	return cmp.Or(cmp.Compare(a.Charged(), b.Charged()), strings.Compare(b.Bucket, a.Bucket), strings.Compare(b.Owner, a.Owner))
}

func addUsage(to, u *manifest.Usage) {
	sums := u.Sums()
	for i, n := range to.Sums() {
		*n += *sums[i]
	}
}

func (u *Usage) sumUploads(ctx context.Context, s *Store) (err error) {
	for i := range u.Buckets {
		b := &u.Buckets[i]
		if b.Unfinished, err = s.Meta.HeldBytes(ctx, b.Bucket); err != nil {
			return err
		}
		if b.Leftovers, _, err = s.Meta.LeftoverBytes(ctx, b.Bucket, ""); err != nil {
			return err
		}
		u.Unfinished, u.Leftovers = u.Unfinished+b.Unfinished, u.Leftovers+b.Leftovers
	}
	return nil
}

func (u *Usage) sumPacks(ctx context.Context, s *Store) error {
	for _, domain := range s.listDomains() {
		d := DomainUsage{Domain: domain}
		for p, err := range s.Chunks[domain].Index().AllPacks(ctx) {
			if err != nil {
				return err
			}
			d.Packs++
			d.Bytes += p.Size
			d.Live += p.Live
			d.Records += p.Records
			d.Dead += p.Size - p.Live - p.Records
			if p.Doomed {
				d.Doomed += p.Size
			}
		}
		u.Packs.addSums(&d.PackSums)
		u.Domains = append(u.Domains, d)
	}
	return nil
}
