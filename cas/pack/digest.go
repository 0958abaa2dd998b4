package pack

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/chunker/blake3"
)

// A Digest names a chunk by its content. It is a value: compare it with ==,
// use it as a map key. The zero Digest names nothing.
type Digest [32]byte

// ErrDigest reports text that is not a digest.
var ErrDigest = errors.New("not a digest: want 64 lower-case hexadecimal digits")

// ParseDigest reads what String wrote.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	if len(s) != 2*len(d) {
		return Digest{}, fmt.Errorf("%q: %w", s, ErrDigest)
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return Digest{}, fmt.Errorf("%q: %w", s, ErrDigest)
		}
	}
	_, err := hex.Decode(d[:], []byte(s))
	return d, err
}

// String returns the digest as 64 lower-case hexadecimal digits.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// IsZero reports whether d names nothing.
func (d Digest) IsZero() bool { return d == Digest{} }

// A Kind says what the slots of a frame are. Each kind hashes in a mode of
// its own, so that no user bytes can pose as a segment, a record or a note.
// Its values are part of the format.
type Kind uint8

const (
	KindData    Kind = 1 // chunks of blobs, BLAKE3
	KindSegment Kind = 2 // nodes of trees of chunk references
	KindRecord  Kind = 3 // changes to metadata, for rebuilding its database
	KindNote    Kind = 4 // what a writer says of its packs
)

func (k Kind) String() string {
	switch k {
	case KindData:
		return "data"
	case KindSegment:
		return "segment"
	case KindRecord:
		return "record"
	case KindNote:
		return "note"
	}
	return fmt.Sprintf("kind %d", uint8(k))
}

// Indexed reports whether the slots of frames of this kind are chunks, which
// an index can find by their digests.
func (k Kind) Indexed() bool { return k == KindData || k == KindSegment }

// Known reports whether this program knows the kind.
func (k Kind) Known() bool { return k >= KindData && k <= KindNote }

// Digests of what is not a chunk of a blob, each in BLAKE3's derive-key mode.
// The contexts are part of the format.
var (
	segmentHash = blake3.Derive("cairn-store/cairn 2026 segment v1")
	recordHash  = blake3.Derive("cairn-store/cairn 2026 metadata record v1")
	noteHash    = blake3.Derive("cairn-store/cairn 2026 pack note v1")
	headerHash  = blake3.Derive("cairn-store/cairn 2026 frame header v2")
)

const footerContext = "cairn-store/cairn 2026 pack footer v2"

// Sum returns the digest of a chunk of a blob: BLAKE3-256 of its bytes.
func Sum(p []byte) Digest { return blake3.Sum(p) }

// SumSegment returns the digest of an encoded segment.
func SumSegment(p []byte) Digest { return segmentHash.Sum(p) }

// SumSlot returns the digest of p as a slot of a frame of kind k has it: of a
// record only the first 16 bytes, the others are zero.
func SumSlot(k Kind, p []byte) (d Digest) {
	switch k {
	case KindSegment:
		return segmentHash.Sum(p)
	case KindRecord:
		d = recordHash.Sum(p)
		clear(d[recordDigest:])
		return d
	case KindNote:
		return noteHash.Sum(p)
	}
	return blake3.Sum(p)
}
