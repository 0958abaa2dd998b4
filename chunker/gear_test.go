package chunker

import (
	"bytes"
	"go/build"
	"math"
	"math/bits"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// gears are the content-defined profiles.
var gears = []string{"fine", "balanced", "bulk", "media"}

// candidates calls yield for each n beyond 64 for which the top filter bits of
// C(n) are zero, with the number of leading zeros of C(n) and of F(n).
func candidates(p []byte, filter int, yield func(n, c, f int)) {
	f := roller{p: p}
	for n, c := 64, filterHashAt(p, 64); ; {
		if n, c = scanBytes(p, n, c, 1<<(32-filter)); n == len(p) {
			return
		}
		yield(n, bits.LeadingZeros32(c), bits.LeadingZeros64(f.rollTo(n)))
	}
}

// novel marks the places of p whose last 32 bytes, all that C sees, did not
// occur before. A few per cent are missed, whatever their content.
func novel(p []byte) (marks []bool, count int) {
	const width, factor = 32, 0x9e3779b97f4a7c15
	var out uint64 = 1
	for range width {
		out *= factor
	}
	seen := make([]uint64, 1<<20) // a bit each for 2^26 hashes
	marks = make([]bool, len(p)+1)
	var h uint64
	for i, b := range p {
		if h = h*factor + uint64(b) + 1; i >= width {
			h -= out * (uint64(p[i-width]) + 1)
		}
		x := (h ^ h>>29) * 0xbf58476d1ce4e5b9 >> 38
		if i >= 64 && seen[x>>6]>>(x&63)&1 == 0 {
			seen[x>>6] |= 1 << (x & 63)
			marks[i+1] = true
			count++
		}
	}
	return marks, count
}

// checkDensity compares the number of candidates among the distinct windows of
// p with the ideal one. Apart from 5 % it allows for three standard deviations.
func checkDensity(t *testing.T, name string, p []byte) {
	t.Helper()
	marks, count := novel(p)
	kinds := [...]struct{ filter, bits, got int }{{10, 10, 0}, {11, 11, 0}, {11, 12, 0}, {12, 12, 0}, {12, 13, 0}, {12, 15, 0}}
	candidates(p, 10, func(n, c, f int) {
		for i := range kinds {
			if k := &kinds[i]; marks[n] && c >= k.filter && f >= k.bits-k.filter {
				k.got++
			}
		}
	})
	for _, k := range kinds {
		want := float64(count) / float64(uint64(1)<<k.bits)
		t.Logf("%s: %d bits, %d of them of the filter: density %.3f over %d windows", name, k.bits, k.filter, float64(k.got)/want, count)
		if math.Abs(float64(k.got)-want) > 0.05*want+3*math.Sqrt(want) {
			t.Errorf("%s: %d bits, %d of them of the filter: %d candidates, want %.0f", name, k.bits, k.filter, k.got, want)
		}
	}
}

func TestDensity(t *testing.T) {
	t.Parallel()
	checkDensity(t, "random", stream("density", 6<<20))
	if dir := os.Getenv("CAIRN_CORPUS"); dir != "" {
		files, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(files) == 0 {
			t.Fatalf("no corpus in %s: %v", dir, err)
		}
		checkDensity(t, "corpus", read(t, files, 64<<20))
	}
	sources, err := filepath.Glob(filepath.Join(build.Default.GOROOT, "src", "*", "*.go"))
	if err != nil || len(sources) == 0 {
		t.Skipf("no Go sources here: %v", err)
	}
	checkDensity(t, "sources", read(t, sources, 6<<20))
	checkDensity(t, "executable", read(t, []string{filepath.Join(build.Default.GOROOT, "bin", "go")}, 6<<20))
}

// read returns the files joined, up to about limit bytes.
func read(t *testing.T, files []string, limit int) []byte {
	t.Helper()
	var all []byte
	for _, name := range files {
		p, err := os.ReadFile(name)
		if err != nil {
			t.Skip(err)
		}
		if all = append(all, p...); len(all) >= limit {
			return all[:limit]
		}
	}
	return all
}

func TestRunsAreCutAtMax(t *testing.T) {
	t.Parallel()
	for _, name := range gears {
		g := profile(t, name).(*gear)
		for b := range 256 {
			p := bytes.Repeat([]byte{byte(b)}, 256)
			candidates(p, min(g.loose, filterBits), func(int, int, int) {
				t.Fatalf("%s: a run of %#x has a candidate", name, b)
			})
		}
		zeros := make([]byte, 3*g.max)
		if got, want := cuts(g, zeros), []int{g.max, g.max, g.max}; !slices.Equal(got, want) {
			t.Errorf("%s: zeros cut into %v, want %v", name, got, want)
		}
	}
}

// Periodic data either has a candidate in its period, and is cut into equal
// chunks about min long, or has none, and is cut at max. It must not have one
// more often than random data would: such chunks are stored once, but listed.
func TestShortPeriods(t *testing.T) {
	race.LeaveOut(t)
	t.Parallel()
	g := profile(t, "fine").(*gear) // the fewest bits
	r := rand.New(rand.NewChaCha8([32]byte{'p'}))
	var flooded, want float64
	for period := 1; period <= 64; period++ {
		for range 1000 {
			unit := make([]byte, period)
			for i := range unit {
				unit[i] = byte(r.Uint32())
			}
			p := bytes.Repeat(unit, 1+192/period)
			hit := 0.0
			candidates(p, g.loose, func(int, int, int) { hit = 1 })
			flooded += hit
			want += float64(period) / float64(int(1)<<g.loose)
		}
	}
	t.Logf("%.0f of 64000 periodic strings have candidates, ideal %.0f", flooded, want)
	if flooded > 1.1*want {
		t.Errorf("%.0f of 64000 periodic strings have candidates, want about %.0f", flooded, want)
	}
	for _, unit := range []string{"\r\n", " \x00", "\x00\xff", "ab", "00", "\x00\x00\x80\x3f", "\xff\xff\xff\x00", "0, ", "-+", "NaN ", "\t\t\n", "<td></td>", "0123456789"} {
		p := bytes.Repeat([]byte(unit), 300<<10/len(unit))
		lengths := cuts(g, p)
		inner := lengths[:len(lengths)-1]
		if slices.Min(inner) != slices.Max(inner) {
			t.Errorf("period %q: unequal cuts %v", unit, lengths)
		}
		t.Logf("period %q: cut every %d bytes", unit, inner[0])
	}
}

// flood returns n bytes that pass g's filter once in a period and never the
// strict or the loose rule.
func flood(t testing.TB, g *gear, period, n int) []byte {
	t.Helper()
	for u := range 1 << 16 {
		unit := stream(strconv.Itoa(u), period)
		p := bytes.Repeat(unit, 1+256/period)
		passed, refused := 0, 0
		candidates(p, min(g.loose, filterBits), func(_, _, zeros int) {
			if passed++; zeros < g.loose-filterBits {
				refused++
			}
		})
		if passed > 0 && passed == refused {
			return bytes.Repeat(unit, 1+n/period)[:n]
		}
	}
	t.Fatalf("no period of %d bytes floods %s", period, g)
	return nil
}

// The filter is public, so anyone can make data that passes it all the time.
// That may cost a step of F a byte, never a window of 64.
func TestWorkIsBoundedWhenTheFilterIsFlooded(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"bulk", "media"} {
		g := profile(t, name).(*gear)
		p := flood(t, g, 2, g.max)
		n, steps := g.firstCut(p)
		if n != g.max || steps < n/4 || steps > n {
			t.Errorf("%s: chunk of %d bytes took %d steps, want max and at most a step a byte", name, n, steps)
		}
		t.Logf("%s: flooded: %.2f steps a byte", name, float64(steps)/float64(n))
	}
	all := newGear(4<<10, 16<<10, 64<<10, 13, 11)
	all.limit = math.MaxUint32 // as if every place passed
	all.strictMask, all.looseMask = math.MaxUint64, math.MaxUint64
	if n, steps := all.firstCut(stream("flood", all.max)); n != all.max || steps > n {
		t.Errorf("everything passing: chunk of %d bytes took %d steps", n, steps)
	}
	for name, p := range map[string][]byte{"random": stream("steps", 1<<20), "prose": prose("steps", 1<<20)} {
		total := 0
		g := profile(t, "balanced").(*gear)
		for q := p; len(q) > 0; {
			n, steps := g.firstCut(q)
			total += steps
			q = q[n:]
		}
		if total > len(p)/16 {
			t.Errorf("%s: %d steps for %d bytes, want few", name, total, len(p))
		}
	}
}

