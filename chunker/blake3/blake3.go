// Package blake3 computes BLAKE3-256, of whole chunks in particular, by the
// faster of two packages on the processor at hand. Stores and clients name
// chunks by it, so it imports nothing of ours.
package blake3

import (
	"hash"
	"sync"

	"github.com/zeebo/blake3"
	"golang.org/x/sys/cpu"
)

// useTree is the one place where the package is chosen, by features of the
// processor alone: guts compresses 16 blocks at a time with AVX-512, zeebo 8 at
// a time with AVX2. The digests are the same, so the choice is one of speed.
// ARCHITECTURE.md has the figures.
var useTree = cpu.X86.HasAVX512F

// A Function is BLAKE3-256 in one of its modes. It may be used concurrently.
type Function struct {
	// states has a summer for each goroutine that computes a digest: making
	// one costs more than the digest of a short chunk.
	states sync.Pool
}

// A summer computes digests, for one goroutine at a time.
type summer interface {
	sum(p []byte) [32]byte
}

var plain = newFunction(newPlainSummer)

// Sum returns the digest of p in the plain mode.
func Sum(p []byte) [32]byte { return plain.Sum(p) }

// Derive returns the function of a context in derive-key mode: its digests
// never equal those of another context or of Sum.
func Derive(context string) *Function {
	return newFunction(func() summer { return newDerivedSummer(context) })
}

func newFunction(newSummer func() summer) *Function {
	return &Function{sync.Pool{New: func() any { return newSummer() }}}
}

// Sum returns the digest of p. It does not keep p.
func (f *Function) Sum(p []byte) [32]byte {
	s := f.states.Get().(summer)
	defer f.states.Put(s)
	return s.sum(p)
}

// New returns the plain mode as a hash.Hash, for streams.
func New() hash.Hash { return blake3.New() }

// NewDerived returns the derive-key mode as a hash.Hash.
func NewDerived(context string) hash.Hash { return blake3.NewDeriveKey(context) }

func newPlainSummer() summer {
	if useTree {
		return newTree()
	}
	return streamSummer{blake3.New()}
}

func newDerivedSummer(context string) summer {
	if useTree {
		return newDerivedTree(context)
	}
	return streamSummer{blake3.NewDeriveKey(context)}
}

// A streamSummer is a summer by zeebo's package.
type streamSummer struct{ h *blake3.Hasher }

func (s streamSummer) sum(p []byte) (d [32]byte) {
	s.h.Reset()
	s.h.Write(p)
	s.h.Sum(d[:0])
	return d
}
