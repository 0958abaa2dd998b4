package cas

import (
	"context"
	"sync/atomic"

	"github.com/cairn-store/cairn/cas/pack"
)

// A unit is a run of chunks that are hashed and looked up together.
type unit struct {
	buf     []byte
	ends    []int // of each chunk in buf
	ds      []Digest
	found   []found
	since   int64 // frames of others when it was looked up
	counted bool  // it has taken room
	err     error
	ready   chan struct{}
	users   atomic.Int32 // that still read buf
}

// fits reports whether the unit has room for one more chunk. An empty one has
// for any.
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

// found is the answer to: is this chunk stored?
type found struct {
	known bool
	at    place // to wait for, when it is on its way
}

// others counts the frames that others than b have appended. It never counts
// one that is appended after the call; b's own, just under way, may lower it.
func (b *Batch) others() int64 {
	all := b.s.appended.Load()
	return all - b.appended.Load()
}

// lookUp hashes the chunks of u and asks the index for them.
func (b *Batch) lookUp(u *unit) {
	u.since = b.others()
	b.s.lookUp(b.ctx, u)
}

func (s *Store) lookUp(ctx context.Context, u *unit) {
	u.ds = u.ds[:0]
	for i := range u.ends {
		u.ds = append(u.ds, pack.Sum(u.chunk(i)))
	}
	u.found = append(u.found[:0], make([]found, len(u.ds))...)
	u.err = s.find(ctx, u.ds, u.found)
}

// find asks for each of ds whether it is stored or on its way. What is in
// flight is asked first: it leaves the flight only once the index knows it.
func (s *Store) find(ctx context.Context, ds []Digest, out []found) error {
	for i, d := range ds {
		if at, ok := s.pack.inFlight(d); ok {
			out[i] = found{true, at}
		}
	}
	entries := make([]ChunkEntry, len(ds))
	if err := s.ix.Chunks(ctx, ds, entries); err != nil {
		return err
	}
	for i := range entries {
		if entries[i].Usable() {
			out[i] = found{known: true}
		}
	}
	return nil
}

// done gives the unit back once all its users have.
func (b *Batch) done(u *unit) {
	if u.users.Add(-1) > 0 {
		return
	}
	if u.counted {
		u.counted = false
		b.s.unitRoom.give(&b.unitsHeld)
	}
	if cap(u.buf) <= 2*unitSize {
		u.buf, u.ends, u.err = u.buf[:0], u.ends[:0], nil
		b.s.units.Put(u)
	}
}
