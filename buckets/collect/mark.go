package collect

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// marks are what a cycle knows of digests: what is needed, and whose the rest was.
type marks struct {
	log    *digests.Log
	graves graveLog

	uploads int64 // roots that are parts of uploads
}

func newMarks(dir string) *marks {
	return &marks{log: digests.NewLog(dir, digests.Lowest), graves: graveLog{digests.NewSpool(dir)}}
}

func (m *marks) close() error { return errors.Join(m.log.Close(), m.graves.Close()) }

// A marker walks from roots and graves, and marks all that it meets.
type marker struct {
	*marks
	ctx     context.Context
	pace    *pace
	walk    manifest.TreeWalk
	visited *digests.Set

	value  uint64 // of the next mark
	walked int64

	// tops wait to be walked together; roots says whose they are.
	tops  []cas.Digest
	roots []*manifest.Root
}

// topBatch is how many trees are begun together.
const topBatch = 256

// markAll marks what the roots of a domain need, and then what its graves held.
// It fails if it cannot read a segment that a root needs: nothing may be dropped
// by what is known in part.
func (d *cycle) markAll(ctx context.Context, m *marks) error {
	// What was removed by a later commit may still be a root.
	last, err := d.Meta.LastCommit(ctx)
	if err != nil {
		return err
	}
	segments := d.findSegments(d.domain)
	w := d.newMarker(ctx, m, segments)
	for root, err := range d.Meta.Roots(ctx, d.domain) {
		if err == nil {
			err = w.markRoot(root)
		}
		if err != nil {
			return err
		}
	}
	if err := w.walkTops(); err != nil {
		return err
	}
	// What of a grave has been dropped by a cycle before is dropped.
	segments.rowsOnly = true
	w.walk.Absent = func(cas.Digest) error { return nil }
	for g, err := range d.Meta.Graves(ctx, d.domain) {
		if err == nil && g.ID.Commit <= last {
			err = w.markGrave(g)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *cycle) newMarker(ctx context.Context, m *marks, segments *segmentFinder) *marker {
	w := &marker{marks: m, ctx: ctx, visited: digests.NewSet(maxVisited), pace: d.newPace("mark")}
	w.walk = manifest.TreeWalk{Segments: segments, Visit: w.visitSegment, Chunk: w.markChunk}
	return w
}

func (w *marker) markRoot(r *manifest.Root) error {
	if r.Upload != "" {
		w.uploads++
	}
	for _, ref := range r.Chunks {
		if err := w.markChunk(ref); err != nil {
			return err
		}
	}
	if r.Top.IsZero() {
		return nil
	}
	w.tops, w.roots = append(w.tops, r.Top), append(w.roots, r)
	if len(w.tops) < topBatch {
		return nil
	}
	return w.walkTops()
}

// walkTops walks the trees that wait.
func (w *marker) walkTops() error {
	err := w.walk.Walk(w.ctx, w.tops)
	var tree *manifest.TreeError
	if errors.As(err, &tree) {
		for i, top := range w.tops {
			if top == tree.Top {
				err = fmt.Errorf("%s: %w", describeRoot(w.roots[i]), err)
				break
			}
		}
	}
	w.tops, w.roots = w.tops[:0], w.roots[:0]
	return err
}

func describeRoot(r *manifest.Root) string {
	if r.Upload != "" {
		return "upload " + string(r.Upload)
	}
	return "version " + string(r.Version)
}

func (w *marker) markGrave(g *manifest.Grave) (err error) {
	if w.value, err = w.graves.add(g); err != nil {
		return err
	}
	w.value |= buried
	for _, ref := range g.Chunks {
		if err := w.markChunk(ref); err != nil {
			return err
		}
	}
	if g.Top.IsZero() {
		return nil
	}
	if err := w.walk.Walk(w.ctx, []cas.Digest{g.Top}); err != nil {
		return fmt.Errorf("version %s, which was removed: %w", g.Version, err)
	}
	return nil
}

// visitSegment marks a segment, and reports whether it was not met before.
func (w *marker) visitSegment(d cas.Digest) (bool, error) {
	if !w.visited.Add(d) {
		return false, nil
	}
	return true, w.markDigest(&d)
}

func (w *marker) markChunk(r cas.Ref) error { return w.markDigest(&r.Digest) }

func (w *marker) markDigest(d *cas.Digest) error {
	if err := w.log.Add(digests.KeyOf(*d), w.value); err != nil {
		return err
	}
	if w.value < buried {
		w.value++ // a root's marks are numbered as the walk meets them
	}
	w.walked++
	return w.pace.step(w.ctx, w.walked)
}

// FindSegments returns where the segments of a domain are read: rows, and packs
// where the database has lost a row. One that is damaged counts as absent.
func FindSegments(s *Store, domain string) manifest.SegmentGetter {
	f := s.findSegments(domain)
	f.passDamaged = true
	return f
}

// findSegments finds the segments of a domain. Those that are not in it yet, since
// the move of a bucket into it is under way, are read where they are.
func (s *Store) findSegments(domain string) *segmentFinder {
	f := &segmentFinder{from: []segmentPlace{{s.Meta.Segments(domain), s.Chunks[domain]}}}
	for other, chunks := range s.Chunks {
		if other != domain {
			f.from = append(f.from, segmentPlace{s.Meta.Segments(other), chunks})
		}
	}
	return f
}

// A segmentPlace is a domain in which segments lie: as rows, and in packs.
type segmentPlace struct {
	rows  manifest.SegmentGetter
	packs *cas.Store
}

// A segmentFinder finds segments as rows of any domain or, if the database has
// lost a row, in the packs.
type segmentFinder struct {
	from []segmentPlace // the domain that is collected comes first
	// rowsOnly says that segments without a row count as gone, passDamaged that
	// those do that cannot be read.
	rowsOnly, passDamaged bool
}

// Segments implements manifest.SegmentGetter.
func (s *segmentFinder) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	out := make([][]byte, len(ds))
	for _, p := range s.from {
		var missing []int
		var wanted []cas.Digest
		for i := range out {
			if out[i] == nil {
				missing, wanted = append(missing, i), append(wanted, ds[i])
			}
		}
		if len(wanted) == 0 {
			return out, nil
		}
		found, err := p.rows.Segments(ctx, wanted)
		if err != nil {
			return nil, err
		}
		for k, i := range missing {
			out[i] = found[k]
		}
	}
	if s.rowsOnly {
		return out, nil
	}
	for i := range out {
		for k := 0; k < len(s.from) && out[i] == nil; k++ {
			p, err := s.from[k].packs.Get(ctx, ds[i], nil)
			if err == nil {
				out[i] = p
			} else if damaged := (*cas.CorruptError)(nil); !errors.Is(err, cas.ErrMissing) && !(s.passDamaged && errors.As(err, &damaged)) {
				return nil, err
			}
		}
	}
	return out, nil
}

// isGone reports whether an error says that something does not exist.
func isGone(err error) bool { return errors.Is(err, fs.ErrNotExist) }
