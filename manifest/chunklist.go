package manifest

import (
	"context"
	"fmt"
	"sync"

	"github.com/cairn-store/cairn/cas"
)

const (
	cachedNodes = 32 // nodes that a chunkList caches
	leavesAhead = 16 // leaves fetched at a time when they are read in order
	walkNodes   = 16 // nodes of one level that Walk fetches at a time
	walkSeen    = 1 << 16
	listedRefs  = 4096 // references that refsAt returns at most
)

// A chunkList finds positions in the chunk list of a content and caches the
// nodes that it used last. It may be used concurrently.
type chunkList struct {
	ctx    context.Context // of the reader that owns the list
	c      *Content
	segs   SegmentGetter
	inline *node // the whole list, if the row holds it; else nil

	mu     sync.Mutex
	nodes  []*node // guarded by mu; the cache, last used first
	ahead  int     // guarded by mu; leaves to fetch at a time
	behind int64   // guarded by mu; end of the leaves that were fetched last
}

func newList(ctx context.Context, segs SegmentGetter, c *Content) *chunkList {
	l := &chunkList{ctx: ctx, c: c, segs: segs}
	if c.Top.IsZero() {
		l.inline = inlineNode(c)
	}
	return l
}

// A position is the place of a chunk in a leaf: it is the k-th chunk of entry i,
// and begins at offset off of the content.
type position struct {
	n   *node
	i   int
	k   int64
	off int64
}

// next moves to the first chunk of the next entry.
func (p *position) next() {
	p.off += (p.n.entries[p.i].count - p.k) * p.n.entries[p.i].size
	p.i, p.k = p.i+1, 0
}

// positionAt returns the position of the chunk that holds offset off.
func (l *chunkList) positionAt(off int64) (position, error) {
	n, start, _, err := l.nodeAt(0, off)
	if err != nil {
		return position{}, err
	}
	i, first := n.findOffset(off - start)
	k := (off - start - first) / n.entries[i].size
	return position{n, i, k, start + first + k*n.entries[i].size}, nil
}

// entryAt returns the entry of the chunk that begins at off.
func (l *chunkList) entryAt(off int64) (entry, error) {
	p, err := l.positionAt(off)
	if err != nil {
		return entry{}, err
	}
	return p.n.entries[p.i], nil
}

// refsAt returns references in order, starting with the chunk that holds off,
// and the offset of that chunk. It returns at least one. It stops at the end of
// the leaf, at listedRefs references, and before the first chunk that begins
// size bytes or more after the start.
func (l *chunkList) refsAt(off, size int64) ([]cas.Ref, int64, error) {
	p, err := l.positionAt(off)
	if err != nil {
		return nil, 0, err
	}
	start, end := p.off, p.off+size
	var refs []cas.Ref
	for ; p.i < len(p.n.entries); p.next() {
		e := &p.n.entries[p.i]
		for k := int64(0); k < e.count-p.k; k++ {
			if at := p.off + k*e.size; len(refs) > 0 && at >= end || len(refs) == listedRefs {
				return refs, start, nil
			}
			refs = append(refs, e.ref())
		}
	}
	return refs, start, nil
}

