package manifest

import (
	"context"
	"errors"
	"math"

	"github.com/cairn-store/cairn/cas"
)

// segmentBatch is how many segments are handed to the metadata store at a time.
const segmentBatch = 64

// A treeBuilder makes the chunk list of a content from its references, from
// the bottom up. Equal lists make equal trees, whatever they are made of.
//
// Of every level it holds the node that grows, and the last run of equal
// references, open until a reference that differs has come: only then is its
// count known, and whether the node ends.
type treeBuilder struct {
	// put stores an encoded node. It is called in order, children first.
	put    func([]byte) (cas.Digest, error)
	levels []openNode
	c      *Content
}

// A openNode is what is not yet a node of a level.
type openNode struct {
	entries []entry
	open    entry // the run that may go on, none if its count is 0
}

var errLongList = errors.New("manifest: a chunk list of 2^63 bytes or more")

func (b *treeBuilder) addRef(r cas.Ref) error {
	return b.addAt(0, entry{r.Digest, 1, int64(r.Length), 1})
}

// addAt adds e to a level. Nothing may be growing in the levels below.
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
	if g.open.count > 0 {
		if g.open.same(&e) {
			g.open.count += e.count
			return nil
		}
		if err := b.closeRun(level); err != nil {
			return err
		}
	}
	b.levels[level].open = e
	return nil
}

// closeRun ends the open run of a level, and its node where the run ends it.
func (b *treeBuilder) closeRun(level int) error {
	g := &b.levels[level]
	if g.open.count == 0 {
		return nil
	}
	g.entries = append(g.entries, g.open)
	g.open.count = 0
	if !endsNode(&g.open.digest, len(g.entries)) {
		return nil
	}
	return b.cutNode(level)
}

// cutNode makes a node of what has grown in a level.
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

// finish ends the list.
func (b *treeBuilder) finish() error {
	c := b.c
	if c.Chunks == 0 {
		return nil
	}
	if c.Chunks <= inlineChunks {
		for _, e := range append(b.levels[0].entries, b.levels[0].open) {
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
		if up := &b.levels[k+1]; k+2 == len(b.levels) && len(up.entries) == 0 && up.open.count == 1 {
			c.Top, c.Height = up.open.digest, k
			return nil
		}
	}
}

// prepareLevel tells a level what comes next in it, and reports whether nothing is
// growing there then.
func (b *treeBuilder) prepareLevel(level int, next *entry) (bool, error) {
	if level >= len(b.levels) {
		return true, nil
	}
	if g := &b.levels[level]; g.open.count > 0 {
		if g.open.same(next) {
			return false, nil
		}
		if err := b.closeRun(level); err != nil {
			return false, err
		}
	}
	return len(b.levels[level].entries) == 0, nil
}

// idleLevels is how many levels have nothing growing, from the lowest on: no more
// than most.
func (b *treeBuilder) idleLevels(most int) (n int) {
	for n < most && (n >= len(b.levels) || b.levels[n].open.count == 0 && len(b.levels[n].entries) == 0) {
		n++
	}
	return n
}

// graftNodes adds what the list l holds from off on, where one of its chunks
// begins; all up to the offset to, where another one does, is to be added. It
// returns how many bytes it has added: of the nodes of l that are nodes of the
// new list too, one of the highest level, with those that equal it, or else
// the rest of a leaf.
//
// A node of l is one of the new list if a node of its level begins where it
// does, and the run to which it is taken goes on far enough that the last
// entries, in it and below it, end as they do in l; see list.whole.
func (b *treeBuilder) graftNodes(l *chunkList, off, to int64) (int64, error) {
	var e entry
	ok, err := false, error(nil)
	level := b.idleLevels(l.c.Height) - 1
	for ; level >= 0; level-- {
		if e, ok, err = l.whole(level, off, to); ok || err != nil {
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
		if up, ok, err = l.whole(level+1, off, to); !ok || err != nil {
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

// graftRefs adds the references of a leaf from off on, up to the offset to.
func (b *treeBuilder) graftRefs(l *chunkList, off, to int64) (n int64, err error) {
	p, err := l.at(off)
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
		return 0, ErrFormat // to is not where a chunk begins
	}
	return n, nil
}

// A segmentWriter stores segments in packs and in the metadata store.
type segmentWriter struct {
	ctx  context.Context // of the write that it is part of
	b    *cas.Batch
	to   SegmentPutter // nil for nowhere but packs
	held []Segment
}

func (k *segmentWriter) put(p []byte) (cas.Digest, error) {
	d, err := k.b.PutSegment(k.ctx, p)
	if err != nil || k.to == nil {
		return d, err
	}
	if k.held = append(k.held, Segment{d, p}); len(k.held) == segmentBatch {
		err = k.flush()
	}
	return d, err
}

// flush hands over what is held.
func (k *segmentWriter) flush() error {
	if len(k.held) == 0 {
		return nil
	}
	err := k.to.PutSegments(k.ctx, k.held)
	k.held = k.held[:0]
	return err
}
