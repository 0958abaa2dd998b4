package digests

import (
	"encoding/binary"

	"github.com/cairn-store/cairn/cas"
)

// A Set is a set of digests in memory. It holds whole digests: who could make two
// segments pass for one could hide from a walk what the second refers to. It is 256
// tables by the first byte, so that one grows at a time.
type Set struct {
	tables [256]digestTable
	n      int
	most   int
}

// NewSet returns a set that takes at most so many digests, 64 bytes each at the
// worst.
func NewSet(most int) *Set { return &Set{most: most} }

// A digestTable finds a digest at the slot that its hash names, or behind it.
// The zero digest is an empty slot.
type digestTable struct {
	slots []cas.Digest
	n     int
}

// Add adds a digest and reports whether it was not in the set. It reports true
// for a digest that it has no room for.
func (s *Set) Add(d cas.Digest) bool {
	if d.IsZero() {
		return true
	}
	t := &s.tables[d[0]]
	if s.n >= s.most {
		return !t.hasDigest(&d)
	}
	if 4*(t.n+1) > 3*len(t.slots) {
		t.growTable()
	}
	if !t.insertDigest(&d) {
		return false
	}
	s.n++
	return true
}

// Has reports whether the set has a digest.
func (s *Set) Has(d cas.Digest) bool { return !d.IsZero() && s.tables[d[0]].hasDigest(&d) }

// Len returns how many digests the set has.
func (s *Set) Len() int { return s.n }

func (t *digestTable) hasDigest(d *cas.Digest) bool {
	return len(t.slots) > 0 && t.slots[t.findSlot(d)] == *d
}

func (t *digestTable) insertDigest(d *cas.Digest) bool {
	i := t.findSlot(d)
	if t.slots[i] == *d {
		return false
	}
	t.slots[i] = *d
	t.n++
	return true
}

// findSlot returns the slot of d, or the empty one where it would be.
func (t *digestTable) findSlot(d *cas.Digest) int {
	i := int(binary.BigEndian.Uint64(d[1:]) % uint64(len(t.slots)))
	for t.slots[i] != *d && !t.slots[i].IsZero() {
		if i++; i == len(t.slots) {
			i = 0
		}
	}
	return i
}

func (t *digestTable) growTable() {
	old := t.slots
	t.slots, t.n = make([]cas.Digest, max(8, len(old)*3/2)), 0
	for i := range old {
		if !old[i].IsZero() {
			t.insertDigest(&old[i])
		}
	}
}
