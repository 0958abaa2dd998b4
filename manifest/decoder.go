package manifest

import (
	"encoding/binary"
	"math"
)

// A decoder takes values off the front of p. After a failure it yields zero
// values, and bad says that it has failed.
type decoder struct {
	p   []byte
	bad bool
}

func (d *decoder) fail() { d.bad, d.p = true, nil }

// must fails unless ok.
func (d *decoder) must(ok bool) {
	if !ok {
		d.fail()
	}
}

// takeBytes takes n bytes, which belong to the input.
func (d *decoder) takeBytes(n uint64) []byte {
	if d.bad || n > uint64(len(d.p)) {
		d.fail()
		return nil
	}
	v := d.p[:n]
	d.p = d.p[n:]
	return v
}

// takeInto takes as many bytes as out has.
func (d *decoder) takeInto(out []byte) { copy(out, d.takeBytes(uint64(len(out)))) }

// takeNumber takes a number in its shortest form.
func (d *decoder) takeNumber() uint64 {
	n, k := binary.Uvarint(d.p)
	if k <= 0 || (k > 1 && d.p[k-1] == 0) {
		d.fail()
		return 0
	}
	d.p = d.p[k:]
	return n
}

// takeSize takes a number that is at most math.MaxInt64.
func (d *decoder) takeSize() int64 {
	n := d.takeNumber()
	if n > math.MaxInt64 {
		d.fail()
		return 0
	}
	return int64(n)
}

// takeField takes the field with a tag if it comes next, else nil. The bytes
// belong to the input.
func (d *decoder) takeField(tag byte) []byte {
	if d.bad || len(d.p) == 0 || d.p[0] != tag {
		return nil
	}
	d.p = d.p[1:]
	n := d.takeNumber()
	d.must(n > 0)
	return d.takeBytes(n)
}
