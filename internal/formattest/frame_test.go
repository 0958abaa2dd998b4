package formattest

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/zeebo/blake3"
)

const (
	frameFixedLen = 40
	frameSumLen   = 16
)

type slot struct {
	digest []byte // of records 16 bytes, else 32
	length uint64
	plain  []byte // after decode
}

type frame struct {
	offset                int
	version               byte
	kind, codec, flags    byte
	headerLen, payloadLen int
	payloadSum            uint32
	id                    id16
	key                   uint64
	first, last, base     uint64 // of records
	block                 []byte // if sealed, as it stands there
	slots                 []slot
	header, payload       []byte // the header without its sum
}

func isUnknown(err error) bool { return errors.Is(err, errUnknown) }

func (f *frame) end() int     { return f.offset + f.headerLen + f.payloadLen }
func (f *frame) sealed() bool { return f.flags&1 != 0 }

// parseFixed reads the bytes 0 to 39, of which the check is.
func parseFixed(pack id16, offset uint64, b []byte) (*frame, error) {
	if len(b) < frameFixedLen || string(b[:4]) != "CrnF" {
		return nil, damage("no frame")
	}
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], offset)
	if castagnoli(pack[:], at[:], b[:36]) != binary.LittleEndian.Uint32(b[36:]) {
		return nil, damage("check of a frame")
	}
	f := &frame{
		offset: int(offset), version: b[4], kind: b[5], codec: b[6], flags: b[7],
		headerLen:  int(binary.LittleEndian.Uint32(b[8:])),
		payloadLen: int(binary.LittleEndian.Uint32(b[12:])),
		payloadSum: binary.LittleEndian.Uint32(b[16:]),
		id:         id16(b[20:36]),
	}
	if f.headerLen < frameFixedLen+frameSumLen || f.headerLen > 4<<20 {
		return nil, damage("frame header of %d bytes", f.headerLen)
	}
	return f, nil
}

// parseFrame reads the header at the front of b, which is that far into its pack.
func parseFrame(pack id16, offset uint64, b []byte) (*frame, error) {
	f, err := parseFixed(pack, offset, b)
	if err != nil {
		return nil, err
	}
	if f.headerLen > len(b) {
		return nil, damage("frame header is cut off")
	}
	f.header = b[:f.headerLen-frameSumLen]
	var at [8]byte
	binary.LittleEndian.PutUint64(at[:], offset)
	if !bytes.Equal(derive(frameSumLen, contextFrame, pack[:], at[:], f.header), b[len(f.header):f.headerLen]) {
		return nil, damage("sum of a frame header")
	}
	return f, f.parseRest(&cursor{rest: f.header[frameFixedLen:]}, true)
}

// parseRest reads the header from byte 40 on. It is called of bytes whose sum is right.
func (f *frame) parseRest(c *cursor, withBlock bool) error {
	switch {
	case f.version != 2:
		return unknown("frame version %d", f.version)
	case f.kind < kindData || f.kind > kindNotes:
		return unknown("kind %d", f.kind)
	case f.codec > codecGzip:
		return unknown("codec %d", f.codec)
	case f.flags > 1:
		return unknown("flags %x of a frame", f.flags)
	case f.payloadLen > maxFramePart:
		return damage("payload of %d bytes", f.payloadLen)
	}
	if f.sealed() {
		if f.key = c.u64(); f.key == 0 {
			c.fail("key 0")
		}
	}
	if f.kind == kindRecords {
		f.first, f.last, f.base = c.number(), c.number(), c.number()
		f.last += f.first
		if f.last < f.first {
			c.fail("numbers of commits")
		}
	}
	if c.err != nil || !withBlock {
		return c.err
	}
	f.block = c.take(uint64(len(c.rest)))
	if f.sealed() {
		return nil
	}
	return f.parseBlock(f.block)
}

// parseBlock reads the block, opened if it was sealed.
func (f *frame) parseBlock(block []byte) error {
	c := &cursor{rest: block}
	slots, sources := c.number(), c.number()
	if slots > 65536 || sources > 64 {
		return damage("block of %d slots and %d sources", slots, sources)
	}
	if sources > 0 {
		return unknown("sources of codec %d", f.codec)
	}
	width := uint64(32)
	if f.kind == kindRecords {
		width = 16
	}
	var plain uint64
	for range slots {
		s := slot{digest: c.take(width), length: c.number()}
		if s.length > maxFramePart {
			c.fail("slot of %d bytes", s.length)
		}
		if plain += s.length; plain > maxFramePart {
			c.fail("slots of %d bytes", plain)
		}
		if c.err != nil {
			return c.err
		}
		f.slots = append(f.slots, s)
	}
	return c.end()
}

// decode fills the slots with their bytes, and verifies checksum and digests. open, if any, opens what is sealed.
func (f *frame) decode(open func(f *frame, part byte, sealed []byte) ([]byte, error)) error {
	if castagnoli(f.payload) != f.payloadSum {
		return damage("checksum of a payload")
	}
	payload := f.payload
	if f.sealed() {
		block, err := open(f, 0, f.block)
		if err != nil {
			return err
		}
		if payload, err = open(f, 1, payload); err != nil {
			return err
		}
		if err := f.parseBlock(block); err != nil {
			return err
		}
	}
	var want uint64
	for _, s := range f.slots {
		want += s.length
	}
	plain, err := decodePayload(f.codec, payload, want)
	if err != nil {
		return err
	}
	if uint64(len(plain)) != want {
		return damage("payload of %d bytes, slots of %d", len(plain), want)
	}
	for i := range f.slots {
		s := &f.slots[i]
		s.plain, plain = plain[:s.length:s.length], plain[s.length:]
		if !bytes.Equal(digestOf(f.kind, s.plain), s.digest) {
			return damage("digest of slot %d", i)
		}
	}
	return nil
}

func digestOf(kind byte, b []byte) []byte {
	switch kind {
	case kindData:
		d := blake3.Sum256(b)
		return d[:]
	case kindSegments:
		return derive(32, contextSegment, b)
	case kindRecords:
		return derive(16, contextRecord, b)
	}
	return derive(32, contextNote, b)
}

// decodePayload decodes one zstd frame or one member of gzip that has no bytes after it.
func decodePayload(codec byte, b []byte, want uint64) ([]byte, error) {
	switch codec {
	case codecZstd:
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(maxFramePart))
		if err != nil {
			return nil, err
		}
		defer d.Close()
		out, err := d.DecodeAll(b, make([]byte, 0, want))
		if err != nil {
			return nil, damage("zstd: %v", err)
		}
		return out, nil
	case codecGzip:
		in := bytes.NewReader(b)
		r, err := gzip.NewReader(in)
		if err != nil {
			return nil, damage("gzip: %v", err)
		}
		r.Multistream(false)
		out, err := io.ReadAll(io.LimitReader(r, int64(want)+1))
		if err != nil || in.Len() != 0 {
			return nil, damage("gzip: %v, %d bytes left", err, in.Len())
		}
		return out, nil
	}
	return b, nil
}

// A voidSerial is what a note of type 1 says.
type voidSerial struct {
	writer id16
	serial uint64
}

func parseNote(b []byte) (voidSerial, error) {
	c := &cursor{rest: b}
	kind := c.octet()
	if c.err == nil && kind != 1 {
		return voidSerial{}, unknown("note %d", kind)
	}
	v := voidSerial{writer: c.id(), serial: c.number()}
	return v, c.end()
}