// nodeAt returns the node of a level that holds offset off, the offset where it
// begins, and whether it is the last node of its level.
func (l *chunkList) nodeAt(level int, off int64) (n *node, start int64, last bool, err error) {
	if off < 0 || off >= l.c.Size {
		return nil, 0, false, fmt.Errorf("manifest: chunk list ends before offset %d: %w", off, ErrFormat)
	}
	if l.inline != nil {
		return l.inline, 0, true, nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if n, err = l.topNode(); err != nil {
		return nil, 0, false, err
	}
	for last = true; n.level > level; {
		i, first := n.findOffset(off - start)
		e := &n.entries[i]
		k := (off - start - first) / e.size
		last = last && i == len(n.entries)-1 && k == e.count-1
		start += first + k*e.size
		if n, err = l.childNode(n, i, start); err != nil {
			return nil, 0, false, err
		}
	}
	return n, start, last, nil
}

// topNode returns the top of the tree. The caller holds mu.
func (l *chunkList) topNode() (*node, error) {
	top := l.c.topEntry()
	if n := l.recallNode(&top); n != nil {
		return n, nil
	}
	ns, _, err := getNodes(l.ctx, l.segs, l.c.Height, []entry{top})
	if err != nil {
		return nil, err
	}
	if n := ns[0]; n.level > 0 && len(n.entries) == 1 && n.entries[0].count == 1 {
		return nil, fmt.Errorf("manifest: segment %s is no top: %w", n.digest, ErrFormat)
	}
	l.rememberNode(ns[0])
	return ns[0], nil
}

// childNode returns the child of n that entry i refers to. The child begins at
// offset start. When leaves are read in order, it fetches several at a time. The
// caller holds mu.
func (l *chunkList) childNode(n *node, i int, start int64) (*node, error) {
	if c := l.recallNode(&n.entries[i]); c != nil {
		if !c.matches(n.level-1, &n.entries[i]) {
			return nil, fmt.Errorf("manifest: segment %s is referred to as two: %w", c.digest, ErrFormat)
		}
		return c, nil
	}
	most := 1
	if n.level == 1 {
		if l.ahead = min(2*l.ahead, leavesAhead); l.ahead == 0 || start != l.behind {
			l.ahead = 1
		}
		most = l.ahead
	}
	es := n.entries[i:min(i+most, len(n.entries))]
	ns, _, err := getNodes(l.ctx, l.segs, n.level-1, es)
	if err != nil && len(es) > 1 { // the later leaves may never be needed
		es = es[:1]
		ns, _, err = getNodes(l.ctx, l.segs, n.level-1, es)
	}
	if err != nil {
		return nil, err
	}
	if n.level == 1 {
		l.behind = start
		for j := range es {
			l.behind += es[j].size * es[j].count
		}
	}
	for j := len(ns) - 1; j >= 0; j-- {
		l.rememberNode(ns[j])
	}
	return ns[0], nil
}

// recallNode returns the node that e refers to if it is in the cache, else nil.
// The caller holds mu.
func (l *chunkList) recallNode(e *entry) *node {
	for i, n := range l.nodes {
		if n.digest == e.digest {
			copy(l.nodes[1:], l.nodes[:i])
			l.nodes[0] = n
			return n
		}
	}
	return nil
}

// rememberNode puts n first in the cache and drops the node that was not used
// for the longest time. The caller holds mu.
func (l *chunkList) rememberNode(n *node) {
	if len(l.nodes) < cachedNodes {
		l.nodes = append(l.nodes, nil)
	}
	copy(l.nodes[1:], l.nodes)
	l.nodes[0] = n
}

// reusableNodes returns the entry of the node of a level that begins at off. The
// count of the entry says how many equal nodes, one after another, a new list
// can reuse that takes all bytes from off to the offset to. It returns false if
// it can reuse none.
//
// A node is reusable if the next node of its level begins before to and is not
// the last node, which the end of the old list has cut short. That next node has
// at least nodeMin entries unless it is a leaf, and so do the nodes below it. So
// at every lower level the next node is the same in both lists and differs from
// the last one here: runs of equal entries end at the same place in both.
func (l *chunkList) reusableNodes(level int, off, to int64) (entry, bool, error) {
	if level >= l.c.Height {
		return entry{}, false, nil
	}
	up, start, last, err := l.nodeAt(level+1, off)
	if err != nil {
		return entry{}, false, err
	}
	i, first := up.findOffset(off - start)
	e := up.entries[i]
	into := off - start - first
	if into%e.size != 0 {
		return e, false, nil
	}
	e.count -= into / e.size
	end := off + e.count*e.size
	last = last && i == len(up.entries)-1
	switch fit := (to - off) / e.size; {
	case fit < e.count:
		e.count = fit - 1
	case last:
		e.count -= 2
	default:
		ok, err := l.endsBefore(level, end, to)
		if err != nil {
			return e, false, err
		}
		if !ok {
			e.count--
		}
	}
	return e, e.count > 0, nil
}

// endsBefore reports whether the node of a level that begins at off ends at or
// before the offset to and is not the last node of its level.
func (l *chunkList) endsBefore(level int, off, to int64) (bool, error) {
	if off >= to {
		return false, nil
	}
	up, start, last, err := l.nodeAt(level+1, off)
	if err != nil {
		return false, err
	}
	i, _ := up.findOffset(off - start)
	e := &up.entries[i]
	last = last && i == len(up.entries)-1 && e.count == 1
	return !last && e.size <= to-off, nil
}

// Runs calls fn with the chunk references of c, in order. n is the number of
// equal references that follow one another.
func (c *Content) Runs(ctx context.Context, src SegmentGetter, fn func(r cas.Ref, n int64) error) error {
	l := newList(ctx, src, c)
	for off := int64(0); off < c.Size; {
		n, _, _, err := l.nodeAt(0, off)
		if err != nil {
			return err
		}
		for i := range n.entries {
			if err := fn(n.entries[i].ref(), n.entries[i].count); err != nil {
				return err
			}
		}
		off += n.size
	}
	return nil
}

// Refs calls fn with each chunk reference of c, in order.
func (c *Content) Refs(ctx context.Context, src SegmentGetter, fn func(cas.Ref) error) error {
	return c.RefsFrom(ctx, src, 0, fn)
}

// RefsFrom is Refs without the first n references.
func (c *Content) RefsFrom(ctx context.Context, src SegmentGetter, n int64, fn func(cas.Ref) error) error {
	if n >= c.Chunks {
		return nil
	}
	l := newList(ctx, src, c)
	p, err := l.positionOfChunk(n)
	for err == nil {
		for ; p.i < len(p.n.entries); p.next() {
			for range p.n.entries[p.i].count - p.k {
				if err := fn(p.n.entries[p.i].ref()); err != nil {
					return err
				}
			}
		}
		if p.off >= c.Size {
			return nil
		}
		p, err = l.positionAt(p.off)
	}
	return err
}

// positionOfChunk returns the position of chunk n, counted from 0.
func (l *chunkList) positionOfChunk(n int64) (position, error) {
	leaf, start := l.inline, int64(0)
	if leaf == nil {
		l.mu.Lock()
		defer l.mu.Unlock()
		var err error
		for leaf, err = l.topNode(); err == nil && leaf.level > 0; {
			i, k, off := leaf.findChunk(&n)
			start += off
			n -= k * leaf.entries[i].chunks
			start += k * leaf.entries[i].size
			leaf, err = l.childNode(leaf, i, start)
		}
		if err != nil {
			return position{}, err
		}
	}
	i, k, off := leaf.findChunk(&n)
	return position{leaf, i, k, start + off + k*leaf.entries[i].size}, nil
}

// findChunk returns the entry i that holds chunk *n of the node, the index k of
// the node or chunk within the run of that entry, and the offset where the run
// begins. It subtracts the chunks of earlier entries from *n.
func (nd *node) findChunk(n *int64) (i int, k, off int64) {
	for i = range nd.entries {
		e := &nd.entries[i]
		if *n < e.count*e.chunks {
			return i, *n / e.chunks, off
		}
		if i < len(nd.entries)-1 {
			*n -= e.count * e.chunks
			off += e.count * e.size
		}
	}
	return i, 0, off
}

// Walk calls node with every segment of the chunk list of c, and refs with all
// references, some at a time. A segment that occurs several times may be visited
// once only.
func (c *Content) Walk(ctx context.Context, src SegmentGetter, node func(Segment) error, refs func([]cas.Ref) error) error {
	w := &walker{ctx: ctx, src: src, node: node, refs: refs, seen: make(map[cas.Digest]bool)}
	if c.Top.IsZero() {
		return refs(c.Inline)
	}
	return w.walkLevel(c.Height, []entry{c.topEntry()})
}

// A walker visits the nodes of trees.
type walker struct {
	ctx  context.Context
	src  SegmentGetter
	node func(Segment) error
	refs func([]cas.Ref) error
	seen map[cas.Digest]bool // nodes visited so far, at most walkSeen
}

// walkLevel visits the nodes of a level that es refer to, and all nodes below
// them.
func (w *walker) walkLevel(level int, es []entry) error {
	for len(es) > 0 {
		var batch []entry
		for ; len(es) > 0 && len(batch) < walkNodes; es = es[1:] {
			d := es[0].digest
			if w.seen[d] {
				continue
			}
			if len(w.seen) < walkSeen {
				w.seen[d] = true
			}
			batch = append(batch, es[0])
		}
		if len(batch) == 0 {
			return nil
		}
		nodes, ps, err := getNodes(w.ctx, w.src, level, batch)
		if err != nil {
			return err
		}
		for i, n := range nodes {
			if err := w.visitNode(n, ps[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (w *walker) visitNode(n *node, p []byte) error {
	if err := w.node(Segment{n.digest, p}); err != nil {
		return err
	}
	if n.level > 0 {
		return w.walkLevel(n.level-1, n.entries)
	}
	refs := make([]cas.Ref, len(n.entries))
	for i := range n.entries {
		refs[i] = n.entries[i].ref()
	}
	return w.refs(refs)
}
