package manifest

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker/blake3"
)

// A chunk list that is too long for its row is a tree of segments, its nodes.
// Nodes of level 0, the leaves, list references to chunks. Nodes of a higher
// level list nodes of the level below. Equal neighbours are one entry with a
// count. A node ends after an entry whose digest's last two bytes,
// little-endian, are under nodeBound, if it has at least nodeMin entries, and
// always at nodeMax.
const (
	nodeMin   = 64
	nodeMax   = 512
	nodeBound = 512

	// maxHeight is the level of the highest possible top: all nodes of a level
	// but the last have nodeMin entries, and a list has less than 2^63 chunks.
	maxHeight = 10

	tagSegment = 'S'

	inlineChunks = 32 // the longest chunk list that its row holds

	rootContext = "cairn-store/cairn 2026 manifest root v2"
)

// An entry stands for count equal references, one after another, to a chunk or
// node.
type entry struct {
	digest cas.Digest
	chunks int64 // of one reference: 1 at level 0
	size   int64 // plain bytes of one reference
	count  int64
}

// same reports whether e and o refer to the same chunk or node.
func (e *entry) same(o *entry) bool {
	return e.digest == o.digest && e.size == o.size && e.chunks == o.chunks
}

// ref is the reference of an entry of level 0.
func (e *entry) ref() cas.Ref { return cas.Ref{Digest: e.digest, Length: uint32(e.size)} }

// isPossible reports whether a node of a level can have this entry.
func (e *entry) isPossible(level int) bool {
	if level == 0 && e.chunks != 1 {
		return false
	}
	return e.count > 0 && possibleSums(e.chunks, e.size)
}

// possibleSums reports whether so many chunks can have that size.
func possibleSums(chunks, size int64) bool {
	return chunks > 0 && size >= chunks && (size-1)/cas.MaxChunk < chunks
}

// endsNode reports whether a node ends with its n-th entry, which has digest d.
func endsNode(d *cas.Digest, n int) bool {
	return n == nodeMax || n >= nodeMin && binary.LittleEndian.Uint16(d[30:]) < nodeBound
}

// A node is a decoded segment.
type node struct {
	digest       cas.Digest
	level        int
	entries      []entry
	chunks, size int64 // sums over entries
}

// encodeNode returns the canonical encoding of a node.
func encodeNode(level int, entries []entry) []byte {
	body := make([]byte, 0, 1+len(entries)*44)
	body = append(body, byte(level))
	for i := range entries {
		e := &entries[i]
		body = append(body, e.digest[:]...)
		if level > 0 {
			body = binary.AppendUvarint(body, uint64(e.chunks))
		}
		body = binary.AppendUvarint(body, uint64(e.size))
		body = binary.AppendUvarint(body, uint64(e.count))
	}
	return appendEnvelope(make([]byte, 0, len(body)+5), tagSegment, body)
}

// decodeNode decodes what encodeNode wrote and refuses everything else.
func decodeNode(p []byte) (*node, error) {
	n, err := parseNode(p)
	if err != nil {
		return nil, fmt.Errorf("manifest: decode segment: %w", err)
	}
	return n, nil
}

func parseNode(p []byte) (*node, error) {
	body, err := openEnvelope(p, tagSegment, "segment")
	if err != nil {
		return nil, err
	}
	if len(body) == 0 || body[0] > maxHeight {
		return nil, ErrFormat
	}
	n := &node{level: int(body[0]), entries: make([]entry, 0, min(nodeMax, len(body)/34))}
	d := &decoder{p: body[1:]}
	for len(d.p) > 0 {
		var e entry
		if len(d.p) < len(e.digest) || len(n.entries) == nodeMax {
			return nil, ErrFormat
		}
		d.p = d.p[copy(e.digest[:], d.p):]
		e.chunks = 1
		if n.level > 0 {
			e.chunks = d.takeSize()
		}
		e.size, e.count = d.takeSize(), d.takeSize()
		if d.bad || !n.appendEntry(e) {
			return nil, ErrFormat
		}
	}
	if len(n.entries) == 0 {
		return nil, ErrFormat
	}
	return n, nil
}

// appendEntry adds an entry. It returns false if e cannot follow the last one.
func (n *node) appendEntry(e entry) bool {
	if k := len(n.entries); k > 0 {
		if last := &n.entries[k-1]; last.same(&e) || endsNode(&last.digest, k) {
			return false
		}
	}
	if !e.isPossible(n.level) || e.count > (math.MaxInt64-n.size)/e.size {
		return false
	}
	n.entries = append(n.entries, e)
	n.chunks += e.count * e.chunks // at most the size, so it cannot overflow
	n.size += e.count * e.size
	return true
}

// findOffset returns the entry of n that holds offset off, and the offset where
// the entry begins.
func (n *node) findOffset(off int64) (i int, first int64) {
	for i = range n.entries {
		run := n.entries[i].size * n.entries[i].count
		if off < first+run {
			break
		}
		first += run
	}
	return i, first
}