func TestLengthsStayWithinBounds(t *testing.T) {
	t.Parallel()
	p := stream("bounds", 6<<20)
	for _, name := range gears {
		g := profile(t, name).(*gear)
		lengths := cuts(g, p)
		inner := lengths[:len(lengths)-1]
		if slices.Min(inner) < g.min || slices.Max(lengths) > g.max {
			t.Errorf("%s: lengths from %d to %d", name, slices.Min(inner), slices.Max(lengths))
		}
		t.Logf("%s: average of random data %.1f KiB", name, float64(len(p))/float64(len(lengths))/1024)
	}
}

// After an edit the cuts before it stand, and those behind it are found again
// within a few chunks.
func TestEditMovesOnlyNearbyCuts(t *testing.T) {
	t.Parallel()
	g := profile(t, "fine").(*gear)
	r := rand.New(rand.NewChaCha8([32]byte{'e'}))
	for name, base := range map[string][]byte{"random": stream("edit", 512<<10), "prose": prose("edit", 512<<10)} {
		before := ends(g, base)
		var moved, worst int
		const edits = 40
		for range edits {
			changed := edit(r, base, 1+r.IntN(500))
			first := 0
			for first < min(len(base), len(changed)) && base[first] == changed[first] {
				first++
			}
			after, shift := ends(g, changed), len(changed)-len(base)
			i := 0 // cuts in common at the front
			for i < len(before) && i < len(after) && before[i] == after[i] {
				i++
			}
			j := 0 // and at the back
			for j < len(before)-i && j < len(after)-i && before[len(before)-1-j]+shift == after[len(after)-1-j] {
				j++
			}
			if i < len(before) && before[i] <= first {
				t.Fatalf("%s: an edit at %d moved the cut at %d", name, first, before[i])
			}
			n := len(after) - i - j
			moved, worst = moved+n, max(worst, n)
		}
		t.Logf("%s: an edit makes %.1f new cuts, at most %d", name, float64(moved)/edits, worst)
		if float64(moved)/edits > 4 || worst > 20 {
			t.Errorf("%s: %d edits made %d new cuts, up to %d each", name, edits, moved, worst)
		}
	}
}
