package cas

import "sync"

// cores has room for one token per core. Who hashes, encodes or decodes holds
// one, so that no more goroutines do so than there are cores.
type cores chan struct{}

func (c cores) take() { c <- struct{}{} }
func (c cores) give() { <-c }

// buffers are reused for payloads and plain bytes of frames.
type buffers struct{ pool sync.Pool } // of *[]byte

func newBuffers() *buffers {
	return &buffers{sync.Pool{New: func() any { b := make([]byte, 0, FrameSize+FrameSize/4); return &b }}}
}

// get returns a buffer of n bytes, with room for a frame of usual size.
func (p *buffers) get(n int) []byte {
	b := *p.pool.Get().(*[]byte)
	if cap(b) < n {
		p.put(b)
		b = make([]byte, n)
	}
	return b[:n]
}

// put gives b back; it must not be used any more. Large buffers are left to
// the garbage collector.
func (p *buffers) put(b []byte) {
	if cap(b) <= 2*FrameSize {
		p.pool.Put(&b)
	}
}
