package manifest

import (
	"encoding"
	"hash"

	"github.com/cairn-store/cairn/cas"
)

// Sums are digests of a content that comes in parts: what they have seen can
// be kept between parts and taken up again.
type Sums struct{ hashes map[string]hash.Hash }

// keptHash is a hash that can be kept.
type keptHash interface {
	hash.Hash
	encoding.BinaryMarshaler
	encoding.BinaryUnmarshaler
}

// ResumeSums returns the digests called names as they were when State was
// taken; a nil state is the beginning. Those that cannot be kept are left out:
// they are computed of the whole.
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

// State returns what the digests have seen.
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

// chunkTap returns what goes on by the bytes of chunks and their digests, or nil
// where there is nothing to do.
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

// Write implements io.Writer, for contents whose chunks are not at hand.
func (s *Sums) Write(p []byte) (int, error) {
	for _, h := range s.hashes {
		h.Write(p)
	}
	return len(p), nil
}
