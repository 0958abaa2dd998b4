package manifest

import (
	"context"
	"errors"
	"math"

	"github.com/cairn-store/cairn/cas"
)

// segmentBatch is how many segments go to the metadata store in one call.
const segmentBatch = 64

// A treeBuilder makes the chunk list of a content from its references, from the
// bottom up. Equal lists make equal trees, however they are made.
//
// For each level it holds the node that grows and the last run of equal
// references. A run stays open until a different reference comes. Only then its
// count is known, and whether the node ends with it.
type treeBuilder struct {
	// put stores an encoded node. Children are stored before their parents.
	put    func([]byte) (cas.Digest, error)
	levels []openNode
	c      *Content
}

// An openNode is the node of a level that still grows.
type openNode struct {
	entries []entry
	run     entry // the last run, which may still grow; none if its count is 0
}

var errLongList = errors.New("manifest: a chunk list of 2^63 bytes or more")

func (b *treeBuilder) addRef(r cas.Ref) error {
	return b.addAt(0, entry{r.Digest, 1, int64(r.Length), 1})
}

// addAt adds e to a level. No node may be growing in the levels below.
func (b *treeBuilder) addAt(level int, e entry) error {
	if e.count > (math.MaxInt64-b.c.Size)/e.size {
		return errLongList
	}
	b.c.Size += e.count * e.size
	b.c.Chunks += e.count * e.chunks
	return b.pushEntry(level, e)
}

func (b *treeBuilder) pushEntry(level int, e entry) error {
	for len(b.levels) <= level {
		b.levels = append(b.levels, openNode{})
	}
	g := &b.levels[level]
	if g.run.count > 0 {
		if g.run.same(&e) {
			g.run.count += e.count
			return nil
		}
		if err := b.closeRun(level); err != nil {
			return err
		}
	}
	b.levels[level].run = e
	return nil
}

// closeRun ends the open run of a level, and with it the node if the run ends
// it.
func (b *treeBuilder) closeRun(level int) error {
	g := &b.levels[level]
	if g.run.count == 0 {
		return nil
	}
	g.entries = append(g.entries, g.run)
	g.run.count = 0
	if !endsNode(&g.run.digest, len(g.entries)) {
		return nil
	}
	return b.cutNode(level)
}

// cutNode stores the growing node of a level and adds it to the level above.
func (b *treeBuilder) cutNode(level int) error {
	g := &b.levels[level]
	e := entry{count: 1}
	for i := range g.entries {
		e.chunks += g.entries[i].count * g.entries[i].chunks
		e.size += g.entries[i].count * g.entries[i].size
	}
	var err error
	if e.digest, err = b.put(encodeNode(level, g.entries)); err != nil {
		return err
	}
	g.entries = g.entries[:0]
	return b.pushEntry(level+1, e)
}

// finish ends the list and sets where the content finds it.
func (b *treeBuilder) finish() error {
	c := b.c
	if c.Chunks == 0 {
		return nil
	}
	if c.Chunks <= inlineChunks {
		for _, e := range append(b.levels[0].entries, b.levels[0].run) {
			for range e.count {
				c.Inline = append(c.Inline, e.ref())
			}
		}
		return nil
	}
	for k := 0; ; k++ {
		if err := b.closeRun(k); err != nil {
			return err
		}
		if len(b.levels[k].entries) > 0 {
			if err := b.cutNode(k); err != nil {
				return err
			}
		}
		if up := &b.levels[k+1]; k+2 == len(b.levels) && len(up.entries) == 0 && up.run.count == 1 {
			c.Top, c.Height = up.run.digest, k
			return nil
		}
	}
}

// prepareLevel closes the open run of a level unless next would extend it. It
// reports whether no node grows in the level after that, so that next can begin
// one.
func (b *treeBuilder) prepareLevel(level int, next *entry) (bool, error) {
	if level >= len(b.levels) {
		return true, nil
	}
	if g := &b.levels[level]; g.run.count > 0 {
		if g.run.same(next) {
			return false, nil
		}
		if err := b.closeRun(level); err != nil {
			return false, err
		}
	}
	return len(b.levels[level].entries) == 0, nil
}

// idleLevels counts the levels in which no node grows, from the lowest up, to at
// most the number most.
func (b *treeBuilder) idleLevels(most int) (n int) {
	for n < most && (n >= len(b.levels) || b.levels[n].run.count == 0 && len(b.levels[n].entries) == 0) {
		n++
	}
	return n
}

// graftNodes adds a part of the list l that begins at off, where one of its
// chunks begins. All of l up to the offset to, where another chunk begins, is to
// be added by repeated calls. It returns how many bytes it has added: the
// largest subtree of l at off that is also one of the new list, together with
// equal ones that follow it, or else the rest of a leaf.
//
// A node of l is also one of the new list if a node of its level begins at the
// same place in both, and enough follows in l before to that its last entry, and
// the last entries of the nodes below it, end as they do in l. See
// reusableNodes.
func (b *treeBuilder) graftNodes(l *chunkList, off, to int64) (int64, error) {
	var e entry
	ok, err := false, error(nil)
	level := b.idleLevels(l.c.Height) - 1
	for ; level >= 0; level-- {
		if e, ok, err = l.reusableNodes(level, off, to); ok || err != nil {
			break
		}
	}
	for err == nil && level+1 < l.c.Height {
		next := e
		if level < 0 {
			if next, err = l.entryAt(off); err != nil {
				break
			}
		}
		if ok, err = b.prepareLevel(level+1, &next); !ok || err != nil {
			break
		}
		var up entry
		if up, ok, err = l.reusableNodes(level+1, off, to); !ok || err != nil {
			break
		}
		e, level = up, level+1
	}
	if err != nil {
		return 0, err
	}
	if level < 0 {
		return b.graftRefs(l, off, to)
	}
	return e.size * e.count, b.addAt(level+1, e)
}

// graftRefs adds the references of a leaf of l from off up to the offset to.
func (b *treeBuilder) graftRefs(l *chunkList, off, to int64) (n int64, err error) {
	p, err := l.positionAt(off)
	if err != nil {
		return 0, err
	}
	for ; p.i < len(p.n.entries) && off+n < to; p.next() {
		e := p.n.entries[p.i]
		e.count = min(e.count-p.k, (to-off-n)/e.size)
		if e.count == 0 {
			break
		}
		if err := b.addAt(0, e); err != nil {
			return n, err
		}
		n += e.size * e.count
	}
	if n == 0 {
		return 0, ErrFormat // no chunk begins at to
	}
	return n, nil
}

// A segmentWriter stores segments in packs, and in the metadata store in
// batches.
type segmentWriter struct {
	ctx     context.Context // of the write that uses it
	b       *cas.Batch
	to      SegmentPutter // nil: in packs only
	pending []Segment
}

func (k *segmentWriter) putNode(p []byte) (cas.Digest, error) {
	d, err := k.b.PutSegment(k.ctx, p)
	if err != nil || k.to == nil {
		return d, err
	}
	if k.pending = append(k.pending, Segment{d, p}); len(k.pending) == segmentBatch {
		err = k.flush()
	}
	return d, err
}

// flush stores the pending segments in the metadata store.
func (k *segmentWriter) flush() error {
	if len(k.pending) == 0 {
		return nil
	}
	err := k.to.PutSegments(k.ctx, k.pending)
	k.pending = k.pending[:0]
	return err
}
