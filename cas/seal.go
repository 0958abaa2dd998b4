package cas

import "errors"

// A Sealer encrypts frames and authenticates them: a frame's payload, and the
// part of its header that names its chunks, each by itself. ad is authenticated
// beside them; it names frame, kind and part, never a place. Its methods may be
// called concurrently. Nonces are its own matter. A sealed part is at most 1 KiB longer than the plain one.
type Sealer interface {
	// Key returns the ID of the key to seal with now, 0 for none.
	Key() uint64
	// Seal appends the sealed form of plain to dst.
	Seal(dst []byte, key uint64, ad, plain []byte) ([]byte, error)
	// Open appends the plain form of sealed to dst. It fails with ErrKey
	// where it does not have the key; any other error is damage.
	Open(dst []byte, key uint64, ad, sealed []byte) ([]byte, error)
}

// ErrKey reports a frame that is sealed with a key that the store does not
// have. It is no damage.
var ErrKey = errors.New("sealed with a key that is not at hand")

// Parts of a frame that are sealed. Their values are part of the format.
const (
	partBlock   = 0
	partPayload = 1
)

// boundTo is the additional data that a part of a frame is sealed with.
func boundTo(id FrameID, kind Kind, part byte) []byte { return append(id[:], byte(kind), part) }
