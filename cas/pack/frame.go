package pack

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
)

// Limits of the format: what a reader accepts, whatever a header says.
const (
	MaxPlain   = 16 << 20 // plain bytes of a frame
	MaxPayload = 16 << 20 // stored bytes of its payload
	MaxSlots   = 1 << 16
	MaxSources = 64
	maxHeader  = 4 << 20 // bytes of a frame's header
)

const (
	frameTag     = "CrnF"
	frameVersion = 2
	flagSealed   = 1
	checkAt      = 36 // offset of the check
	frameFixed   = 40 // bytes before the part that depends on kind and flags
	frameSum     = 16
	recordDigest = 16 // bytes of a record's digest that are stored

	frameVersionName = "frame version"
)

// A Frame is what the header of a frame says. The payload follows the header.
type Frame struct {
	ID        FrameID
	Pack      ID
	Offset    int64 // of the header in the pack
	HeaderLen uint32
	StoredLen uint32 // bytes of payload
	CRC       uint32 // CRC-32C of the payload
	Kind      Kind
	Codec     Codec

	// Key is the key that block and payload are sealed with, 0 if they are not.
	Key uint64

	// Of a frame of records: the numbers of the first and of the last commit
	// in it, and the base of the checkpoint that it is a part of, or 0.
	First, Last, Base uint64

	Slots   []Ref // in the order of the plain bytes
	Sources []Source

	// Block is the sealed form of Slots and Sources, nil if they are not
	// sealed. A caller that has opened it passes the plain form to ParseBlock.
	Block []byte
}

// End is the offset behind the frame.
func (f *Frame) End() int64 { return f.Offset + int64(f.HeaderLen) + int64(f.StoredLen) }

// PlainLen returns how many plain bytes the slots have.
func (f *Frame) PlainLen() (n uint32) {
	for i := range f.Slots {
		n += f.Slots[i].Length
	}
	return n
}

// ErrHeader reports a frame header that is damaged.
var ErrHeader = errors.New("frame header is damaged")

// AppendFrame appends the header of f at f.Offset of f.Pack and sets its
// HeaderLen. Check and sum bind it to that place: bytes that a user stores
// cannot pose as a frame, since nobody knows a pack's ID before it is written.
func AppendFrame(b []byte, f *Frame) []byte {
	start := len(b)
	flags := byte(0)
	if f.Key != 0 {
		flags = flagSealed
	}
	b = append(b, frameTag...)
	b = append(b, frameVersion, byte(f.Kind), byte(f.Codec), flags)
	b = append(b, 0, 0, 0, 0) // header length
	b = binary.LittleEndian.AppendUint32(b, f.StoredLen)
	b = binary.LittleEndian.AppendUint32(b, f.CRC)
	b = append(b, f.ID[:]...)
	b = append(b, 0, 0, 0, 0) // check
	if f.Key != 0 {
		b = binary.LittleEndian.AppendUint64(b, f.Key)
	}
	if f.Kind == KindRecord {
		b = binary.AppendUvarint(b, f.First)
		b = binary.AppendUvarint(b, f.Last-f.First)
		b = binary.AppendUvarint(b, f.Base)
	}
	if f.Key != 0 {
		b = append(b, f.Block...)
	} else {
		b = AppendBlock(b, f)
	}
	h := b[start:]
	f.HeaderLen = uint32(len(h) + frameSum)
	binary.LittleEndian.PutUint32(h[8:], f.HeaderLen)
	binary.LittleEndian.PutUint32(h[checkAt:], checkOf(h, f.Pack, f.Offset))
	sum := sumOf(h, f.Pack, f.Offset)
	return append(b, sum[:]...)
}

// AppendBlock appends the part of a header that is sealed in sealed frames:
// slots and sources.
func AppendBlock(b []byte, f *Frame) []byte {
	b = binary.AppendUvarint(b, uint64(len(f.Slots)))
	b = binary.AppendUvarint(b, uint64(len(f.Sources)))
	n := len(Digest{})
	if f.Kind == KindRecord {
		n = recordDigest
	}
	for i := range f.Slots {
		b = append(b, f.Slots[i].Digest[:n]...)
		b = binary.AppendUvarint(b, uint64(f.Slots[i].Length))
	}
	for i := range f.Sources {
		s := &f.Sources[i]
		b = append(b, s.Digest[:]...)
		b = binary.AppendUvarint(b, uint64(s.Offset))
		b = binary.AppendUvarint(b, uint64(s.Length))
	}
	return b
}

// placeOf returns the place of a frame, which check and sum cover first.
func placeOf(pack ID, off int64) (p [24]byte) {
	copy(p[:], pack[:])
	binary.LittleEndian.PutUint64(p[16:], uint64(off))
	return p
}

func checkOf(h []byte, pack ID, off int64) uint32 {
	p, table := placeOf(pack, off), crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum(p[:], table), table, h[:checkAt])
}

func sumOf(h []byte, pack ID, off int64) [frameSum]byte {
	p := placeOf(pack, off)
	sum := headerHash.Sum(append(append(make([]byte, 0, len(p)+len(h)), p[:]...), h...))
	return [frameSum]byte(sum[:frameSum])
}

