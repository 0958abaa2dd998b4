package manifest_test

import (
	"slices"
	"testing"

	"github.com/cairn-store/cairn/manifest"
)

// A census has exactly the serials that were added, in whatever order, and as
// few ranges as can be.
func TestCensus(t *testing.T) {
	r := seeded(t)
	for range 300 {
		a, b := &manifest.Census{}, &manifest.Census{}
		want := make(map[uint64]bool)
		for range 1 + r.IntN(60) {
			n := 1 + r.Uint64N(80)
			want[n] = true
			[]*manifest.Census{a, b}[r.IntN(2)].Add(n)
		}
		a.Merge(b)
		for n := range uint64(90) {
			if a.Has(n) != want[n] {
				t.Fatalf("%+v: has %d is %v", a, n, a.Has(n))
			}
		}
		var ranges []manifest.SerialRange
		for n := uint64(1); n < 90; n++ {
			switch {
			case !want[n]:
			case want[n-1]:
				ranges[len(ranges)-1].Last = n
			default:
				ranges = append(ranges, manifest.SerialRange{First: n, Last: n})
			}
		}
		if !slices.Equal(a.Ranges, ranges) {
			t.Fatalf("ranges %v, want %v", a.Ranges, ranges)
		}
		trip(t, a, &manifest.Census{Writer: [16]byte{1}})
	}
}
