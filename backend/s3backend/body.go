package s3backend

import (
	"errors"
	"io"
	"sync"
)

const blockSize = 1 << 20

type block [blockSize]byte

// A body holds the bytes of an object, or of a part, in blocks from a pool.
type body struct {
	pool   *sync.Pool // of *block
	blocks []*block
	size   int64
}

func (d *body) write(p []byte) {
	for len(p) > 0 {
		at := int(d.size % blockSize)
		if at == 0 {
			d.blocks = append(d.blocks, d.pool.Get().(*block))
		}
		n := copy(d.blocks[len(d.blocks)-1][at:], p)
		d.size += int64(n)
		p = p[n:]
	}
}

// free returns the blocks to the pool. All readers have been stopped before.
func (d *body) free() {
	for _, k := range d.blocks {
		d.pool.Put(k)
	}
	d.blocks, d.size = nil, 0
}

// reader returns a reader for one attempt to send the body.
func (d *body) reader() *bodyReader { return &bodyReader{d: d} }

// A bodyReader is an io.ReadSeeker. An HTTP transport may go on reading after
// its request has failed, so the reader is stopped before the body is freed.
type bodyReader struct {
	d *body

	// mu guards what follows. Read holds it while it copies, so that after
	// stop nothing reads d.
	mu      sync.Mutex
	off     int64
	stopped bool
}

var errStopped = errors.New("the attempt is over")

func (r *bodyReader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stopped:
		return 0, errStopped
	case len(p) == 0:
		return 0, nil
	case r.off >= r.d.size:
		return 0, io.EOF
	}
	k := r.d.blocks[r.off/blockSize]
	at := r.off % blockSize
	n := copy(p, k[at:min(blockSize, at+r.d.size-r.off)])
	r.off += int64(n)
	return n, nil
}

func (r *bodyReader) Seek(offset int64, whence int) (int64, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopped {
		return 0, errStopped
	}
	switch whence {
	case io.SeekCurrent:
		offset += r.off
	case io.SeekEnd:
		offset += r.d.size
	}
	if offset < 0 {
		return 0, errors.New("negative offset")
	}
	r.off = offset
	return offset, nil
}

func (r *bodyReader) stop() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = true
}
