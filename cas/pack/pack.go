// Package pack is the format of packs: their headers, their frames' headers,
// their footers, and the walk from one frame to the next. It decides nothing
// about what is read when. FORMAT.md describes every byte.
package pack

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"strings"
	"time"
)

// An ID names a pack. IDs begin with the time they were made, end in 80 random
// bits and are never used again.
type ID [16]byte

func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Prefix is what the backend keys of all packs begin with.
const Prefix = "packs/"

// Key is the backend key of the pack.
func (id ID) Key() string {
	s := id.String()
	return Prefix + s[len(s)-2:] + "/" + s
}

// ParseKey returns the ID of the pack that key belongs to; ok is false for the
// key of anything else.
func ParseKey(key string) (id ID, ok bool) {
	s, ok := strings.CutPrefix(key, Prefix)
	if !ok || len(s) != 3+2*len(id) {
		return id, false
	}
	if _, err := hex.Decode(id[:], []byte(s[3:])); err != nil {
		return id, false
	}
	return id, id.Key() == key
}

// ParseID reads what String wrote.
func ParseID(s string) (id ID, ok bool) {
	return ParseKey(Prefix + s[max(0, len(s)-2):] + "/" + s)
}

// A FrameID names a frame for ever, wherever it lies. It begins with the
// time, so that indexes grow at one end, and ends in 80 random bits.
type FrameID [16]byte

func (id FrameID) String() string { return hex.EncodeToString(id[:]) }

// NewID returns an ID that sorts by time and cannot be guessed.
func NewID() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], uint64(time.Now().UnixMilli())<<16)
	rand.Read(id[6:])
	return id
}

// A Ref is a reference to a chunk.
type Ref struct {
	Digest Digest
	Length uint32 // plain bytes
}

// A Source is a range of a chunk that a frame is decoded with.
type Source struct {
	Digest         Digest
	Offset, Length uint32
}

// A Codec says how the payload of a frame is encoded. Its values are part of
// the format.
type Codec uint8

const (
	Raw  Codec = 0
	Zstd Codec = 1
	Gzip Codec = 2
)

