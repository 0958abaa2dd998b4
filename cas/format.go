package cas

import (
	"context"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// The types of package pack that the methods of a Store take and return.
type (
	Digest       = pack.Digest
	Ref          = pack.Ref
	Source       = pack.Source
	Kind         = pack.Kind
	Codec        = pack.Codec
	FrameID      = pack.FrameID
	PackID       = pack.ID
	UnknownError = pack.UnknownError
)

const (
	KindData    = pack.KindData
	KindSegment = pack.KindSegment
	KindRecord  = pack.KindRecord
	KindNote    = pack.KindNote

	Raw  = pack.Raw
	Zstd = pack.Zstd
	Gzip = pack.Gzip
)

const (
	// FrameSize is about how many plain bytes share a frame.
	FrameSize = 1 << 20
	// MaxChunk is the longest chunk that a Batch takes.
	MaxChunk = 4 << 20
)

// ErrUnknown is what an *UnknownError satisfies.
var ErrUnknown = pack.ErrUnknown

// ParseDigest reads what Digest.String wrote.
func ParseDigest(s string) (Digest, error) { return pack.ParseDigest(s) }

// Sum returns the digest of a chunk of a blob: BLAKE3-256 of its bytes.
func Sum(p []byte) Digest { return pack.Sum(p) }

// SumSegment returns the digest of an encoded segment.
func SumSegment(p []byte) Digest { return pack.SumSegment(p) }

// A packReader reads one pack of a backend.
type packReader struct {
	b   backend.Backend
	key string
}

func (r packReader) ReadAt(ctx context.Context, p []byte, off int64) error {
	if err := r.b.ReadAt(ctx, r.key, p, off); err != nil {
		return &readError{r.key, err}
	}
	return nil
}

// A readError is an error of a backend about one pack.
type readError struct {
	key string
	err error
}

func (e *readError) Error() string { return e.err.Error() }

func (e *readError) Unwrap() error { return e.err }

// ParsePackKey returns the ID of the pack that a backend key belongs to; ok is
// false for the key of anything else.
func ParsePackKey(key string) (id PackID, ok bool) { return pack.ParseKey(key) }

// ParsePackID reads what PackID.String wrote.
func ParsePackID(s string) (id PackID, ok bool) { return pack.ParseID(s) }
