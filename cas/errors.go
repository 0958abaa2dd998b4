package cas

import (
	"errors"
	"fmt"
)

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

// ErrMissing reports chunks that a manifest names and that are not stored. That
// is damage, so it is not fs.ErrNotExist.
var ErrMissing = errors.New("chunk is not stored")

// A PackError reports a pack that cannot be read: it is missing, the backend does
// not give its bytes out, or its format is not known.
type PackError struct {
	Pack PackID
	Err  error
}

func (e *PackError) Error() string { return fmt.Sprintf("pack %s: %v", e.Pack, e.Err) }

func (e *PackError) Unwrap() error { return e.Err }
