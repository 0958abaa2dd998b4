package client

import (
	"encoding/hex"

	"github.com/zeebo/blake3"
)

// A digest names a chunk: BLAKE3-256 of its bytes.
type digest [32]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

// A hasher computes digests, for one goroutine.
type hasher struct{ h *blake3.Hasher }

func newHasher() hasher { return hasher{blake3.New()} }

func (h hasher) sum(p []byte) (d digest) {
	h.h.Reset()
	h.h.Write(p)
	h.h.Sum(d[:0])
	return d
}
