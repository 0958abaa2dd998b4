package chunker

import (
	"math"
	"math/bits"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// fastCDC is FastCDC of Xia and others (USENIX ATC 2016) with normalisation
// level 2: a 64-bit gear, a cut where the hash has log2(average)+2 chosen bits
// zero below the average length and log2(average)-2 beyond, minimum skipped. It
// is here to be compared with.
type fastCDC struct{ min, average, max int }

func (f fastCDC) Split(p []byte) int {
	p = p[:min(len(p), f.max)]
	level := bits.Len(uint(f.average)) - 1
	mask := leadingMask(level + 2)
	var h uint64
	for n := f.min; n < len(p); n++ {
		if n >= f.average {
			mask = leadingMask(level - 2)
		}
		if h = h<<1 + gear64[p[n]]; h&mask == 0 {
			return n + 1
		}
	}
	return len(p)
}

func (f fastCDC) Min() int       { return f.min }
func (f fastCDC) Max() int       { return f.max }
func (f fastCDC) String() string { return "FastCDC" }

// Dedup depends on the average length above all, so the splitters are compared
// at the same: FastCDC's unique bytes are interpolated between two lengths.
func TestDedupEqualsFastCDC(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	texts := versions(2<<20, 6, 12)
	measure := func(s Splitter) *tally {
		var sum tally
		for _, p := range texts {
			sum.addAll(s, p)
		}
		return &sum
	}
	ours := measure(profile(t, "fine"))
	low := measure(fastCDC{2 << 10, 8 << 10, 64 << 10})
	high := measure(fastCDC{4 << 10, 16 << 10, 128 << 10})
	if a := ours.average(); a < low.average() || a > high.average() {
		t.Fatalf("average %.0f is not within FastCDC's %.0f and %.0f", a, low.average(), high.average())
	}
	share := math.Log(ours.average()/low.average()) / math.Log(high.average()/low.average())
	want := float64(low.unique) + share*float64(high.unique-low.unique)
	ratio := float64(ours.unique) / want
	t.Logf("FastCDC: %d unique bytes at %.0f, %d at %.0f; fine: %d at %.0f, %.3f of FastCDC",
		low.unique, low.average(), high.unique, high.average(), ours.unique, ours.average(), ratio)
	if ratio > 1.03 {
		t.Errorf("unique bytes %.3f of FastCDC's at equal average, want at most 1.03", ratio)
	}
}
