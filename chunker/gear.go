package chunker

import "fmt"

const (
	gearName   = "gear1-%d-%d-%d-%d-%d"
	gearWindow = 64 // bytes that decide whether a cut may fall behind them

	// filterBits is how many of the bits that must be zero are taken from
	// the 16-bit hash at most; the others come from the 64-bit one. The low
	// bits of the 16-bit hash depend on too few bytes: with 16 of them, and
	// depending on the tables, the zero-rich windows of executables hold up
	// to five times the ideal number of candidates. With 12 it is within a
	// few per cent on all data that was tried, and the 64-bit hash is still
	// needed no more often than once in 4096 places.
	filterBits = 12

	// half is the distance in bytes between the two halves of the 16-bit
	// hash's window, and halfMul sets them apart.
	half    = 16
	halfMul = 0x9e37
)

// gear is the splitter gear1. FORMAT.md defines it. In short, for a chunk that
// begins at p[0], a cut may fall behind p[n-1] when, of two hashes of the bytes
// before the cut, the leading bits are zero:
//
//	H(n) = G[p[n-1]] + G[p[n-2]]<<1 + … + G[p[n-16]]<<15              mod 2^16
//	C(n) = H(n) + 0x9e37*H(n-16)                                      mod 2^16
//	F(n) = G64[p[n-1]] + G64[p[n-2]]<<1 + … + G64[p[n-64]]<<63        mod 2^64
//
// C is the filter, simple enough to be computed for 64 places at once with
// vector instructions; F is computed only where C lets a place pass. The chunk
// ends at the first such n from min on, where strict bits must be zero below
// normal and loose bits from there on, and at max at the latest.
type gear struct {
	min, normal, max int // lengths in bytes
	strict, loose    int // bits that must be zero below and from normal on

	// limit and the masks follow from strict and loose. A place passes the
	// filter if C<<16 is less than limit, whatever the length of the chunk: the
	// filter takes at most loose bits. The masks are for F.
	limit                 uint32
	strictMask, looseMask uint64

	blocks bool // use scanBlocks for C
}

func newGear(low, normal, high, strict, loose int) *gear {
	filter := min(loose, filterBits)
	return &gear{
		min: low, normal: normal, max: high,
		strict: strict, loose: loose,
		limit:      1 << (32 - filter),
		strictMask: leadingMask(strict - filter),
		looseMask:  leadingMask(loose - filter),
		blocks:     hasBlocks(),
	}
}

// leadingMask returns a mask of the top n bits.
func leadingMask(n int) uint64 { return ^(^uint64(0) >> n) }

func (g *gear) Min() int { return g.min }
func (g *gear) Max() int { return g.max }

func (g *gear) String() string {
	return fmt.Sprintf(gearName, g.min, g.normal, g.max, g.strict, g.loose)
}

func (g *gear) Split(p []byte) int {
	n, _ := g.firstCut(p)
	return n
}

// firstCut returns the length of the first chunk of p, and how many steps of F it
// took. These are at most as many as the chunk has bytes, so that data made to
// pass the filter everywhere costs no more than that.
func (g *gear) firstCut(p []byte) (n, steps int) {
	p = p[:min(len(p), g.max)]
	if len(p) <= g.min {
		return len(p), 0
	}
	f := roller{p: p}
	s := newSieve(p, g.min-1, g.limit, g.blocks)
	for {
		if n = s.next(); n == len(p) {
			return n, f.steps
		}
		mask := g.strictMask
		if n >= g.normal {
			mask = g.looseMask
		}
		if f.rollTo(n)&mask == 0 {
			return n, f.steps
		}
	}
}

// A roller computes F at rising places. Near the last place it continues from
// there instead of starting anew, so it takes at most one step for each byte.
type roller struct {
	p     []byte
	h     uint64
	n     int // h covers p[:n]
	steps int
}

// rollTo returns F(n), for n of at least 64 and no less than the last.
func (r *roller) rollTo(n int) uint64 {
	// Bytes skipped do not matter: 64 shifts drop all that h held before.
	from := max(r.n, n-gearWindow)
	for _, b := range r.p[from:n] {
		r.h = r.h<<1 + gear64[b]
	}
	r.steps += n - from
	r.n = n
	return r.h
}
