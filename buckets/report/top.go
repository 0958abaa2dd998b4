package report

import (
	"container/heap"
	"slices"
)

// A topList keeps the largest of what it is given.
type topList[E any] struct {
	most    int
	compare func(a, b *E) int // is positive if a is larger; never zero for two that differ
	es      []E               // a heap: the smallest comes first
}

func newTopList[E any](most int, compare func(a, b *E) int) *topList[E] {
	return &topList[E]{most: most, compare: compare}
}

// addEntry adds an entry. It returns the one that there is no room for, if any.
func (t *topList[E]) addEntry(e E) (dropped E, ok bool) {
	if len(t.es) < t.most {
		heap.Push(t, e)
		return dropped, false
	}
	if t.compare(&e, &t.es[0]) <= 0 {
		return e, true
	}
	dropped, t.es[0] = t.es[0], e
	heap.Fix(t, 0)
	return dropped, true
}

// takesEntry reports whether addEntry would keep an entry.
func (t *topList[E]) takesEntry(e *E) bool { return len(t.es) < t.most || t.compare(e, &t.es[0]) > 0 }

// listLargest returns the entries, the largest first.
func (t *topList[E]) listLargest() []E {
	out := slices.Clone(t.es)
	slices.SortFunc(out, func(a, b E) int { return t.compare(&b, &a) })
	return out
}

func (t *topList[E]) Len() int           { return len(t.es) }
func (t *topList[E]) Less(i, j int) bool { return t.compare(&t.es[i], &t.es[j]) < 0 }
func (t *topList[E]) Swap(i, j int)      { t.es[i], t.es[j] = t.es[j], t.es[i] }
func (t *topList[E]) Push(e any)         { t.es = append(t.es, e.(E)) }
func (t *topList[E]) Pop() any {
	last := t.es[len(t.es)-1]
	t.es = t.es[:len(t.es)-1]
	return last
}