// headerLength returns the length of the header that p begins with, or 0 if p
// does not begin with a header that was written for offset off of the pack. It
// looks only at fields that all versions have.
func headerLength(p []byte, pack ID, off int64) int {
	if len(p) < frameFixed || string(p[:4]) != frameTag {
		return 0
	}
	n := binary.LittleEndian.Uint32(p[8:])
	if n < frameFixed+frameSum || n > maxHeader || binary.LittleEndian.Uint32(p[checkAt:]) != checkOf(p, pack, off) {
		return 0
	}
	return int(n)
}

// ParseFrame reads the header p, whole and no more, at offset off of a pack.
func ParseFrame(p []byte, pack ID, off int64) (*Frame, error) {
	n := headerLength(p, pack, off)
	if n == 0 || n != len(p) || sumOf(p[:n-frameSum], pack, off) != [frameSum]byte(p[n-frameSum:]) {
		return nil, ErrHeader
	}
	f, _, err := parseFixed(p[:n-frameSum], pack, off, true)
	return f, err
}

// parseFixed reads a header without its sum. With withBlock p is the header and
// no more. Without, p may go on behind it, as in the line of a footer, where a
// frame of records has no block; parseFixed returns what follows.
func parseFixed(p []byte, pack ID, off int64, withBlock bool) (*Frame, []byte, error) {
	unknown := func(what string, value uint64) error {
		return &UnknownError{What: what, Value: value, Pack: pack, Offset: off}
	}
	if p[4] != frameVersion {
		return nil, nil, unknown(frameVersionName, uint64(p[4]))
	}
	if k := Kind(p[5]); !k.Known() {
		return nil, nil, unknown("frame kind", uint64(k))
	}
	if flags := p[7]; flags&^flagSealed != 0 {
		return nil, nil, unknown("frame flags", uint64(flags))
	}
	f := &Frame{
		Pack: pack, Offset: off, Kind: Kind(p[5]), Codec: Codec(p[6]),
		HeaderLen: binary.LittleEndian.Uint32(p[8:]),
		StoredLen: binary.LittleEndian.Uint32(p[12:]),
		CRC:       binary.LittleEndian.Uint32(p[16:]),
		ID:        FrameID(p[20:checkAt]),
	}
	if f.StoredLen > MaxPayload {
		return nil, nil, ErrHeader
	}
	n := int(f.HeaderLen) - frameSum
	sealed := p[7]&flagSealed != 0
	p = p[frameFixed:]
	if sealed {
		if len(p) < 8 {
			return nil, nil, ErrHeader
		}
		if f.Key = binary.LittleEndian.Uint64(p); f.Key == 0 {
			return nil, nil, ErrHeader
		}
		p = p[8:]
	}
	if f.Kind == KindRecord {
		c := cutter{p: p}
		f.First = c.cutUvarint()
		f.Last = f.First + c.cutUvarint()
		f.Base = c.cutUvarint()
		if c.bad || f.Last < f.First {
			return nil, nil, ErrHeader
		}
		p = c.p
		if !withBlock {
			return f, p, nil
		}
	}
	block := p
	if !withBlock {
		used := frameFixed
		if sealed {
			used += 8
		}
		if n < used || n-used > len(p) {
			return nil, nil, ErrHeader
		}
		block, p = p[:n-used], p[n-used:]
	}
	if sealed {
		f.Block = append([]byte{}, block...)
		return f, p, nil
	}
	return f, p, f.ParseBlock(block)
}

// ParseBlock reads slots and sources as AppendBlock wrote them.
func (f *Frame) ParseBlock(p []byte) error {
	c := cutter{p: p}
	slots, sources := c.cutUvarint(), c.cutUvarint()
	n := len(Digest{})
	if f.Kind == KindRecord {
		n = recordDigest
	}
	if c.bad || slots > MaxSlots || sources > MaxSources || uint64(len(c.p)) < slots*uint64(n+1)+sources*uint64(len(Digest{})+2) {
		return ErrHeader
	}
	if sources > 0 && f.Codec <= Gzip {
		return &UnknownError{What: "sources of codec", Value: uint64(f.Codec), Pack: f.Pack, Offset: f.Offset}
	}
	f.Slots = make([]Ref, slots)
	plain := uint64(0)
	for i := range f.Slots {
		c.cutDigest(&f.Slots[i].Digest, n)
		f.Slots[i].Length = c.cutUint32()
		plain += uint64(f.Slots[i].Length)
	}
	f.Sources = nil
	for range sources {
		var s Source
		c.cutDigest(&s.Digest, len(s.Digest))
		s.Offset, s.Length = c.cutUint32(), c.cutUint32()
		f.Sources = append(f.Sources, s)
	}
	if c.bad || len(c.p) > 0 || plain > MaxPlain {
		return ErrHeader
	}
	return nil
}

// A cutter takes fields off the front of p. It sets bad when one is not whole.
type cutter struct {
	p   []byte
	bad bool
}

// cutUvarint takes an unsigned LEB128 number in its shortest form.
func (c *cutter) cutUvarint() uint64 {
	v, n := binary.Uvarint(c.p)
	if n <= 0 || n > 1 && c.p[n-1] == 0 {
		c.p, c.bad = nil, true
		return 0
	}
	c.p = c.p[n:]
	return v
}

func (c *cutter) cutUint32() uint32 {
	v := c.cutUvarint()
	if v > 1<<32-1 {
		c.bad = true
	}
	return uint32(v)
}

func (c *cutter) cutDigest(d *Digest, n int) {
	if len(c.p) < n {
		c.p, c.bad = nil, true
		return
	}
	copy(d[:n], c.p)
	c.p = c.p[n:]
}
