package manifest

import "github.com/cairn-store/cairn/cas"

// BuildList makes a content from chunk references, as Write does, handing
// every segment to put.
func BuildList(refs []cas.Ref, put func([]byte) (cas.Digest, error)) (*Content, error) {
	l := &listBuilder{c: &Content{}, put: put}
	for _, r := range refs {
		if err := l.add(r); err != nil {
			return nil, err
		}
	}
	return l.c, l.finish()
}

const (
	SegmentMin   = segmentMin
	SegmentMax   = segmentMax
	InlineChunks = inlineChunks
)

// Remembered is how many steps of digests m remembers of late.
func Remembered(m *SumMemory) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.now)
}
