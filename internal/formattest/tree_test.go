package formattest

import (
	"encoding/binary"
	"fmt"
)

const (
	maxInline  = 32
	maxHeight  = 10
	maxChunk   = 4 << 20
	minEntries = 64
	maxEntries = 512

	contextRoot = "cairn-store/cairn 2026 manifest root v2"
)

// A ref is a reference: a chunk by its digest and length.
type ref struct {
	digest digest
	length uint64
}

func (c *cursor) ref() ref {
	r := ref{digest: c.digest(), length: c.number()}
	if c.err == nil && (r.length == 0 || r.length > maxChunk) {
		c.fail("chunk of %d bytes", r.length)
	}
	return r
}

// An entry of a node: a chunk or a node, its references and bytes, and how often it stands there.
type entry struct {
	digest               digest
	chunks, bytes, count uint64
}

// endsNode says whether a node ends after its n entries, the last of which is e.
func (e *entry) endsNode(n int) bool {
	return n == maxEntries || n >= minEntries && binary.LittleEndian.Uint16(e.digest[30:]) < 512
}

func (e *entry) same(o *entry) bool {
	return e.digest == o.digest && e.chunks == o.chunks && e.bytes == o.bytes
}

// checkSums verifies references and bytes of a node of that level.
func checkSums(chunks, bytes uint64, level byte) error {
	low := uint64(1)
	for range level {
		low *= minEntries
	}
	if level > 0 && chunks <= low {
		return damage("%d references at level %d", chunks, level)
	}
	if top, err := mulAdd(0, chunks, maxChunk); bytes < chunks || err == nil && bytes > top || bytes >= 1<<63 {
		return damage("%d bytes in %d references", bytes, chunks)
	}
	return nil
}

type node struct {
	level         byte
	entries       []entry
	chunks, bytes uint64
}

func parseNode(b []byte) (*node, error) {
	tag, body, err := parseEnvelope(b)
	if err != nil {
		return nil, err
	}
	if tag != 'S' {
		return nil, damage("tag %q of a segment", tag)
	}
	c := &cursor{rest: body}
	n := &node{level: c.octet()}
	if n.level > maxHeight {
		return nil, damage("level %d", n.level)
	}
	for len(c.rest) > 0 {
		e := entry{}
		if n.level == 0 {
			r := c.ref()
			e = entry{digest: r.digest, chunks: 1, bytes: r.length}
		} else {
			e = entry{digest: c.digest(), chunks: c.size(1), bytes: c.size(1)}
			if c.err == nil && (e.bytes < e.chunks || e.chunks < 1<<41 && e.bytes > e.chunks*maxChunk) {
				c.fail("%d bytes in %d references", e.bytes, e.chunks)
			}
		}
		e.count = c.size(1)
		if c.err != nil {
			return nil, c.err
		}
		if k := len(n.entries); k > 0 && n.entries[k-1].same(&e) {
			return nil, damage("neighbours that are equal")
		} else if k > 0 && n.entries[k-1].endsNode(k) {
			return nil, damage("node goes on behind its end")
		}
		if n.chunks, err = mulAdd(n.chunks, e.chunks, e.count); err != nil {
			return nil, err
		}
		if n.bytes, err = mulAdd(n.bytes, e.bytes, e.count); err != nil {
			return nil, err
		}
		n.entries = append(n.entries, e)
	}
	if c.err == nil && len(n.entries) == 0 {
		c.fail("node without entries")
	}
	return n, c.end()
}

// encode is the inverse of parseNode.
func (n *node) encode() []byte {
	body := []byte{n.level}
	for _, e := range n.entries {
		body = append(body, e.digest[:]...)
		if n.level > 0 {
			body = binary.AppendUvarint(body, e.chunks)
		}
		body = binary.AppendUvarint(body, e.bytes)
		body = binary.AppendUvarint(body, e.count)
	}
	return append(binary.AppendUvarint([]byte("S\x01"), uint64(len(body))), body...)
}

