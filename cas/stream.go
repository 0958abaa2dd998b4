package cas

import "io"

// inPlace is the longest chunk of a stream that is read straight into units. A
// unit has room for one chunk of this length behind its end.
const inPlace = 256 << 10

// Chunks are cut from a stream, as by a chunker.Chunker.
type Chunks interface {
	Next() ([]byte, error)
	Rest() []byte
	Swap(buf []byte) (old []byte)
	Max() int
}

// PutAll adds the chunks of c until its end, where it returns nil, or until it
// fails, where it returns the error: what c has not returned by then is Rest.
// Progress, if not nil, receives the number of bytes after every chunk.
//
// The first chunk, and all of a small stream, is read into c's own buffer, so
// that an upload that waits for its first bytes holds no unit. From then on c
// reads into units, where its chunks are hashed and, if new, written from.
func (b *Batch) PutAll(c Chunks, progress func(n int64)) error {
	var own []byte // c's buffer, while it works in a unit
	lent := false  // whether it does
	defer func() {
		if lent {
			if rest := c.Rest(); len(own) < len(rest) {
				own = make([]byte, len(rest))
			}
			c.Swap(own)
		}
	}()
	var n int64
	for {
		p, err := c.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		if lent {
			err = b.putLying(c, p)
		} else if err = b.Put(p); err == nil && c.Max() <= inPlace {
			own, lent = c.Swap(b.unit.space()), true
		}
		if err != nil {
			return err
		}
		if n += int64(len(p)); progress != nil {
			progress(n)
		}
	}
}

// putLying adds a chunk that lies in the unit already, behind the last one. If
// the unit is full, the chunk is copied to the next one, and c reads on there.
func (b *Batch) putLying(c Chunks, p []byte) error {
	u := b.unit
	if u.fits(p) {
		u.buf = u.buf[:len(u.buf)+len(p)]
		u.ends = append(u.ends, len(u.buf))
		return nil
	}
	next := b.s.units.Get().(*unit)
	next.buf = append(next.buf, p...)
	next.ends = append(next.ends, len(next.buf))
	c.Swap(next.space())
	err := b.sendUnit()
	b.unit = next
	return err
}
