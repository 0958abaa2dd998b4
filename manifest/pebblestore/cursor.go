package pebblestore

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
)

// A cursor is an iterator of Pebble that Close may close, while it rests. Until then
// it is one call of the database, and Close waits for it: so a function that yields to
// its caller, who may never come back, or call Close, lets it rest meanwhile.
type cursor struct {
	*pebble.Iterator
	life    *cas.Lifetime
	release func()
	rests   bool
}

// newCursor returns a cursor over keys of the rows that s reads.
func (s rows) newCursor(o *pebble.IterOptions) (*cursor, error) {
	life := s.d.life
	if err := life.Enter(); err != nil {
		return nil, err
	}
	it, err := s.r.NewIter(o)
	if err != nil {
		life.Leave()
		return nil, asDamageIfCorrupt(err)
	}
	return &cursor{Iterator: it, life: life, release: life.Hold(func() { _ = it.Close() })}, nil
}

// newPrefixCursor returns a cursor over the keys that begin with prefix.
func (s rows) newPrefixCursor(prefix []byte) (*cursor, error) {
	return s.newCursor(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
}

// rest lets the cursor be closed until work is called. Its key and value are not valid
// any more.
func (c *cursor) rest() {
	c.rests = true
	c.life.Leave()
}

// work ends the rest. It returns cas.ErrClosed if the cursor was closed, or is about to
// be.
func (c *cursor) work() error {
	if err := c.life.Enter(); err != nil {
		return err
	}
	c.rests = false
	return nil
}

// Close closes the iterator, unless that is done.
func (c *cursor) Close() {
	c.release()
	if !c.rests {
		c.rest()
	}
}