// isConsistent reports whether the sums of c can be those of its chunk list, and
// whether everything that it refers to has a valid length.
func (c *Content) isConsistent() bool {
	if !c.Top.IsZero() {
		return len(c.Inline) == 0 && c.Chunks > inlineChunks && possibleSums(c.Chunks, c.Size) &&
			c.Height >= 0 && c.Height <= maxHeight && c.Chunks > 1<<(6*c.Height)
	}
	if len(c.Inline) > inlineChunks || c.Height != 0 {
		return false
	}
	var size int64
	for _, r := range c.Inline {
		if r.Length == 0 || r.Length > cas.MaxChunk {
			return false
		}
		size += int64(r.Length)
	}
	return int64(len(c.Inline)) == c.Chunks && size == c.Size
}

// Root is the Merkle root over the chunk list. Equal roots mean equal bytes.
// Equal bytes have different roots if different splitters have cut them.
func (c *Content) Root() (root cas.Digest) {
	top := c.Top
	if len(c.Inline) > 0 {
		top = cas.SumSegment(encodeNode(0, inlineNode(c).entries))
	}
	h := blake3.NewDerived(rootContext)
	if c.Chunks > 0 {
		h.Write([]byte{byte(c.Height)})
		h.Write(top[:])
	}
	h.Sum(root[:0])
	return root
}

// inlineNode is the list that the row of c holds, as a leaf.
func inlineNode(c *Content) *node {
	n := &node{entries: make([]entry, 0, len(c.Inline)), chunks: c.Chunks, size: c.Size}
	for _, r := range c.Inline {
		e := entry{r.Digest, 1, int64(r.Length), 1}
		if k := len(n.entries); k > 0 && n.entries[k-1].same(&e) {
			n.entries[k-1].count++
			continue
		}
		n.entries = append(n.entries, e)
	}
	return n
}

// topEntry is the entry that would refer to the top of the tree of c.
func (c *Content) topEntry() entry { return entry{c.Top, c.Chunks, c.Size, 1} }

// A Segment is a node of a chunk list, encoded.
type Segment struct {
	Digest cas.Digest
	Data   []byte
}

// A SegmentEntry stands for Count equal references, one after another, of a segment
// to a chunk or another segment.
type SegmentEntry struct {
	Digest cas.Digest
	Size   int64 // plain bytes of one reference
	Count  int64
}

// DecodeSegment decodes a segment that was found by its digest. Segments of level 0
// refer to chunks, others to segments of the level below.
func DecodeSegment(d cas.Digest, p []byte) (level int, es []SegmentEntry, err error) {
	n, err := decodeNode(p)
	if err == nil && cas.SumSegment(p) != d {
		err = ErrFormat
	}
	if err != nil {
		return 0, nil, fmt.Errorf("segment %s: %w", d, err)
	}
	for i := range n.entries {
		e := &n.entries[i]
		es = append(es, SegmentEntry{e.digest, e.size, e.count})
	}
	return n.level, es, nil
}

// MaxHeight is the highest level of a segment.
const MaxHeight = maxHeight

// A SegmentSize tells of a segment how many bytes it is encoded in.
type SegmentSize struct {
	Digest cas.Digest
	Bytes  int64
}

// A SegmentGetter finds encoded segments.
type SegmentGetter interface {
	// Segments returns the encoded segments ds, in their order, nil for a
	// segment that does not exist. The caller may keep them.
	Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error)
}

// A SegmentPutter stores encoded segments in the metadata store.
type SegmentPutter interface {
	// PutSegments stores segments. They are durable no later than the next
	// commit. It does not retain the slices. Segments that are stored already
	// are no error.
	PutSegments(ctx context.Context, segs []Segment) error
}

// getNodes fetches the nodes of a level that es refer to, and checks that they
// are those. The counts of es do not matter.
func getNodes(ctx context.Context, src SegmentGetter, level int, es []entry) ([]*node, [][]byte, error) {
	ds := make([]cas.Digest, len(es))
	for i := range es {
		ds[i] = es[i].digest
	}
	ps, err := src.Segments(ctx, ds)
	if err != nil {
		return nil, nil, err
	}
	nodes := make([]*node, len(es))
	for i := range es {
		if ps[i] == nil {
			return nil, nil, fmt.Errorf("manifest: segment %s: %w", ds[i], fs.ErrNotExist)
		}
		if nodes[i], err = checkNode(level, &es[i], ps[i]); err != nil {
			return nil, nil, err
		}
	}
	return nodes, ps, nil
}

// checkNode decodes p. It fails if p is not the node of a level that e
// describes.
func checkNode(level int, e *entry, p []byte) (*node, error) {
	n, err := decodeNode(p)
	if err != nil {
		return nil, fmt.Errorf("segment %s: %w", e.digest, err)
	}
	if cas.SumSegment(p) != e.digest || !n.matches(level, e) {
		return nil, fmt.Errorf("manifest: segment %s is not the one that was referred to: %w", e.digest, ErrFormat)
	}
	n.digest = e.digest
	return n, nil
}

// matches reports whether n is what e describes at a level.
func (n *node) matches(level int, e *entry) bool {
	return n.level == level && n.chunks == e.chunks && n.size == e.size
}
