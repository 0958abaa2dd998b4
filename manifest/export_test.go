package manifest

import (
	"context"

	"github.com/cairn-store/cairn/cas"
)

// BuildList makes a content from chunk references, as Write does, handing
// every segment to put.
func BuildList(refs []cas.Ref, put func([]byte) (cas.Digest, error)) (*Content, error) {
	l := &treeBuilder{c: &Content{}, put: put}
	for _, r := range refs {
		if err := l.addRef(r); err != nil {
			return nil, err
		}
	}
	return l.c, l.finish()
}

// EncodeSlot encodes any slot, also one of a checkpoint.
func EncodeSlot(s *Slot) ([]byte, error) {
	var records []byte
	var err error
	for i := range s.Records {
		if records, err = s.Records[i].appendTo(records); err != nil {
			return nil, err
		}
	}
	return s.encodeWith(records), nil
}

// SetLimit bounds the bytes of the parts that r keeps.
func (r *Replayer) SetLimit(n int) { r.limit = n }

// Held is how many bytes r keeps.
func (r *Replayer) Held() int { return r.waitingBytes }

const MaxParts = maxParts

const (
	NodeMin      = nodeMin
	NodeMax      = nodeMax
	InlineChunks = inlineChunks
)

// EncodeLeaf returns the encoding of a leaf of refs.
func EncodeLeaf(refs []cas.Ref) []byte {
	return encodeNode(0, inlineNode(&Content{Inline: refs}).entries)
}

// CheckNode is an error, or the encoding of what p decodes to.
func CheckNode(p []byte) ([]byte, error) {
	n, err := decodeNode(p)
	if err != nil {
		return nil, err
	}
	return encodeNode(n.level, n.entries), nil
}

// Graft makes a content of ranges of others, one after another; the offsets
// of each are those of chunks.
func Graft(ctx context.Context, src SegmentGetter, parts []Run, put func([]byte) (cas.Digest, error)) (*Content, error) {
	b := &treeBuilder{c: &Content{}, put: put}
	for _, p := range parts {
		l := newList(ctx, src, p.Of)
		for off := p.From; off < p.To; {
			n, err := b.graftNodes(l, off, p.To)
			if err != nil {
				return nil, err
			}
			off += n
		}
	}
	return b.c, b.finish()
}

// A Run is a part of a list.
type Run struct {
	Of       *Content
	From, To int64
}

// Remembered is how many steps of digests m remembers of late.
func Remembered(m *SumMemory) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.recent)
}

// FirstLeaf returns the size of the first leaf of c.
func FirstLeaf(ctx context.Context, src SegmentGetter, c *Content) int64 {
	n, _, _, err := newList(ctx, src, c).nodeAt(0, 0)
	if err != nil {
		return 0
	}
	return n.size
}
