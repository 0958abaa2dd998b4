package manifest

import (
	"encoding"
	"hash"

	"github.com/cairn-store/cairn/cas"
)

// Sums are digests of a content that comes in parts. Their states can be stored
// between parts.
type Sums struct{ hashes map[string]hash.Hash }

// keptHash is a hash whose state can be stored.
type keptHash interface {
	hash.Hash
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// ResumeSums returns the digests called names in the states that State returned.
// A nil map stands for the beginning of the content. Digests whose state cannot
// be stored are left out: Assemble computes them from the whole content.
func ResumeSums(names []string, state map[string][]byte) (*Sums, error) {
	s := &Sums{make(map[string]hash.Hash)}
	for _, name := range names {
		h, ok := NewDigest(name).(keptHash)
		if !ok {
			continue
		}
		if state != nil {
			if state[name] == nil {
				continue
			}
			if err := h.UnmarshalBinary(state[name]); err != nil {
				return nil, err
			}
		}
		s.hashes[name] = h
	}
	return s, nil
}

// State returns the present states of the digests.
func (s *Sums) State() (map[string][]byte, error) {
	state := make(map[string][]byte)
	for name, h := range s.hashes {
		p, err := h.(keptHash).MarshalBinary()
		if err != nil {
			return nil, err
		}
		state[name] = p
	}
	return state, nil
}

// chunkTap returns a function that adds chunks, given by their bytes and
// digests, to the sums. It returns nil if there are no digests.
func (s *Sums) chunkTap(m *SumMemory) func([]byte, []cas.Digest) {
	if s == nil || len(s.hashes) == 0 {
		return nil
	}
	return func(p []byte, ds []cas.Digest) {
		for name, h := range s.hashes {
			m.writeHash(name, h, p, ds)
		}
	}
}

// Write implements io.Writer. It is for bytes whose chunks are not known.
func (s *Sums) Write(p []byte) (int, error) {
	for _, h := range s.hashes {
		h.Write(p)
	}
	return len(p), nil
}
