package client

import (
	"encoding/hex"

	"github.com/cairn-store/cairn/chunker/blake3"
)

// A digest names a chunk: BLAKE3-256 of its bytes.
type digest [32]byte

func (d digest) String() string { return hex.EncodeToString(d[:]) }

func sumChunk(p []byte) digest { return blake3.Sum(p) }
