package report

import (
	"context"
	"errors"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// A domainWalk makes the part of a dedup about one domain. It goes from the top down:
// the versions refer to tops of trees, the segments of each level to those of the
// next, and those of level 0 to chunks. What refers to a level is known as a whole
// before its segments are read, so each is read once, however many versions share it.
type domainWalk struct {
	*dedup
	domain string
	homes  *homes
	sums   DedupSums

	chunks   *references
	contents *references
	levels   [manifest.MaxHeight + 1]*segmentLevel // nil for those that nothing refers to
	names    digests.Spool                         // the digests of segments
	versions digests.Spool                         // the IDs of versions, each as long
	length   int                                   // of an ID; 0 before the first
}

const (
	// chunkMemory is how many chunks are kept in memory by each of three logs,
	// levelMemory and contentMemory how many segments of a level, and contents of
	// versions.
	chunkMemory   = 1 << 20
	levelMemory   = 1 << 16
	contentMemory = 1 << 17
	// segmentBatch is how many segments are read together.
	segmentBatch = 64
)

func newDomainWalk(d *dedup, domain string, homes *homes) *domainWalk {
	dir := d.opts.TempDir
	return &domainWalk{dedup: d, domain: domain, homes: homes, chunks: newReferences(dir, chunkMemory), contents: newReferences(dir, contentMemory),
		names: digests.NewSpool(dir), versions: digests.NewSpool(dir)}
}

func (w *domainWalk) closeLogs() error {
	err := errors.Join(w.chunks.closeLogs(), w.contents.closeLogs(), w.names.Close(), w.versions.Close())
	for _, l := range w.levels {
		if l != nil {
			err = errors.Join(err, l.closeLogs(), l.places.Close())
		}
	}
	return err
}

func (w *domainWalk) run(ctx context.Context) error {
	w.pace.beginPhase(w.domain, "versions", 0)
	if err := w.addVersions(ctx); err != nil {
		return err
	}
	w.pace.beginPhase(w.domain, "chunk lists", 0)
	for level := len(w.levels) - 1; level >= 0; level-- {
		if err := w.walkLevel(ctx, level); err != nil {
			return err
		}
	}
	if err := w.addContents(ctx); err != nil {
		return err
	}
	if err := w.weighChunks(ctx); err != nil {
		return err
	}
	return w.sumPacks(ctx)
}

// addVersions counts the versions, and adds what they refer to.
func (w *domainWalk) addVersions(ctx context.Context) error {
	last, number := manifest.FileID(""), uint64(0)
	for row, err := range w.Meta.AllRows(ctx, "") {
		if err == nil {
			err = w.pace.countStep(ctx)
		}
		if err != nil {
			return err
		}
		f, m := row.File, row.Manifest
		if w.homes.domainOf(f.Bucket) != w.domain {
			continue
		}
		if f.ID != last {
			w.sums.Files++
			last = f.ID
		}
		if m == nil {
			continue
		}
		if err := w.addVersion(number, f, m); err != nil {
			return err
		}
		number++
	}
	return nil
}

func (w *domainWalk) addVersion(number uint64, f *manifest.File, m *manifest.Manifest) error {
	w.sums.Versions++
	w.sums.LogicalBytes += m.Size
	w.sums.References += m.Chunks
	if w.length == 0 {
		w.length = len(m.ID)
	}
	if err := w.versions.Append([]byte(m.ID)); err != nil {
		return err
	}
	r := &reference{count: 1, tuples: []uint64{w.groups.countVersion(f, m)}, example: exampleOf(number)}
	if m.Size > 0 {
		own := *r
		// The size stands in place of groups: equal contents have one.
		own.key, own.tuples = digests.KeyOf(m.Root()), []uint64{uint64(m.Size)}
		if err := w.contents.addReference(&own); err != nil {
			return err
		}
	}
	if !m.Top.IsZero() {
		return w.addSegment(m.Height, m.Top, r)
	}
	for _, ref := range m.Inline {
		r.key = digests.KeyOf(ref.Digest)
		if err := w.chunks.addReference(r); err != nil {
			return err
		}
	}
	return nil
}

// A segmentLevel has the segments of a level: what refers to them, and where in the
// spool of names their digests are.
type segmentLevel struct {
	*references
	places *digests.Log
}

// addSegment adds references to a segment. It changes the key of r.
func (w *domainWalk) addSegment(level int, d cas.Digest, r *reference) error {
	l := w.levels[level]
	if l == nil {
		l = &segmentLevel{newReferences(w.opts.TempDir, levelMemory), digests.NewLogOf(w.opts.TempDir, digests.Lowest, levelMemory)}
		w.levels[level] = l
	}
	r.key = digests.KeyOf(d)
	place := w.names.Len()
	if err := w.names.Append(d[:]); err != nil {
		return err
	}
	if err := l.places.Add(r.key, uint64(place)); err != nil {
		return err
	}
	return l.addReference(r)
}

// walkLevel reads the segments of a level and adds what they refer to.
func (w *domainWalk) walkLevel(ctx context.Context, level int) error {
	l := w.levels[level]
	if l == nil {
		return nil
	}
	segments := w.Segments(w.domain)
	var batch []reference
	var names []cas.Digest
	readBatch := func() error {
		found, err := segments.Segments(ctx, names)
		for i := 0; err == nil && i < len(found); i++ {
			err = w.walkSegment(level, names[i], found[i], &batch[i])
		}
		batch, names = batch[:0], names[:0]
		return err
	}
	for j, err := range joinPlaces(l) {
		if err != nil {
			return err
		}
		var d cas.Digest
		if _, err := w.names.ReadAt(d[:], int64(j.place)); err != nil {
			return err
		}
		r := *j.reference
		r.tuples = append([]uint64(nil), r.tuples...)
		if batch, names = append(batch, r), append(names, d); len(batch) == segmentBatch {
			if err := readBatch(); err != nil {
				return err
			}
		}
		if err := w.pace.countStep(ctx); err != nil {
			return err
		}
	}
	if err := readBatch(); err != nil {
		return err
	}
	w.levels[level] = nil
	return errors.Join(l.closeLogs(), l.places.Close())
}

// walkSegment adds what a segment refers to as often as the segment is referred to.
func (w *domainWalk) walkSegment(level int, d cas.Digest, p []byte, by *reference) error {
	if p == nil {
		w.sums.Unread++
		return nil
	}
	found, es, err := manifest.DecodeSegment(d, p)
	if err != nil || found != level {
		w.sums.Unread++
		return nil
	}
	for i := range es {
		r := *by
		r.count = by.count * es[i].Count
		if level > 0 {
			err = w.addSegment(level-1, es[i].Digest, &r)
		} else {
			r.key = digests.KeyOf(es[i].Digest)
			err = w.chunks.addReference(&r)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
