package manifest

import (
	"encoding"
	"hash"
	"sync"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker/blake3"
)

const (
	// rememberFrom is the least number of bytes for which a step is remembered.
	// Steps of small contents would displace those of long ones and save little.
	rememberFrom = 256 << 10
	// rememberRuns is how many steps each half of a SumMemory holds. A step
	// covers up to 1 MiB of chunks and takes some 300 bytes.
	rememberRuns = 1 << 14
)

// A SumMemory remembers steps of digests: the state of a digest before some
// chunks, and its state after them. A content whose chunks were seen in the same
// order before, from its beginning on, gets its digests without hashing their
// bytes again, since the BLAKE3 digests of chunks stand for their bytes. Steps
// that were not used for long are dropped. Its methods may be called
// concurrently. A nil SumMemory remembers nothing.
type SumMemory struct {
	mu sync.Mutex
	// Guarded by mu. The state after a step, by its stepKey.
	recent, old map[cas.Digest][]byte
}

// writeHash writes p, the bytes of the chunks ds, to h, the digest called name.
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

// stepKey is the key of the step from the present state of a digest over the
// chunks ds.
func stepKey(name string, h encoding.BinaryMarshaler, ds []cas.Digest) (key cas.Digest, ok bool) {
	before, err := h.MarshalBinary()
	if err != nil {
		return key, false
	}
	k := blake3.NewDerived(stepContext)
	k.Write(append([]byte(name), 0))
	k.Write(before) // states of one digest have one length
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

// addRecent adds a step to the recent half, and makes that the old half when it
// is full. The caller holds mu.
func (m *SumMemory) addRecent(key cas.Digest, v []byte) {
	if m.recent == nil || len(m.recent) == rememberRuns {
		m.recent, m.old = make(map[cas.Digest][]byte), m.recent
	}
	m.recent[key] = v
}