func (c Codec) String() string {
	switch c {
	case Raw:
		return "none"
	case Zstd:
		return "zstd"
	case Gzip:
		return "gzip"
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

// A Reader reads the bytes of one pack. It returns no partial result: a pack
// that ends before p is full is io.ErrUnexpectedEOF.
type Reader interface {
	ReadAt(ctx context.Context, p []byte, off int64) error
}

// ErrUnknown is what an *UnknownError satisfies.
var ErrUnknown = errors.New("not known to this program")

// An UnknownError reports something undamaged that a newer program has written,
// or a program that is too old. It is not damage, and must not be skipped.
type UnknownError struct {
	What   string // such as "codec"
	Value  uint64
	Pack   ID
	Offset int64 // of the frame or the footer, 0 of the pack's header
}

func (e *UnknownError) Error() string {
	hint := ""
	if e.What == packVersionName && e.Value < packVersion {
		hint = ": the store was made by an early version of Cairn, and there is no conversion"
	}
	return fmt.Sprintf("%s %d in pack %s at %d is %v%s", e.What, e.Value, e.Pack, e.Offset, ErrUnknown, hint)
}

// Is makes errors.Is(err, ErrUnknown) hold.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// Checksum is CRC-32C.
func Checksum(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

const (
	packMagic       = "CAIRNPK"
	packVersion     = Version
	packVersionName = "pack version"
	maxPackHeader   = 4096 // the longest header that a later version may have

	// Version is that of the packs that this program writes.
	Version = 2

	// HeaderSize is the length of a pack's header.
	HeaderSize = 128
)

// A Header is what a pack says of itself.
type Header struct {
	Pack     ID
	Store    [16]byte // the store, the domain and the writer it belongs to
	Domain   [16]byte
	Writer   [16]byte
	Serial   uint64 // of the writer's packs, from 1
	Previous ID     // the writer's pack before; of its first, the newest pack in the index
	Settled  uint64 // all serials of the writer up to this one are durable, void or doomed
	Time     int64  // of its making, Unix milliseconds
}

// AppendHeader appends the header of a pack.
func AppendHeader(b []byte, h *Header) []byte {
	start := len(b)
	b = append(b, packMagic...)
	b = append(b, packVersion)
	b = binary.LittleEndian.AppendUint32(b, HeaderSize)
	b = binary.LittleEndian.AppendUint32(b, 0) // flags
	b = append(b, h.Pack[:]...)
	b = append(b, h.Store[:]...)
	b = append(b, h.Domain[:]...)
	b = append(b, h.Writer[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.Serial)
	b = append(b, h.Previous[:]...)
	b = binary.LittleEndian.AppendUint64(b, h.Settled)
	b = binary.LittleEndian.AppendUint64(b, uint64(h.Time))
	b = binary.LittleEndian.AppendUint32(b, 0)
	return binary.LittleEndian.AppendUint32(b, Checksum(b[start:]))
}

// ErrPack reports a pack header that is damaged.
var ErrPack = errors.New("pack header is damaged")

// ParseHeader reads the header of the pack id from the beginning of the pack,
// of which HeaderSize bytes suffice in this version.
func ParseHeader(p []byte, id ID) (*Header, error) {
	if len(p) < 12 || string(p[:7]) != packMagic {
		return nil, ErrPack
	}
	if p[7] == 1 { // a header of version 1 has no length: it is 32 bytes, then their sum
		if len(p) < 36 || binary.LittleEndian.Uint32(p[32:]) != Checksum(p[:32]) {
			return nil, ErrPack
		}
		return nil, &UnknownError{What: packVersionName, Value: 1, Pack: id}
	}
	n := binary.LittleEndian.Uint32(p[8:])
	if n < 16 || n > maxPackHeader || int(n) > len(p) || binary.LittleEndian.Uint32(p[n-4:]) != Checksum(p[:n-4]) {
		return nil, ErrPack
	}
	unknown := func(what string, value uint32) error {
		return &UnknownError{What: what, Value: uint64(value), Pack: id}
	}
	if p[7] != packVersion {
		return nil, unknown(packVersionName, uint32(p[7]))
	}
	if n != HeaderSize {
		return nil, unknown("length of a pack header", n)
	}
	if flags := binary.LittleEndian.Uint32(p[12:]); flags != 0 {
		return nil, unknown("pack flags", flags)
	}
	if reserved := binary.LittleEndian.Uint32(p[120:]); reserved != 0 {
		return nil, unknown("reserved field of a pack header", reserved)
	}
	if ID(p[16:32]) != id {
		return nil, ErrPack
	}
	return &Header{
		Pack: id, Store: [16]byte(p[32:48]), Domain: [16]byte(p[48:64]), Writer: [16]byte(p[64:80]),
		Serial:   binary.LittleEndian.Uint64(p[80:]),
		Previous: ID(p[88:104]),
		Settled:  binary.LittleEndian.Uint64(p[104:]),
		Time:     int64(binary.LittleEndian.Uint64(p[112:])),
	}, nil
}

// ReadHeader reads the header of the pack id, which is size bytes long.
func ReadHeader(ctx context.Context, r Reader, id ID, size int64) (*Header, error) {
	p := make([]byte, min(size, HeaderSize))
	if err := r.ReadAt(ctx, p, 0); err != nil {
		return nil, err
	}
	if len(p) >= 12 && string(p[:7]) == packMagic { // a later version may have a longer one
		n := int64(binary.LittleEndian.Uint32(p[8:]))
		if n > int64(len(p)) && n <= min(size, maxPackHeader) {
			p = make([]byte, n)
			if err := r.ReadAt(ctx, p, 0); err != nil {
				return nil, err
			}
		}
	}
	return ParseHeader(p, id)
}
