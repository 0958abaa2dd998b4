package chunker

import (
	"encoding/binary"
	"testing"

	"github.com/zeebo/blake3"

	"github.com/cairn-store/cairn/internal/race"
)

// reference is gear1 as FORMAT.md has it, from nothing but the table's seed,
// and with every hash computed afresh at every place.
type reference struct {
	low, high [16]uint16
	g64       [256]uint64
}

func newReference() *reference {
	h := blake3.New()
	h.WriteString("github.com/cairn-store/cairn/chunker gear1 50")
	d, r := h.Digest(), new(reference)
	for _, table := range []any{&r.low, &r.high, &r.g64} {
		if err := binary.Read(d, binary.LittleEndian, table); err != nil {
			panic(err)
		}
	}
	return r
}

// c returns C(n).
func (r *reference) c(p []byte, n int) uint16 {
	h := func(n int) (sum uint16) {
		for j, b := range p[n-16 : n] {
			sum += (r.low[b&15] ^ r.high[b>>4]) << (15 - j)
		}
		return sum
	}
	return h(n) + 0x9e37*h(n-16)
}

// f returns F(n).
func (r *reference) f(p []byte, n int) (sum uint64) {
	for j, b := range p[n-64 : n] {
		sum += r.g64[b] << (63 - j)
	}
	return sum
}

// candidate reports whether a cut may fall behind p[n-1]: the first filter of
// the bits are C's, the others F's.
func (r *reference) candidate(p []byte, n, bits, filter int) bool {
	return r.c(p, n)>>(16-filter) == 0 && r.f(p, n)>>(64-(bits-filter)) == 0
}

func (r *reference) split(g *gear, p []byte) int {
	filter := min(g.loose, 12)
	for n := g.min; n < min(len(p), g.max); n++ {
		bits := g.strict
		if n >= g.normal {
			bits = g.loose
		}
		if r.candidate(p, n, bits, filter) {
			return n
		}
	}
	return min(len(p), g.max)
}

func TestTablesComeFromTheSeed(t *testing.T) {
	t.Parallel()
	r := newReference()
	if r.low != gearLow || r.high != gearHigh || r.g64 != gear64 {
		t.Error("the tables in the code are not those of the seed")
	}
}

func TestSplitAgreesWithReference(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	r := newReference()
	inputs := map[string][]byte{
		"random": stream("reference", 150<<10),
		"prose":  prose("reference", 150<<10),
		"sparse": sparse("reference", 150<<10),
		"zeros":  make([]byte, 100<<10),
	}
	for _, g := range []*gear{
		newGear(64, 64, 64, 1, 1), // the least that Parse lets pass
		newGear(64, 80, 2000, 9, 2),
		newGear(65, 300, 1031, 12, 4),
		newGear(100, 2000, 9000, 14, 10),
		newGear(512, 2048, 30000, 14, 12),
		newGear(4<<10, 16<<10, 64<<10, 13, 11),
		newGear(16<<10, 64<<10, 256<<10, 15, 13),
	} {
		for name, p := range inputs {
			for at := 0; len(p) > 0; {
				got, want := g.Split(p), r.split(g, p)
				if loop := inGo(g).Split(p); got != want || loop != want {
					t.Fatalf("%s of %s at %d: cut %d, in Go %d, reference %d", g, name, at, got, loop, want)
				}
				at, p = at+got, p[got:]
			}
		}
	}
}
