// Package formattest reads what Cairn stores with a second decoder, written from the pages cas/pack/FORMAT.md and
// manifest/FORMAT.md alone. So what only the code says is found, and a change of the code that the pages do not tell
// fails a test. The decoder imports none of this module: imports_test.go sees to that.
package formattest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/zeebo/blake3"
)

// errDamage is what bytes are that no writer makes, errUnknown what a later one might.
var (
	errDamage  = errors.New("damage")
	errUnknown = errors.New("unknown")
)

func damage(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errDamage, fmt.Sprintf(format, args...))
}

func unknown(format string, args ...any) error {
	return fmt.Errorf("%w: %s", errUnknown, fmt.Sprintf(format, args...))
}

type (
	digest [32]byte
	id16   [16]byte
)

// derive is the page's BLAKE3-derive, cut to n bytes.
func derive(n int, context string, parts ...[]byte) []byte {
	h := blake3.NewDeriveKey(context)
	for _, p := range parts {
		h.Write(p)
	}
	out := make([]byte, n)
	h.Digest().Read(out)
	return out
}

// A cursor reads fields from the front of rest. The first one that is not whole sets err, and all after it are zero.
type cursor struct {
	rest []byte
	err  error
}

func (c *cursor) fail(format string, args ...any) {
	if c.err == nil {
		c.err = damage(format, args...)
	}
	c.rest = nil
}

func (c *cursor) take(n uint64) []byte {
	if n > uint64(len(c.rest)) {
		c.fail("%d bytes wanted, %d there", n, len(c.rest))
		return nil
	}
	out := c.rest[:n]
	c.rest = c.rest[n:]
	return out
}

func (c *cursor) octet() byte {
	if b := c.take(1); c.err == nil {
		return b[0]
	}
	return 0
}

func (c *cursor) id() (out id16) {
	copy(out[:], c.take(16))
	return out
}

func (c *cursor) digest() (out digest) {
	copy(out[:], c.take(32))
	return out
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); c.err == nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

func (c *cursor) u64() uint64 {
	if b := c.take(8); c.err == nil {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// number reads an unsigned LEB128 number in its shortest form.
func (c *cursor) number() uint64 {
	var v uint64
	for i := 0; ; i++ {
		b := c.octet()
		if c.err != nil {
			return 0
		}
		if i == 9 && b > 1 {
			c.fail("number of more than 64 bits")
			return 0
		}
		v |= uint64(b&0x7f) << (7 * i)
		if b < 0x80 {
			if i > 0 && b == 0 {
				c.fail("number that is not in its shortest form")
				return 0
			}
			return v
		}
	}
}

// size reads a number under 2^63 that is at least low.
func (c *cursor) size(low uint64) uint64 {
	v := c.number()
	if c.err == nil && (v < low || v >= 1<<63) {
		c.fail("number %d where it is from %d to 2^63", v, low)
		return 0
	}
	return v
}

// sized reads bytes behind their length.
func (c *cursor) sized() []byte { return c.take(c.number()) }

func (c *cursor) end() error {
	if c.err == nil && len(c.rest) != 0 {
		c.fail("%d bytes after the end", len(c.rest))
	}
	return c.err
}

// mulAdd is sum + a*b, or an error from 2^63 on.
func mulAdd(sum, a, b uint64) (uint64, error) {
	hi, lo := bits.Mul64(a, b)
	if hi != 0 || lo >= 1<<63 || sum+lo >= 1<<63 {
		return 0, damage("sum of 2^63 or more")
	}
	return sum + lo, nil
}
