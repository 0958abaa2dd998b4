package chunker

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// inGo returns g without scanBlocks.
func inGo(g *gear) *gear {
	loop := *g
	loop.blocks = false
	return &loop
}

// places returns what a sieve tells.
func places(p []byte, n int, limit uint32, blocks bool) (all []int) {
	for s := newSieve(p, n, limit, blocks); ; {
		if n = s.next(); n == len(p) {
			return all
		}
		all = append(all, n)
	}
}

func checkPlaces(t *testing.T, what string, p []byte, n int, limit uint32) {
	t.Helper()
	got, want := places(p, n, limit, true), places(p, n, limit, false)
	if !slices.Equal(got, want) {
		t.Fatalf("%s, %d bytes, from %d, limit %#x: places %v, in Go %v", what, len(p), n, limit, got, want)
	}
}

// sieved returns inputs of n bytes by name.
func sieved(n int) map[string][]byte {
	inputs := map[string][]byte{
		"random": stream("sieve", n),
		"prose":  prose("sieve", n),
		"sparse": sparse("sieve", 3<<16)[1<<16:][:n],
		"zeros":  make([]byte, n),
		"ones":   bytes.Repeat([]byte{0xff}, n),
	}
	few := stream("few", n) // two values
	for i := range few {
		few[i] = 0x80 * (few[i] & 1)
	}
	inputs["few"] = few
	for _, period := range []string{"ab", "abc", "0123456", "a period of 31 bytes, as it is.", "and one of 32 bytes, as this is.", "33 bytes are not less of a period"} {
		inputs[period] = bytes.Repeat([]byte(period), 1+n/len(period))[:n]
	}
	return inputs
}

// limits are those of all numbers of filter bits, and one that all places pass.
func limits() []uint32 {
	all := []uint32{math.MaxUint32}
	for bits := 1; bits <= filterBits; bits++ {
		all = append(all, 1<<(32-bits))
	}
	return all
}

func skipWithoutBlocks(t testing.TB) {
	t.Helper()
	if !hasBlocks() {
		t.Skip("this processor has no scanBlocks")
	}
}

func TestBlocksTellTheSamePlaces(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	skipWithoutBlocks(t)
	r := rand.New(rand.NewChaCha8([32]byte{'s'}))
	for what, p := range sieved(20 << 10) {
		for _, limit := range limits() {
			for size := gearWindow; size <= 64+5*blockSize; size++ {
				at := r.IntN(len(p) - size)
				checkPlaces(t, what, p[at:at+size], gearWindow-1+r.IntN(size-gearWindow+1), limit)
			}
			for n := gearWindow - 1; n < gearWindow+2*blockSize; n++ {
				checkPlaces(t, what, p[:1000], n, limit)
			}
			checkPlaces(t, what, p, gearWindow-1, limit)
		}
	}
	// More than one call may look at, without a hit and with one behind it.
	long := make([]byte, 3*mostBlocks*blockSize+17)
	checkPlaces(t, "long zeros", long, gearWindow-1, 1<<20)
	copy(long[2*mostBlocks*blockSize:], stream("sieve", 10<<10))
	checkPlaces(t, "long", long, gearWindow-1, 1<<20)
}

// The sieve would hide it if scanBlocks stopped at blocks without a place.
func TestScanBlocks(t *testing.T) {
	t.Parallel()
	skipWithoutBlocks(t)
	ref := newReference()
	for what, p := range sieved(reach + 40*blockSize) {
		for _, limit := range limits() {
			most := uint16((limit - 1) >> 16)
			for from := 0; from < 40; {
				i, hits := scanBlocks(&p[from*blockSize], 40-from, most)
				for b := from; b <= min(from+i, 39); b++ {
					var want uint64
					for j := range blockSize {
						if ref.c(p, reach+b*blockSize+j+1) <= most {
							want |= 1 << j
						}
					}
					if b < from+i && want != 0 || b == from+i && (want == 0 || want != hits) {
						t.Fatalf("%s, most %#x, from block %d: %d, %#x; block %d has %#x", what, most, from, i, hits, b, want)
					}
				}
				if from += i + 1; from > 40 && hits != 0 {
					t.Fatalf("%s, most %#x: hits %#x and no block", what, most, hits)
				}
			}
		}
	}
	if i, hits := scanBlocks(&make([]byte, 100)[0], 0, math.MaxUint16); i != 0 || hits != 0 {
		t.Errorf("no blocks: %d, %#x", i, hits)
	}
}

func TestBlocksCutTheSame(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	skipWithoutBlocks(t)
	r := rand.New(rand.NewChaCha8([32]byte{'c'}))
	var all []*gear
	for _, name := range gears {
		all = append(all, profile(t, name).(*gear))
	}
	for range 60 {
		low := gearWindow + r.IntN(300)
		normal := low + r.IntN(2000)
		loose := 1 + r.IntN(16)
		all = append(all, newGear(low, normal, normal+r.IntN(5000), loose+r.IntN(6), loose))
	}
	inputs := sieved(32 << 10)
	inputs["long random"] = stream("sieve", 2<<20)
	inputs["long prose"] = prose("sieve", 2<<20)
	inputs["flooded"] = flood(t, all[3], 2, 1<<20)
	for _, g := range all {
		for what, p := range inputs {
			if len(p) > 32<<10 && g.max < 64<<10 {
				continue // slow, and nothing new
			}
			for loop, at := inGo(g), 0; at < len(p); {
				n, steps := g.firstCut(p[at:])
				want, wantSteps := loop.firstCut(p[at:])
				if n != want || steps != wantSteps {
					t.Fatalf("%s of %s at %d: cut %d in %d steps, in Go %d in %d", g, what, at, n, steps, want, wantSteps)
				}
				at += n
			}
		}
	}
}

func FuzzSieve(f *testing.F) {
	skipWithoutBlocks(f)
	f.Add(stream("fuzz", 300), uint16(0), uint8(3))
	f.Add(prose("fuzz", 1000), uint16(70), uint8(8))
	f.Add(make([]byte, 500), uint16(100), uint8(0))
	f.Add(bytes.Repeat([]byte("ab"), 100), uint16(9), uint8(12))
	f.Fuzz(func(t *testing.T, p []byte, from uint16, bits uint8) {
		if len(p) < gearWindow {
			t.Skip()
		}
		n := gearWindow - 1 + int(from)%(len(p)-gearWindow+1)
		checkPlaces(t, "fuzz", p, n, limits()[bits%(filterBits+1)])
	})
}
