package check

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// A sumCheck sums up the files of every bucket, and of every owner in it. What grows
// with the owners is a log of fingerprints of their sums.
type sumCheck struct {
	*checker
	view    manifest.View
	factors [9]uint64 // of a fingerprint: random, so that no mistake hides in it
	buckets map[string]*bucketSums
	owners  *digests.Log
	asked   *digests.Set      // owners that were compared
	wrong   map[string]string // what is wrong, by what it is about
}

type bucketSums struct {
	before, sum manifest.Usage
	names       int
}

// checkSums compares the usage of every bucket, and of every owner in it, with
// the rows.
func (c *checker) checkSums(ctx context.Context) error {
	wrong, err := c.findWrongSums(ctx)
	if err != nil || len(wrong) == 0 {
		return err
	}
	for _, what := range slices.Sorted(maps.Keys(wrong)) {
		c.addProblem(Problem{Kind: "index", Repaired: c.opts.Repair, Detail: what + " " + wrong[what]}.with(HealsRepair, doesSum))
	}
	if !c.opts.Repair {
		return nil
	}
	return c.Meta.Reindex(ctx)
}

// findWrongSums returns which sums are not those of the rows, at most maxReported.
func (c *checker) findWrongSums(ctx context.Context) (wrong map[string]string, err error) {
	err = c.Meta.View(ctx, func(v manifest.View) (err error) {
		wrong, err = c.findWrongSumsIn(ctx, v)
		return err
	})
	return wrong, err
}

func (c *checker) findWrongSumsIn(ctx context.Context, v manifest.View) (_ map[string]string, err error) {
	s := &sumCheck{checker: c, view: v, buckets: make(map[string]*bucketSums), owners: c.newLog(digests.Sum),
		asked: digests.NewSet(cmp.Or(c.opts.entries, maxOwners)), wrong: make(map[string]string)}
	defer func() { err = cmp.Or(err, s.owners.Close()) }()
	for i := range s.factors {
		s.factors[i] = rand.Uint64() | 1
	}
	names, err := v.Buckets(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		s.buckets[name] = &bucketSums{}
		if s.buckets[name].before, err = v.Usage(ctx, name); err != nil {
			return nil, err
		}
	}
	for _, step := range []func(context.Context) error{s.addFiles, s.compareOwners, s.compareBuckets, s.compareLinks} {
		if err := step(ctx); err != nil {
			return nil, err
		}
	}
	return s.wrong, nil
}

// maxOwners is how many owners are remembered that were compared. Those beyond are
// compared again for each of their files.
const maxOwners = 1 << 20

// addFiles sums all files up.
func (s *sumCheck) addFiles(ctx context.Context) error {
	n := int64(0)
	for f, err := range s.view.AllFiles(ctx) {
		if err != nil {
			return err
		}
		n++
		s.noteProgress("usage", "", n, s.report.Files)
		b := s.buckets[f.Bucket]
		if b == nil {
			b = &bucketSums{}
			s.buckets[f.Bucket] = b
		}
		b.sum.Add(f, 1)
		if f.State == manifest.Active {
			b.names++
		}
		var u manifest.Usage
		u.Add(f, 1)
		if err := s.owners.Add(digests.KeyOf(ownerDigest(f)), s.sumFields(&u)); err != nil {
			return err
		}
	}
	return nil
}

// ownerDigest stands for an owner in a bucket.
func ownerDigest(f *manifest.File) cas.Digest {
	return cas.Sum([]byte(f.Bucket + "\x00" + f.Owner))
}

// sumFields makes one number of sums. That of a sum of usages is the sum of theirs.
func (s *sumCheck) sumFields(u *manifest.Usage) (n uint64) {
	for i, v := range u.Sums() {
		n += s.factors[i] * uint64(*v)
	}
	return n
}

// compareOwners compares the sums of each owner with those that the database keeps.
func (s *sumCheck) compareOwners(ctx context.Context) error {
	for f, err := range s.view.AllFiles(ctx) {
		if err != nil {
			return err
		}
		d := ownerDigest(f)
		if !s.asked.Add(d) {
			continue
		}
		got, err := s.view.OwnerUsage(ctx, f.Bucket, f.Owner)
		if err != nil {
			return err
		}
		want, _, err := s.owners.Find(digests.KeyOf(d))
		if err != nil {
			return err
		}
		if s.sumFields(&got) != want {
			s.addWrong(fmt.Sprintf("bucket %q: usage of owner %q", f.Bucket, f.Owner), "does not agree with the files")
		}
	}
	return nil
}

// compareBuckets compares the sums and the names of each bucket with those that the
// database keeps.
func (s *sumCheck) compareBuckets(ctx context.Context) error {
	for name, b := range s.buckets {
		n := 0
		for _, err := range s.view.List(ctx, name, &manifest.Range{Bare: true}) {
			if err != nil {
				return err
			}
			n++
		}
		if b.before != b.sum || n != b.names {
			s.addWrong(fmt.Sprintf("bucket %q: names or usage", name), "do not agree with the files")
		}
	}
	return nil
}

func (s *sumCheck) addWrong(what, detail string) {
	if len(s.wrong) < maxReported {
		s.wrong[what] = detail
	}
}
