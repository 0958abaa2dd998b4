package cas

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zeebo/blake3"
)

const (
	packMagic  = "CAIRNPK\x01"
	packHeader = 36
	tailMagic  = "CrnTAIL\x01"
	tailSize   = 48 // footer length, magic and sum at the very end
	tailEntry  = 40
	packPrefix = "packs/"
)

// A PackID names a pack. IDs begin with the time they were made, end in 80
// random bits and are never used again.
type PackID [16]byte

func (id PackID) String() string { return hex.EncodeToString(id[:]) }

// Key is the backend key of the pack.
func (id PackID) Key() string {
	s := id.String()
	return packPrefix + s[len(s)-2:] + "/" + s
}

// ParsePackKey returns the ID of the pack that key belongs to; ok is false
// for the key of anything else.
func ParsePackKey(key string) (id PackID, ok bool) {
	s, ok := strings.CutPrefix(key, packPrefix)
	if !ok || len(s) != 3+2*len(id) {
		return id, false
	}
	if _, err := hex.Decode(id[:], []byte(s[3:])); err != nil {
		return id, false
	}
	return id, id.Key() == key
}

// newID returns an ID that sorts by time and cannot be guessed.
func newID() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:8], uint64(time.Now().UnixMilli())<<16)
	rand.Read(id[6:])
	return id
}

func appendPackHeader(b []byte, id PackID) []byte {
	start := len(b)
	b = append(b, packMagic...)
	b = append(b, id[:]...)
	b = binary.LittleEndian.AppendUint64(b, uint64(time.Now().UnixMilli()))
	return binary.LittleEndian.AppendUint32(b, castagnoli(b[start:]))
}

var errPack = errors.New("pack header is damaged")

func checkPackHeader(p []byte, id PackID) error {
	n := packHeader - 4
	if len(p) < packHeader || binary.LittleEndian.Uint32(p[n:]) != castagnoli(p[:n]) {
		return errPack
	}
	if string(p[:7]) != packMagic[:7] || PackID(p[8:24]) != id {
		return errPack
	}
	if p[7] != packMagic[7] {
		return fmt.Errorf("pack version %d is not known to this program", p[7])
	}
	return nil
}

// A tailFrame is a footer's line about a frame.
type tailFrame struct {
	id     FrameID
	offset int64
	length int64  // header and payload
	crc    uint32 // of the payload
	kind   Kind
}

// appendTail appends the footer of a sealed pack. Its sum covers the payload
// checksums, so it vouches for the whole pack.
func appendTail(b []byte, id PackID, frames []tailFrame) []byte {
	start := len(b)
	for _, f := range frames {
		b = append(b, f.id[:]...)
		b = binary.LittleEndian.AppendUint64(b, uint64(f.offset))
		b = binary.LittleEndian.AppendUint64(b, uint64(f.length))
		b = binary.LittleEndian.AppendUint32(b, f.crc)
		b = append(b, byte(f.kind), 0, 0, 0)
	}
	b = binary.LittleEndian.AppendUint64(b, uint64(len(b)-start))
	b = append(b, tailMagic...)
	sum := sumTail(b[start:], id)
	return append(b, sum[:]...)
}

func sumTail(p []byte, id PackID) (d Digest) {
	h := blake3.NewDeriveKey(footerContext)
	h.Write(id[:])
	h.Write(p)
	h.Sum(d[:0])
	return d
}

var errTail = errors.New("pack footer is damaged")

// readTail reads the footer of the pack of that size. A pack without one,
// because it was never sealed, gives nil and no error.
func readTail(ctx context.Context, b readerAt, id PackID, size int64) ([]tailFrame, error) {
	if size < packHeader+tailSize {
		return nil, nil
	}
	end := make([]byte, tailSize)
	if err := b.ReadAt(ctx, id.Key(), end, size-tailSize); err != nil {
		return nil, err
	}
	if string(end[8:16]) != tailMagic {
		return nil, nil
	}
	n := binary.LittleEndian.Uint64(end)
	if n%tailEntry != 0 || n > uint64(size-packHeader-tailSize) || n > maxTail {
		return nil, errTail
	}
	p := make([]byte, n+16)
	if err := b.ReadAt(ctx, id.Key(), p, size-tailSize-int64(n)); err != nil {
		return nil, err
	}
	if sumTail(p, id) != Digest(end[16:]) {
		return nil, errTail
	}
	frames := make([]tailFrame, n/tailEntry)
	for i := range frames {
		q := p[i*tailEntry:]
		frames[i] = tailFrame{
			id:     FrameID(q[:16]),
			offset: int64(binary.LittleEndian.Uint64(q[16:])),
			length: int64(binary.LittleEndian.Uint64(q[24:])),
			crc:    binary.LittleEndian.Uint32(q[32:]),
			kind:   Kind(q[36]),
		}
	}
	return frames, nil
}

const maxTail = 64 << 20

// A CorruptError reports stored bytes that are not what they were.
type CorruptError struct {
	Digest Digest // of the chunk that cannot be read
	Pack   PackID
	Offset int64 // of its frame in the pack
	Err    error // what was found
}

func (e *CorruptError) Error() string {
	return fmt.Sprintf("chunk %s in pack %s at %d is damaged: %v", e.Digest, e.Pack, e.Offset, e.Err)
}

func (e *CorruptError) Unwrap() error { return e.Err }

// CorruptChunk names the chunk and the pack, for those who report the damage.
func (e *CorruptError) CorruptChunk() (digest, pack string) {
	return e.Digest.String(), e.Pack.String()
}

// ErrMissing reports chunks that a manifest names and that are not stored. It
// is damage, not absence: no fs.ErrNotExist.
var ErrMissing = errors.New("chunk is not stored")
