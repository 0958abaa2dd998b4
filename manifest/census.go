package manifest

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/cairn-store/cairn/cas"
)

// A Census counts packs of a writer that need not exist: they were doomed, or
// are void. Ranges are in order, and neither overlap nor touch.
type Census struct {
	Writer [16]byte
	Ranges []SerialRange
}

// A SerialRange is all serials from First to Last, counted from 1.
type SerialRange struct{ First, Last uint64 }

// Add adds a serial.
func (c *Census) Add(serial uint64) { c.addRange(SerialRange{serial, serial}) }

// Merge adds the ranges of another census of the same writer.
func (c *Census) Merge(o *Census) {
	for _, r := range o.Ranges {
		c.addRange(r)
	}
}

// Has reports whether a serial is counted.
func (c *Census) Has(serial uint64) bool {
	_, ok := slices.BinarySearchFunc(c.Ranges, serial, func(r SerialRange, n uint64) int {
		switch {
		case r.Last < n:
			return -1
		case r.First > n:
			return 1
		}
		return 0
	})
	return ok
}

// CountVoids returns the void serials of each writer, in order of writers.
func CountVoids(voids []cas.Void) (cs []*Census) {
	for _, v := range voids {
		i, ok := slices.BinarySearchFunc(cs, v.Writer, func(c *Census, w [16]byte) int { return bytes.Compare(c.Writer[:], w[:]) })
		if !ok {
			cs = slices.Insert(cs, i, &Census{Writer: v.Writer})
		}
		cs[i].Add(v.Serial)
	}
	return cs
}

func (c *Census) addRange(r SerialRange) {
	// i is the first range that ends at r or behind it, j the first that begins
	// behind r and does not touch it.
	i, _ := slices.BinarySearchFunc(c.Ranges, r.First, func(e SerialRange, n uint64) int {
		if e.Last < n-1 {
			return -1
		}
		return 1
	})
	j := i
	for ; j < len(c.Ranges) && c.Ranges[j].First-1 <= r.Last; j++ {
		r.First, r.Last = min(r.First, c.Ranges[j].First), max(r.Last, c.Ranges[j].Last)
	}
	c.Ranges = slices.Replace(c.Ranges, i, j, r)
}

func (c *Census) isValid() bool {
	last := uint64(0)
	for i, r := range c.Ranges {
		if r.First == 0 || r.Last < r.First || i > 0 && r.First-1 <= last {
			return false
		}
		last = r.Last
	}
	return len(c.Ranges) > 0
}

// appendTo appends the writer, and of each range its distance from the one
// before and its length.
func (c *Census) appendTo(b []byte) []byte {
	b = append(b, c.Writer[:]...)
	last := uint64(0)
	for _, r := range c.Ranges {
		b = binary.AppendUvarint(b, r.First-last)
		b = binary.AppendUvarint(b, r.Last-r.First)
		last = r.Last
	}
	return b
}

// decodeCensus decodes what appendTo wrote and refuses everything else.
func decodeCensus(body []byte) (*Census, bool) {
	if len(body) < 16 {
		return nil, false
	}
	c := &Census{Writer: [16]byte(body[:16])}
	last := uint64(0)
	for d := (&decoder{p: body[16:]}); len(d.p) > 0; {
		first := last + d.takeNumber()
		end := first + d.takeNumber()
		if d.bad || first < last || end < first {
			return nil, false
		}
		c.Ranges = append(c.Ranges, SerialRange{first, end})
		last = end
	}
	return c, c.isValid()
}

// AppendBinary appends an encoding of c, for databases.
func (c *Census) AppendBinary(b []byte) ([]byte, error) { return c.appendTo(b), nil }

// UnmarshalBinary decodes what AppendBinary wrote.
func (c *Census) UnmarshalBinary(p []byte) error {
	d, ok := decodeCensus(p)
	if !ok {
		return ErrFormat
	}
	*c = *d
	return nil
}
