package cas

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"

	"github.com/zeebo/blake3"
)

// Limits of the format: what a reader accepts, whatever a header says.
const (
	maxPlain   = 16 << 20 // plain bytes of a frame
	maxSlots   = 1 << 16  // slots of a frame
	maxSources = 1 << 12  // source frames of a frame

	// FrameSize is about how many plain bytes share a frame.
	FrameSize = 1 << 20
	// MaxChunk is the longest chunk that a Batch takes.
	MaxChunk = 4 << 20
)

const (
	frameMagic   = "CrnF"
	frameVersion = 1
	frameFixed   = 48 // bytes before the sources
	slotSize     = 36
	headerSum    = 16
)

// A FrameID names a frame for ever, wherever it lies. It begins with the
// time, so that indexes grow at one end, and ends in 80 random bits.
type FrameID [16]byte

func (id FrameID) String() string { return hex.EncodeToString(id[:]) }

// A Ref is a reference to a chunk.
type Ref struct {
	Digest Digest
	Length uint32 // plain bytes
}

// A header describes a frame; the payload follows it in the pack.
type header struct {
	id        FrameID
	kind      Kind
	codec     Codec
	stored    uint32 // bytes of payload
	plain     uint32 // bytes it decodes to
	crc       uint32 // CRC-32C of the payload
	sources   []FrameID
	slots     []Ref
	headerLen uint32
}

var errHeader = errors.New("frame header is damaged")

func castagnoli(p []byte) uint32 { return crc32.Checksum(p, crc32.MakeTable(crc32.Castagnoli)) }

// appendHeader appends the header of a frame that will begin at offset off of
// pack. The sum binds it to that place: bytes that a user stores cannot pose
// as a frame, since nobody knows a pack's ID before it is written.
func appendHeader(b []byte, h *header, pack PackID, off int64) []byte {
	start := len(b)
	h.headerLen = uint32(frameFixed + 16*len(h.sources) + slotSize*len(h.slots) + headerSum)
	b = append(b, frameMagic...)
	b = append(b, frameVersion, byte(h.kind), byte(h.codec), 0)
	b = binary.LittleEndian.AppendUint32(b, h.headerLen)
	b = binary.LittleEndian.AppendUint32(b, h.stored)
	b = binary.LittleEndian.AppendUint32(b, h.plain)
	b = binary.LittleEndian.AppendUint32(b, h.crc)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.sources)))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(h.slots)))
	b = append(b, h.id[:]...)
	for _, s := range h.sources {
		b = append(b, s[:]...)
	}
	for _, s := range h.slots {
		b = append(b, s.Digest[:]...)
		b = binary.LittleEndian.AppendUint32(b, s.Length)
	}
	sum := sumHeader(b[start:], pack, off)
	return append(b, sum[:]...)
}

func sumHeader(p []byte, pack PackID, off int64) (sum [headerSum]byte) {
	h := blake3.NewDeriveKey(headerContext)
	h.Write(pack[:])
	var o [8]byte
	binary.LittleEndian.PutUint64(o[:], uint64(off))
	h.Write(o[:])
	h.Write(p)
	var d Digest
	h.Sum(d[:0])
	copy(sum[:], d[:])
	return sum
}

// headerLength returns how long the header is that begins with p, of which
// frameFixed bytes suffice, or 0 when none begins there.
func headerLength(p []byte) int {
	if len(p) < frameFixed || string(p[:4]) != frameMagic {
		return 0
	}
	n := binary.LittleEndian.Uint32(p[8:])
	sources, slots := binary.LittleEndian.Uint32(p[24:]), binary.LittleEndian.Uint32(p[28:])
	if sources > maxSources || slots > maxSlots || n != frameFixed+16*sources+slotSize*slots+headerSum {
		return 0
	}
	return int(n)
}

// parseHeader reads the header p, whole and no more, at offset off of pack.
func parseHeader(p []byte, pack PackID, off int64) (*header, error) {
	n := headerLength(p)
	if n == 0 || n != len(p) {
		return nil, errHeader
	}
	if sumHeader(p[:n-headerSum], pack, off) != [headerSum]byte(p[n-headerSum:]) {
		return nil, errHeader
	}
	if p[4] != frameVersion {
		return nil, fmt.Errorf("frame version %d is not known to this program", p[4])
	}
	h := &header{
		kind:      Kind(p[5]),
		codec:     Codec(p[6]),
		headerLen: uint32(n),
		stored:    binary.LittleEndian.Uint32(p[12:]),
		plain:     binary.LittleEndian.Uint32(p[16:]),
		crc:       binary.LittleEndian.Uint32(p[20:]),
		id:        FrameID(p[32:48]),
	}
	sources, slots := binary.LittleEndian.Uint32(p[24:]), binary.LittleEndian.Uint32(p[28:])
	if h.plain > maxPlain || h.stored > maxPlain || p[7] != 0 {
		return nil, errHeader
	}
	q := p[frameFixed:]
	for range sources {
		h.sources = append(h.sources, FrameID(q[:16]))
		q = q[16:]
	}
	h.slots = make([]Ref, slots)
	var sum uint64
	for i := range h.slots {
		h.slots[i] = Ref{Digest(q[:32]), binary.LittleEndian.Uint32(q[32:])}
		sum += uint64(h.slots[i].Length)
		q = q[slotSize:]
	}
	if sum != uint64(h.plain) {
		return nil, errHeader
	}
	return h, nil
}
