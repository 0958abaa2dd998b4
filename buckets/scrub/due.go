package scrub

import (
	"bytes"
	"cmp"
	"context"
	"iter"
	"slices"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A State says how old the results of a domain are.
type State struct {
	Domain    string
	Packs     int64     // that the index has
	NeverRead int64     // of them
	Damaged   int64     // packs in whose last scrub something was wrong
	Oldest    time.Time // of the results; zero if there are none
}

// Look returns how old the results are, of each domain.
func Look(ctx context.Context, s *Store) (out []State, err error) {
	domains := make([]string, 0, len(s.Chunks))
	for domain := range s.Chunks {
		domains = append(domains, domain)
	}
	slices.Sort(domains)
	for _, domain := range domains {
		st := State{Domain: domain}
		for p, err := range joinResults(ctx, s.Meta, s.Chunks[domain].Index(), domain) {
			if err != nil {
				return nil, err
			}
			st.add(&p)
		}
		out = append(out, st)
	}
	return out, nil
}

func (s *State) add(p *packResult) {
	if !p.isPack() {
		return
	}
	s.Packs++
	switch {
	case p.isUnread():
		s.NeverRead++
	case s.Oldest.IsZero() || p.last.At.Before(s.Oldest):
		s.Oldest = p.last.At
	}
	if p.last.Bad > 0 || p.last.Failed != "" {
		s.Damaged++
	}
}

// A packResult is a pack of the index with its last result. One of the two may be
// zero.
type packResult struct {
	cas.PackEntry
	last manifest.Scrubbed
}

// isPack reports whether the index has the pack and nobody deletes it.
func (p *packResult) isPack() bool { return p.ID != (cas.PackID{}) && !p.Doomed }

// isUnread reports whether no scrub has read all of the pack: it may have grown.
func (p *packResult) isUnread() bool { return p.last.At.IsZero() || p.last.Size < p.Size }

// joinResults yields the packs of the index beside their results, both of which come
// in order of IDs.
func joinResults(ctx context.Context, meta manifest.Scrubs, ix cas.Index, domain string) iter.Seq2[packResult, error] {
	return func(yield func(packResult, error) bool) {
		next, stop := iter.Pull2(meta.AllScrubbed(ctx, domain))
		defer stop()
		last, err, ok := next()
		for p, perr := range ix.AllPacks(ctx) {
			for ok && err == nil && perr == nil && bytes.Compare(last.Pack[:], p.ID[:]) < 0 {
				if !yield(packResult{last: last}, nil) {
					return
				}
				last, err, ok = next()
			}
			if err = cmp.Or(perr, err); err != nil {
				yield(packResult{}, err)
				return
			}
			r := packResult{PackEntry: p}
			if ok && last.Pack == p.ID {
				r.last = last
				last, err, ok = next()
			}
			if !yield(r, nil) {
				return
			}
		}
		for ; ok; last, err, ok = next() {
			if !yield(packResult{last: last}, err) || err != nil {
				return
			}
		}
	}
}

// listDue lists the packs that are to be read, those that were not read for longest
// first, and the results of packs that are gone. Packs with damage are always due,
// so that it is told until it is mended. It takes some 200 bytes for each pack.
func (d *domainScrub) listDue(ctx context.Context) (due []packResult, gone []cas.PackID, err error) {
	oldest := d.began.Add(-d.opts.MaxAge)
	for p, err := range joinResults(ctx, d.Meta, d.chunks.Index(), d.report.Domain) {
		switch {
		case err != nil:
			return nil, nil, err
		case p.ID == (cas.PackID{}):
			gone = append(gone, p.last.Pack)
		case !p.isPack():
		case !d.opts.All && !p.isUnread() && p.last.At.After(oldest) && p.last.Bad == 0 && p.last.Failed == "":
			d.report.Skipped++
		default:
			due = append(due, p)
		}
	}
	slices.SortStableFunc(due, func(a, b packResult) int {
		switch ua, ub := a.isUnread(), b.isUnread(); {
		case ua && ub:
			return 0
		case ua:
			return -1
		case ub:
			return 1
		}
		return a.last.At.Compare(b.last.At)
	})
	return due, gone, nil
}

// dropBatch is how many results one change removes.
const dropBatch = 1000

// dropResults removes the results of packs that are gone.
func (d *domainScrub) dropResults(ctx context.Context, gone []cas.PackID) error {
	if d.opts.ReadOnly {
		return nil
	}
	for ids := range slices.Chunk(gone, dropBatch) {
		if err := d.Meta.DropScrubbed(ctx, d.report.Domain, ids); err != nil {
			return err
		}
	}
	return nil
}
