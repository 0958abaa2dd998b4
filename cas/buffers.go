package cas

import "sync"

// cores has room for one token per core. Who hashes, encodes or decodes holds
// one, so that no more goroutines do so than there are cores.
type cores chan struct{}

func (c cores) take() { c <- struct{}{} }
func (c cores) give() { <-c }

const (
	smallBuffer = 64 << 10                // of frames of small files and of records
	frameBuffer = FrameSize + FrameSize/4 // of frames of usual size
)

// buffers are reused for payloads and plain bytes of frames. There are small
// ones too, since a store that has just been opened for a few small files would
// spend its time on clearing large ones.
type buffers struct{ small, large sync.Pool } // of *[]byte

// get returns a buffer of n bytes, with some room behind them.
func (p *buffers) get(n int) []byte {
	pool, size := &p.large, frameBuffer
	switch {
	case n <= smallBuffer:
		pool, size = &p.small, smallBuffer
	case n > frameBuffer:
		return make([]byte, n)
	}
	if b, ok := pool.Get().(*[]byte); ok {
		return (*b)[:n]
	}
	return make([]byte, n, size)
}

// put gives b back; it must not be used any more. Large buffers are left to
// the garbage collector.
func (p *buffers) put(b []byte) {
	switch n := cap(b); {
	case n >= smallBuffer && n < frameBuffer:
		p.small.Put(&b)
	case n >= frameBuffer && n <= 2*FrameSize:
		p.large.Put(&b)
	}
}

// grow returns b with room for n more bytes, for which it may take another
// buffer.
func (p *buffers) grow(b []byte, n int) []byte {
	if len(b)+n <= cap(b) {
		return b
	}
	larger := append(p.get(len(b) + n)[:0], b...)
	p.put(b)
	return larger
}
