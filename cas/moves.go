package cas

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// moveEntries is how many entries one Change moves at most, or those of one frame.
const moveEntries = 4096

// flushCopies is how many bytes of copies are written before the backend is to
// bring them to the disk: who else waits for the disk does not wait for more.
const flushCopies = 4 << 20

// moves are copies in one pack, which the index learns of when they are durable.
type moves struct {
	at      place
	flushed int64 // the end of what was flushed
	changes []*Change
}

// A copyClass is what chunks must share to share a new frame.
type copyClass struct {
	kind  Kind
	codec Codec
}

// A copyBuilder gathers chunks for a new frame.
type copyBuilder struct {
	copyClass
	plain []byte
	slots []Ref
	from  []ChunkEntry
}

// writeCopies appends what copyFrames sends, and makes the index name it. What was
// copied before there was no more space counts.
func (r *rewriter) writeCopies(ctx context.Context, copies <-chan *copied) error {
	err := r.appendCopies(ctx, copies)
	if err == nil || errors.Is(err, backend.ErrNoSpace) {
		err = errors.Join(err, r.settleMoves(ctx, nil))
	}
	return err
}

func (r *rewriter) appendCopies(ctx context.Context, copies <-chan *copied) error {
	for c := range copies {
		if err := r.writeCopy(ctx, c); err != nil {
			return err
		}
	}
	if ctx.Err() != nil { // copyFrames has failed
		return context.Cause(ctx)
	}
	for _, b := range r.builders {
		if err := r.writeGathered(ctx, b); err != nil {
			return err
		}
	}
	return nil
}

func (r *rewriter) writeCopy(ctx context.Context, c *copied) error {
	if c.payload != nil {
		return r.moveFrame(ctx, c)
	}
	class := copyClass{c.Kind, c.Codec}
	if c.Codec > Gzip {
		class.codec = Zstd // only the format's own are written
	}
	b := r.builderOf(class)
	for _, chunk := range c.chunks {
		if len(b.plain)+len(chunk.bytes) > FrameSize || len(b.slots) >= moveEntries {
			if err := r.writeGathered(ctx, b); err != nil {
				return err
			}
		}
		b.plain = append(b.plain, chunk.bytes...)
		b.slots = append(b.slots, Ref{Digest: chunk.from.Digest, Length: chunk.from.Length})
		b.from = append(b.from, chunk.from)
	}
	return nil
}

func (r *rewriter) builderOf(class copyClass) *copyBuilder {
	for _, b := range r.builders {
		if b.copyClass == class {
			return b
		}
	}
	b := &copyBuilder{copyClass: class}
	r.builders = append(r.builders, b)
	return b
}

// moveFrame appends a frame as it is.
func (r *rewriter) moveFrame(ctx context.Context, c *copied) error {
	h := *c.header
	at, err := r.appendCopy(ctx, &h, c.payload)
	if err != nil {
		return err
	}
	if h.HeaderLen != c.HeaderLen {
		return fmt.Errorf("frame %s: its header has %d bytes, and %d in pack %s", c.ID, c.HeaderLen, h.HeaderLen, h.Pack)
	}
	m := MovedFrame{FrameEntry: c.FrameEntry, From: c.Pack}
	m.Pack, m.Offset = h.Pack, h.Offset
	r.out.Frames++
	return r.noteMoves(ctx, at, &Change{Moved: []MovedFrame{m}})
}

// writeGathered appends a frame of the chunks that b has gathered, and empties b.
func (r *rewriter) writeGathered(ctx context.Context, b *copyBuilder) error {
	if len(b.slots) == 0 {
		return nil
	}
	full := *b
	*b = copyBuilder{copyClass: b.copyClass}
	e := r.s.enc.encodeFrame(b.kind, Compression{Codec: b.codec}, full.plain, full.slots)
	if e.err != nil {
		return e.err
	}
	at, err := r.appendCopy(ctx, e.h, e.payload)
	if err != nil {
		return err // somebody may still be writing it
	}
	r.s.enc.freeFrame(e)
	c := &Change{Frames: []FrameEntry{frameEntry(e.h)}}
	for i, to := range slotEntries(e.h) {
		c.Relocated = append(c.Relocated, RelocatedChunk{From: full.from[i], To: to})
	}
	r.out.Chunks += int64(len(full.slots))
	return r.noteMoves(ctx, at, c)
}

// appendCopy appends a frame, which it goes on using where it fails.
func (r *rewriter) appendCopy(ctx context.Context, h *pack.Frame, payload []byte) (place, error) {
	if err := takeRate(ctx, r.opts.Limit, int64(len(payload))); err != nil {
		return place{}, err
	}
	done := make(chan place, 1)
	if _, err := waitOrLeave(ctx, func() error {
		at, err := r.s.pack.appendCopy(ctx, h, payload)
		done <- at
		return err
	}); err != nil {
		return place{}, err
	}
	at := <-done
	r.out.Written += h.End() - h.Offset
	if m := r.movesIn(at.pack); at.end-m.flushed >= flushCopies {
		m.flushed = at.end
		if _, err := waitOrLeave(ctx, at.pack.flushWritten); err != nil {
			return at, err
		}
	}
	return at, nil
}

// noteMoves notes what the index has to learn when the copies before at are
// durable. When a pack is full, it learns of those in it.
func (r *rewriter) noteMoves(ctx context.Context, at place, c *Change) error {
	m := r.movesIn(at.pack)
	m.at.end = at.end
	last := m.changes[len(m.changes)-1]
	if n := len(last.Moved) + len(last.Relocated); n > 0 && n+len(c.Moved)+len(c.Relocated) > moveEntries {
		last = &Change{Collector: r.opts.Collector}
		m.changes = append(m.changes, last)
	}
	last.Frames = append(last.Frames, c.Frames...)
	last.Moved = append(last.Moved, c.Moved...)
	last.Relocated = append(last.Relocated, c.Relocated...)
	return r.settleMoves(ctx, at.pack)
}

// movesIn returns what was copied to a pack.
func (r *rewriter) movesIn(o *openPack) *moves {
	if n := len(r.moves); n > 0 && r.moves[n-1].at.pack == o {
		return r.moves[n-1]
	}
	m := &moves{at: place{pack: o}, changes: []*Change{{Collector: r.opts.Collector}}}
	r.moves = append(r.moves, m)
	return m
}

// settleMoves waits until what was copied to packs before o is durable, and tells
// the index; with nil, to all packs.
func (r *rewriter) settleMoves(ctx context.Context, o *openPack) error {
	for len(r.moves) > 0 && r.moves[0].at.pack != o {
		m := r.moves[0]
		if err := m.at.pack.waitDurable(ctx, m.at.end); err != nil {
			return err
		}
		for _, c := range m.changes {
			if err := r.s.ix.Apply(ctx, c); err != nil {
				return err
			}
		}
		r.moves = r.moves[1:]
	}
	return nil
}
