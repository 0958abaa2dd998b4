package report

import (
	"errors"
	"iter"
	"math"

	"github.com/cairn-store/cairn/cas/digests"
)

// A references log takes references to chunks or segments, and tells of each digest
// how often it was referred to, by which groups, and in which versions first and
// last. It takes bounded memory; the rest lies in temporary files.
type references struct {
	counts   *digests.Log
	tuples   *digests.Log
	examples *digests.Log
}

// A reference is what a references log knows of a digest, or is told of it.
type reference struct {
	key     digests.Key
	count   int64
	tuples  []uint64 // distinct, see groupTuple; valid until the next reference
	example uint64   // see exampleOf
}

// exampleOf makes an example of a version: the first and the last that were added
// count. Versions beyond the range are none.
func exampleOf(version uint64) uint64 {
	if version >= math.MaxUint32 {
		return math.MaxUint32 << 32
	}
	return version<<32 | (version + 1)
}

// foldExamples keeps the first version in the high half, and the last, counted from
// 1, in the low one.
func foldExamples(a, b uint64) uint64 {
	return min(a>>32, b>>32)<<32 | max(a&math.MaxUint32, b&math.MaxUint32)
}

// versionsOf returns the versions of an example: the first, and the last if that is
// another one.
func versionsOf(example uint64) (out []uint64) {
	first, last := example>>32, example&math.MaxUint32
	if last == 0 {
		return nil
	}
	if out = append(out, first); last-1 != first {
		out = append(out, last-1)
	}
	return out
}

// foldCounts adds counts up, as far as they can be counted.
func foldCounts(a, b uint64) uint64 { return min(a+b, math.MaxInt64) }

func newReferences(dir string, entries int) *references {
	return &references{digests.NewLogOf(dir, foldCounts, entries), digests.NewLogOf(dir, nil, entries), digests.NewLogOf(dir, foldExamples, entries)}
}

func (l *references) closeLogs() error {
	return errors.Join(l.counts.Close(), l.tuples.Close(), l.examples.Close())
}

// addReference adds references.
func (l *references) addReference(r *reference) error {
	if err := l.counts.Add(r.key, uint64(r.count)); err != nil {
		return err
	}
	for _, t := range r.tuples {
		if err := l.tuples.Add(r.key, t); err != nil {
			return err
		}
	}
	return l.examples.Add(r.key, r.example)
}

// all yields what was added, in order of keys.
func (l *references) all() iter.Seq2[*reference, error] {
	return func(yield func(*reference, error) bool) {
		tuple, stopTuples := iter.Pull2(l.tuples.All())
		defer stopTuples()
		example, stopExamples := iter.Pull2(l.examples.All())
		defer stopExamples()
		r := &reference{}
		t, terr, more := tuple()
		for c, err := range l.counts.All() {
			x, xerr, _ := example()
			r.key, r.count, r.example, r.tuples = c.Key, int64(c.Value), x.Value, r.tuples[:0]
			for err = errors.Join(err, xerr); more && terr == nil && err == nil && t.Key == c.Key; t, terr, more = tuple() {
				r.tuples = append(r.tuples, t.Value)
			}
			if err = errors.Join(err, terr); !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// A placedReference is a reference to a segment with the place of its digest.
type placedReference struct {
	*reference
	place uint64
}

// joinPlaces yields the references to the segments of a level with their places.
func joinPlaces(l *segmentLevel) iter.Seq2[placedReference, error] {
	return func(yield func(placedReference, error) bool) {
		next, stop := iter.Pull2(l.places.All())
		defer stop()
		for r, err := range l.all() {
			p, perr, _ := next() // it has the same keys
			if err = errors.Join(err, perr); !yield(placedReference{r, p.Value}, err) || err != nil {
				return
			}
		}
	}
}
