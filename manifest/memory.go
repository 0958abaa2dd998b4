package manifest

import (
	"encoding"
	"hash"
	"sync"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker/blake3"
)

const (
	// rememberFrom is how many bytes are worth remembering what they do to a
	// digest: small contents would drive out long ones and gain nothing.
	rememberFrom = 256 << 10
	// rememberRuns is how many runs of chunks, of up to 1 MiB, are remembered
	// in each half of a SumMemory, of some 300 bytes each.
	rememberRuns = 1 << 14
)

// A SumMemory remembers what digests of contents came to. Where the chunks of
// a content have been seen in the same order before, from its beginning on, a
// digest of it takes its value from there, and does not look at their bytes
// again: chunks are what their BLAKE3 digests say. It forgets what was not
// used for long. Its methods may be called concurrently; nil remembers nothing.
type SumMemory struct {
	mu       sync.Mutex
	recent, old map[cas.Digest][]byte // by what a digest was and the chunks, what it became; mu
}

// writeHash makes h, a digest of that name, go on by p.
func (m *SumMemory) writeHash(name string, h hash.Hash, p []byte, ds []cas.Digest) {
	k, ok := h.(keptHash)
	if !ok || m == nil || len(p) < rememberFrom {
		h.Write(p)
		return
	}
	key, ok := stepKey(name, k, ds)
	if !ok {
		h.Write(p)
		return
	}
	if after := m.getStep(key); after != nil && k.UnmarshalBinary(after) == nil {
		return
	}
	h.Write(p)
	if after, err := k.MarshalBinary(); err == nil {
		m.putStep(key, after)
	}
}

// stepKey names the step of a digest by the chunks ds.
func stepKey(name string, h encoding.BinaryMarshaler, ds []cas.Digest) (key cas.Digest, ok bool) {
	before, err := h.MarshalBinary()
	if err != nil {
		return key, false
	}
	k := blake3.NewDerived(stepContext)
	k.Write(append([]byte(name), 0))
	k.Write(before) // as long as every other of that name
	for i := range ds {
		k.Write(ds[i][:])
	}
	k.Sum(key[:0])
	return key, true
}

const stepContext = "cairn-store/cairn 2026 step of a digest v1"

func (m *SumMemory) getStep(key cas.Digest) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if v := m.recent[key]; v != nil {
		return v
	}
	v := m.old[key]
	if v != nil {
		m.addRecent(key, v)
	}
	return v
}

func (m *SumMemory) putStep(key cas.Digest, v []byte) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.addRecent(key, v)
}

// addRecent notes v among what was used of late. The caller holds mu.
func (m *SumMemory) addRecent(key cas.Digest, v []byte) {
	if m.recent == nil || len(m.recent) == rememberRuns {
		m.recent, m.old = make(map[cas.Digest][]byte), m.recent
	}
	m.recent[key] = v
}
