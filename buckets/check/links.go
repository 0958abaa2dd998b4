package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// markHosts notes that no host is reconciled: the database was brought up or made anew,
// so hosts may know of links that it does not, and it of links that they have ended.
func (b *builder) markHosts(ctx context.Context) error {
	found := make(map[string]*manifest.Host) // by name
	for l, err := range b.Meta.AllLinks(ctx, "") {
		if err != nil {
			return err
		}
		h := found[l.Host]
		if h == nil {
			h = &manifest.Host{Name: l.Host}
			found[l.Host] = h
		}
		h.Session = max(h.Session, l.Session)
		if !h.Refers(l.Bucket) {
			h.Buckets = append(h.Buckets, l.Bucket)
			slices.Sort(h.Buckets)
		}
	}
	_, err := b.Meta.Update(ctx, "", func(tx manifest.Tx) error {
		known, err := tx.Hosts(ctx)
		if err != nil {
			return err
		}
		all := maps.Clone(found)
		for _, h := range known {
			if f := all[h.Name]; f != nil {
				h.Session = max(h.Session, f.Session)
				h.Buckets = slices.Compact(slices.Sorted(slices.Values(slices.Concat(h.Buckets, f.Buckets))))
			}
			all[h.Name] = h
		}
		for _, h := range all {
			row := *h
			row.Live, row.Unreconciled, row.Offered = nil, true, max(h.Offered, h.Session)
			if err := tx.PutHost(ctx, &row); err != nil {
				return err
			}
		}
		return nil
	})
	return err
}

// linkRows are the links of the moment when they were made.
type linkRows struct {
	next func() (*manifest.Link, error, bool)
	stop func()

	// first are what next has returned first.
	first *manifest.Link
	err   error
	more  bool
}

func newLinkRows(all iter.Seq2[*manifest.Link, error]) *linkRows {
	r := &linkRows{}
	r.next, r.stop = iter.Pull2(all)
	r.first, r.err, r.more = r.next()
	return r
}

// checkLinks checks that the packs hold the row of each link of a moment before their
// records were read. cursor stands behind all files.
func (c *checker) checkLinks(ctx context.Context, rows *linkRows, cursor *rowCursor) error {
	for l, err, more := rows.first, rows.err, rows.more; more; l, err, more = rows.next() {
		if err != nil {
			return err
		}
		c.report.Links++
		records, err := cursor.find(manifest.FileID(l.ID), c.addStray)
		if err == nil {
			err = c.checkLink(ctx, l, records.revision)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// checkLink compares the row of a link with the revision that the packs hold.
func (c *checker) checkLink(ctx context.Context, l *manifest.Link, held uint64) error {
	if held >= l.Revision {
		return nil
	}
	d := c.findLinkDomain(l)
	if d == nil {
		return nil // nothing tells where the links of the bucket belong, which is told of its files
	}
	now, err := c.Meta.Link(ctx, l.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if now.Revision > l.Revision && c.opts.served {
		return nil // it was changed meanwhile
	}
	d.missing = append(d.missing, manifest.Record{Link: now})
	p := Problem{Kind: "metadata", FileID: string(l.File), Repaired: c.opts.Repair, Detail: fmt.Sprintf("link %s of %s/%s.%s: the packs hold revision %d of its row, the database %d",
		l.ID, l.Collection, l.Record, l.Field, held, l.Revision)}
	c.addProblem(p.with(HealsRepair, doesAppend))
	if len(d.missing) < missingBatch {
		return nil
	}
	return d.appendMissing(ctx)
}

// findLinkDomain finds the domain whose packs hold a link: that of its bucket or, if
// that is not declared any more, any.
func (c *checker) findLinkDomain(l *manifest.Link) *domainChecker {
	if h := c.homes[l.Bucket]; h != nil && h.Domain != "" {
		return c.domains[h.Domain]
	}
	if name, ok := c.opts.Domains[l.Bucket]; ok {
		return c.domains[name]
	}
	return c.domains[c.Domains[0].Name]
}

// compareLinks compares the sums of links with the links.
func (s *sumCheck) compareLinks(ctx context.Context) (err error) {
	var factors [len(manifest.LinkSums{}) * len(manifest.LinkSums{}[0])]uint64
	for i := range factors {
		factors[i] = rand.Uint64() | 1
	}
	fingerprint := func(sums *manifest.LinkSums) (n uint64) {
		for i := range sums {
			for k := range sums[i] {
				n += factors[i*len(sums[i])+k] * uint64(sums[i][k])
			}
		}
		return n
	}
	sums := s.newLog(digests.Sum)
	defer func() { err = errors.Join(err, sums.Close()) }()
	for l, err := range s.view.AllLinks(ctx, "") {
		if err != nil {
			return err
		}
		var one manifest.LinkSums
		one.Add(l, 1)
		for _, target := range linkTargets(l) {
			if err := sums.Add(digests.KeyOf(cas.Sum([]byte(target))), fingerprint(&one)); err != nil {
				return err
			}
		}
	}
	asked := digests.NewSet(maxOwners)
	for l, err := range s.view.AllLinks(ctx, "") {
		if err != nil {
			return err
		}
		for _, target := range linkTargets(l) {
			d := cas.Sum([]byte(target))
			if !asked.Add(d) {
				continue
			}
			var got []manifest.LinkSums
			if target == string(l.File) {
				got, err = s.view.FileLinkSums(ctx, []manifest.FileID{l.File})
			} else {
				got, err = s.view.VersionLinkSums(ctx, []manifest.VersionID{l.Version})
			}
			if err != nil {
				return err
			}
			want, _, err := sums.Find(digests.KeyOf(d))
			if err != nil {
				return err
			}
			if fingerprint(&got[0]) != want {
				s.addWrong("links to "+target, "do not agree with their sums")
			}
		}
	}
	return nil
}

// linkTargets are what the sums count a link for.
func linkTargets(l *manifest.Link) []string {
	if l.Version == "" {
		return []string{string(l.File)}
	}
	return []string{string(l.File), string(l.Version)}
}
