package cas

import (
	"sync/atomic"

	"github.com/cairn-store/cairn/cas/pack"
)

// A unit is a run of chunks that are hashed and looked up together. The step
// that has received it owns it; buf may be read by users until they release it.
type unit struct {
	buf     []byte
	ends    []int // of each chunk in buf
	ds      []Digest
	found   []found
	since   int64         // Batch.countOthers before it was looked up
	counted bool          // it takes room
	err     error         // of the look-up
	ready   chan struct{} // closed when it has been looked up
	users   atomic.Int32  // that still read buf
}

// fits reports whether the unit has room for one more chunk. An empty unit
// takes a chunk of any length.
func (u *unit) fits(chunk []byte) bool {
	return len(u.buf) == 0 || len(u.buf)+len(chunk) <= unitSize
}

// space is the room behind the chunks.
func (u *unit) space() []byte { return u.buf[len(u.buf):cap(u.buf)] }

// chunk returns the bytes of the chunk number i.
func (u *unit) chunk(i int) []byte {
	start := 0
	if i > 0 {
		start = u.ends[i-1]
	}
	return u.buf[start:u.ends[i]]
}

// lookUpUnit hashes the chunks of u and looks them up.
func (b *Batch) lookUpUnit(u *unit) {
	u.since = b.countOthers()
	u.ds = u.ds[:0]
	for i := range u.ends {
		u.ds = append(u.ds, pack.Sum(u.chunk(i)))
	}
	u.found = append(u.found[:0], make([]found, len(u.ds))...)
	u.err = b.s.pack.findChunks(b.ctx, b.opts.Since, u.ds, u.found)
}

// releaseUnit ends one use of u. After the last one u is reused.
func (b *Batch) releaseUnit(u *unit) {
	if u.users.Add(-1) > 0 {
		return
	}
	if u.counted {
		u.counted = false
		b.s.unitRoom.giveRoom(&b.unitsHeld)
	}
	if cap(u.buf) <= 2*unitSize {
		u.buf, u.ends, u.err = u.buf[:0], u.ends[:0], nil
		b.s.units.Put(u)
	}
}
