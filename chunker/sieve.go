package chunker

import "math/bits"

const (
	blockSize = 64 // bytes that scanBlocks takes at once
	reach     = 32 // bytes before a place that C depends on

	// mostBlocks bounds how long scanBlocks runs: it cannot be pre-empted, and
	// the garbage collector would wait for it. 64 KiB take some 10 µs.
	mostBlocks = 1024
)

// A sieve finds the places that pass the filter, in rising order.
type sieve struct {
	p      []byte
	limit  uint32 // see gear
	n      int    // the places up to n were scanned
	blocks bool   // by scanBlocks, not scanBytes

	// c is C(n)<<16, for scanBytes.
	c uint32

	// Bit i of hits, from scanBlocks, is set if place n-63+i passes and next
	// has not returned it yet.
	hits uint64
}

// newSieve returns a sieve for the places of p from n+1 on, for n of at least
// two halves.
func newSieve(p []byte, n int, limit uint32, blocks bool) sieve {
	if blocks && len(p) >= reach+blockSize {
		return sieve{p: p, n: n, limit: limit, blocks: true}
	}
	return sieve{p: p, n: n, limit: limit, c: filterHashAt(p, n)}
}

// next returns the next place that passes, and len(p) if there is none.
func (s *sieve) next() int {
	if !s.blocks {
		s.n, s.c = scanBytes(s.p, s.n, s.c, s.limit)
		return s.n
	}
	for s.hits == 0 {
		if s.n == len(s.p) {
			return s.n
		}
		s.advanceToHit()
	}
	i := bits.TrailingZeros64(s.hits)
	s.hits &= s.hits - 1
	return s.n - blockSize + 1 + i
}

// advanceToHit scans blocks up to one with places that pass. A block is scanned
// once, however many of its places pass. The last block ends where p does, so it
// may begin with places that were scanned before: their hits are dropped.
func (s *sieve) advanceToHit() {
	from := min(s.n, len(s.p)-blockSize)
	blocks := min((len(s.p)-from)/blockSize, mostBlocks)
	i, hits := scanBlocks(&s.p[from-reach], blocks, uint16((s.limit-1)>>16))
	s.hits = hits &^ (1<<(s.n-from) - 1)
	s.n = from + min(i+1, blocks)*blockSize
}

// filterHashAt returns C(n)<<16, for n of at least two halves.
func filterHashAt(p []byte, n int) uint32 {
	var c uint32
	for i := n - half; i < n; i++ {
		c = c<<1 + gearIn[p[i]] + gearOut[p[i-half]]
	}
	return c
}

// scanBytes takes C(n)<<16 and returns the first m > n with C(m)<<16 < limit, and
// that hash. Without one it returns len(p).
//
// Since H(n) = H(n-1)<<1 + G[p[n-1]] and shifts lose nothing but what mod 2^16
// drops anyway, C has the same recurrence with one more term,
//
//	C(n) = C(n-1)<<1 + G[p[n-1]] + 0x9e37*G[p[n-17]]
//
// which costs one shift and two table look-ups a byte. The eight steps are
// written out with a branch each because that is what compiles best: one test
// for all eight takes half as long again.
func scanBytes(p []byte, n int, c, limit uint32) (int, uint32) {
	in, out := p[n:], p[n-half:len(p)-half]
	g, m := &gearIn, &gearOut
	for len(in) >= 8 && len(out) >= 8 {
		a, b := (*[8]byte)(in), (*[8]byte)(out)
		if c = c<<1 + (g[a[0]] + m[b[0]]); c < limit {
			return len(p) - len(in) + 1, c
		}
		if c = c<<1 + (g[a[1]] + m[b[1]]); c < limit {
			return len(p) - len(in) + 2, c
		}
		if c = c<<1 + (g[a[2]] + m[b[2]]); c < limit {
			return len(p) - len(in) + 3, c
		}
		if c = c<<1 + (g[a[3]] + m[b[3]]); c < limit {
			return len(p) - len(in) + 4, c
		}
		if c = c<<1 + (g[a[4]] + m[b[4]]); c < limit {
			return len(p) - len(in) + 5, c
		}
		if c = c<<1 + (g[a[5]] + m[b[5]]); c < limit {
			return len(p) - len(in) + 6, c
		}
		if c = c<<1 + (g[a[6]] + m[b[6]]); c < limit {
			return len(p) - len(in) + 7, c
		}
		if c = c<<1 + (g[a[7]] + m[b[7]]); c < limit {
			return len(p) - len(in) + 8, c
		}
		in, out = in[8:], out[8:]
	}
	for i, b := range in {
		if c = c<<1 + (g[b] + m[out[i]]); c < limit {
			return len(p) - len(in) + i + 1, c
		}
	}
	return len(p), c
}
