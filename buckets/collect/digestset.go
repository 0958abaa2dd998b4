package collect

import (
	"encoding/binary"

	"github.com/cairn-store/cairn/cas"
)

// A digestSet is a set of digests, of at most `most`. It holds whole digests: who
// could make two segments pass for one could hide from the mark what the second
// refers to. It is 256 tables by the first byte, so that one grows at a time.
type digestSet struct {
	tables [256]digestTable
	n      int
	most   int
}

// maxVisited is how many segments a mark remembers: those of a thousand million
// chunks, in 512 MiB at most. Beyond it segments are walked again for each place
// that they stand in.
const maxVisited = 8 << 20

// A digestTable finds a digest at the slot that its hash names, or behind it.
// The zero digest is an empty slot.
type digestTable struct {
	slots []cas.Digest
	n     int
}

// add adds a digest and reports whether it was not in the set. It reports true
// for a digest that it has no room for.
func (s *digestSet) add(d cas.Digest) bool {
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
