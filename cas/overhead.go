package cas

import "github.com/cairn-store/cairn/cas/pack"

// SealedOverhead is what a sealed pack takes beside frames, whose number and bytes
// of headers are given: its own header and its footer.
func SealedOverhead(frames, headers int64) int64 {
	return pack.HeaderSize + pack.LinesSize(frames, headers) + pack.TrailerSize
}

// PackSize is the size at which packs are sealed.
func (s *Store) PackSize() int64 { return s.pack.size }