func nodeDigest(b []byte) digest { return digest(derive(32, contextSegment, b)) }

// buildTree makes the tree of a list anew: its top, its height and how many nodes it has.
func buildTree(list []ref) (digest, byte, int) {
	level := &node{}
	for _, r := range list {
		level.add(entry{digest: r.digest, chunks: 1, bytes: r.length, count: 1})
	}
	for nodes := 0; ; {
		above := &node{level: level.level + 1}
		from := 0
		for i := range level.entries {
			if i+1 < len(level.entries) && !level.entries[i].endsNode(i+1-from) {
				continue
			}
			n := &node{level: level.level, entries: level.entries[from : i+1]}
			e := entry{digest: nodeDigest(n.encode()), count: 1}
			for _, c := range n.entries {
				e.chunks += c.chunks * c.count
				e.bytes += c.bytes * c.count
			}
			nodes++
			above.add(e)
			from = i + 1
		}
		if len(above.entries) == 1 && above.entries[0].count == 1 {
			return above.entries[0].digest, level.level, nodes
		}
		level = above
	}
}

// add appends an entry, or counts it as one more of the last.
func (n *node) add(e entry) {
	if k := len(n.entries); k > 0 && n.entries[k-1].same(&e) {
		n.entries[k-1].count += e.count
		return
	}
	n.entries = append(n.entries, e)
}

// rootOf is the root of a list that is not empty, of which the top is that.
func rootOf(height byte, top digest) digest {
	return digest(derive(32, contextRoot, []byte{height}, top[:]))
}

// listRoot is the root of any list.
func listRoot(list []ref) digest {
	if len(list) == 0 {
		return digest(derive(32, contextRoot))
	}
	top, height, _ := buildTree(list)
	return rootOf(height, top)
}

// chunkList returns the chunk list of a manifest and its root, verifying every node of its tree.
func (r *row) chunkList(segment func(digest) ([]byte, error)) ([]ref, digest, error) {
	at, tree := r.fields[9]
	if !tree {
		list := r.fields[8].refs
		return list, listRoot(list), nil
	}
	top := digest(at.raw[:32])
	want := entry{digest: top, chunks: r.num(7), bytes: r.num(4)}
	list, err := appendNode(nil, segment, &want, at.depth, true)
	if err != nil {
		return nil, digest{}, err
	}
	// Nodes of a level can be right by themselves and begin or end at the wrong places.
	if again, height, _ := buildTree(list); again != top || height != at.depth {
		return nil, digest{}, damage("tree %x is not the one of its list", top)
	}
	return list, rootOf(at.depth, top), nil
}

func appendNode(list []ref, segment func(digest) ([]byte, error), want *entry, level byte, top bool) ([]ref, error) {
	b, err := segment(want.digest)
	if err != nil {
		return nil, err
	}
	if nodeDigest(b) != want.digest {
		return nil, damage("digest of a segment")
	}
	n, err := parseNode(b)
	if err != nil {
		return nil, fmt.Errorf("segment %x: %w", want.digest, err)
	}
	if n.level != level || n.chunks != want.chunks || n.bytes != want.bytes {
		return nil, damage("segment %x: level %d, %d references, %d bytes; level %d, %d, %d are said",
			want.digest, n.level, n.chunks, n.bytes, level, want.chunks, want.bytes)
	}
	if top && level > 0 && len(n.entries) == 1 && n.entries[0].count == 1 {
		return nil, damage("top %x holds one node once", want.digest)
	}
	for i := range n.entries {
		e := &n.entries[i]
		from := len(list)
		if level == 0 {
			list = append(list, ref{digest: e.digest, length: e.bytes})
		} else if list, err = appendNode(list, segment, e, level-1, false); err != nil {
			return nil, err
		}
		one := list[from:]
		for range e.count - 1 {
			list = append(list, one...)
		}
	}
	return list, nil
}
