package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"

	"github.com/cairn-store/cairn/cas"
)

// listPacks reads the packs that the index knows, and those that there are. It
// passes over those whose deletion has begun: they may be there, or not.
func (c *domainChecker) listPacks(ctx context.Context) error {
	c.unmet = make(map[cas.FrameID]bool)
	c.known = make(map[cas.PackID]cas.PackEntry)
	dead, err := c.readDead(ctx, c.Name)
	if err != nil {
		return err
	}
	for _, d := range dead {
		c.census.dead.add(d)
	}
	ignored := make(map[cas.PackID]bool)
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		c.census.addKnown(p)
		if p.Doomed {
			ignored[p.ID] = true
			continue
		}
		c.known[p.ID] = p
	}
	for _, p := range c.survey.Foreign {
		ignored[p.ID] = true
		c.addProblem(Problem{Kind: "pack", Pack: p.ID.String(),
			Detail: fmt.Sprintf("it belongs to another store or backend: store %x, domain %x", p.Header.Store, p.Header.Domain)})
	}
	for p, err := range c.Chunks.Packs(ctx) {
		if err != nil {
			return err
		}
		if ignored[p.ID] {
			continue
		}
		c.listed = append(c.listed, p)
		c.total += p.Size
	}
	return nil
}

// checkPacks walks all packs and verifies every frame.
func (c *domainChecker) checkPacks(ctx context.Context) error {
	for _, p := range c.listed {
		err := c.checkPack(ctx, p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		c.report.Packs++
		delete(c.known, p.ID)
	}
	if len(c.known) == 0 {
		return nil
	}
	missing := c.known // but for those that were collected meanwhile
	c.known = make(map[cas.PackID]cas.PackEntry)
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		if _, ok := missing[p.ID]; ok && !p.Doomed {
			c.known[p.ID] = p
		}
	}
	for id := range c.known {
		c.addProblem(Problem{Kind: "pack", Pack: id.String(), Detail: "the index names a pack that is not there"})
		if err := c.newIndexCursor(ctx, id).finish(); err != nil {
			return err
		}
	}
	return nil
}

func (c *domainChecker) checkPack(ctx context.Context, p cas.PackEntry) error {
	known := c.known[p.ID]
	frames := c.newIndexCursor(ctx, p.ID)
	defer frames.stop()
	end := int64(0) // of the last frame
	info, err := c.Chunks.Examine(ctx, p, func(f *cas.Frame) error {
		c.report.Bytes += int64(f.Entry.StoredLen)
		if c.opts.Progress != nil {
			c.opts.Progress(min(c.report.Bytes, c.total), c.total)
		}
		if f.Damage == nil {
			end = endOf(f)
			return c.checkFrame(ctx, f, known, frames)
		}
		if f.Entry.Offset < known.Size { // else it is what a crash has left
			c.addProblem(Problem{Kind: "pack", Pack: p.ID.String(),
				Detail: fmt.Sprintf("%d bytes at %d: %v", f.Skipped, f.Entry.Offset, f.Damage)})
		}
		return nil
	})
	if err == nil {
		err = frames.finish()
	}
	if err != nil {
		return err
	}
	if frames.live != known.Live {
		c.miscounted[p.ID] = true
	}
	c.census.addPack(info)
	if info.LastCommit > 0 {
		c.recordPacks = append(c.recordPacks, keptPack{PackEntry: p})
	}
	if known.Sealed && !info.Sealed && end < known.Size { // else it ended without one
		c.addProblem(Problem{Kind: "pack", Pack: p.ID.String(), Detail: "the footer is damaged; frames can still be found without it"})
	}
	return nil
}

// An indexCursor goes through the frames that the index names in a pack, beside
// a walk over the pack.
type indexCursor struct {
	c    *domainChecker
	next func() (cas.FrameEntry, error, bool)
	stop func()
	at   cas.FrameEntry // the next one
	ok   bool           // there is one
	live int64          // sum over those before it
}

func (c *domainChecker) newIndexCursor(ctx context.Context, id cas.PackID) *indexCursor {
	x := &indexCursor{c: c, ok: true}
	x.next, x.stop = iter.Pull2(c.Chunks.Index().PackFrames(ctx, id))
	return x
}

func (x *indexCursor) advance() (err error) {
	if x.ok && x.at.Known() {
		x.live += x.at.LiveStored()
	}
	x.at, err, x.ok = x.next()
	return err
}

// meet reports whether the index names the frame e as it is. Frames before e
// that the walk has not met are problems: their headers are damaged, or they
// are gone.
func (x *indexCursor) meet(e *cas.FrameEntry) (bool, error) {
	if !x.at.Known() && x.ok {
		if err := x.advance(); err != nil {
			return false, err
		}
	}
	for x.ok && x.at.Offset < e.Offset {
		x.c.unmet[x.at.ID] = true
		x.c.addProblem(Problem{Kind: "index", Pack: x.at.Pack.String(),
			Detail: fmt.Sprintf("the frame at %d is not found where the index has it", x.at.Offset)})
		if err := x.advance(); err != nil {
			return false, err
		}
	}
	if !x.ok || !x.at.Equal(e) {
		return false, nil
	}
	return true, x.advance()
}

// finish reports all frames that the walk has not met.
func (x *indexCursor) finish() error {
	defer x.stop()
	_, err := x.meet(&cas.FrameEntry{Offset: math.MaxInt64})
	return err
}

// checkFrame verifies the slots of a frame. A chunk is damaged if this is the
// place that the index names for it.
func (c *domainChecker) checkFrame(ctx context.Context, f *cas.Frame, known cas.PackEntry, frames *indexCursor) error {
	indexed, err := frames.meet(&f.Entry)
	if err == nil && indexed {
		err = c.checkCounts(ctx, f)
	}
	if err != nil {
		return err
	}
	bad, plain, err := c.Chunks.Verify(ctx, f)
	var ce *cas.CorruptError
	if len(f.Sources) > 0 && errors.As(err, &ce) {
		if indexed {
			return c.damageSlots(ctx, f.Entry, f.Slots, ce)
		}
		return nil
	}
	if err != nil {
		return err
	}
	if err := c.census.addVoids(ctx, c.Chunks, f); err != nil {
		return err
	}
	if f.Entry.Kind == cas.KindNote && len(bad) > 0 && f.Entry.Offset < known.Size {
		c.addProblem(Problem{Kind: "pack", Pack: f.Entry.Pack.String(),
			Detail: fmt.Sprintf("notes at %d are damaged: packs that they give up may be called missing", f.Entry.Offset)})
	}
	if f.Entry.Kind == cas.KindRecord {
		if len(bad) > 0 && f.Entry.Offset >= known.Size {
			return nil // never acknowledged: what a crash has left
		}
		if len(bad) > 0 {
			c.addProblem(Problem{Kind: "pack", Pack: f.Entry.Pack.String(), Repaired: c.opts.Repair,
				Detail: fmt.Sprintf("metadata records at %d are damaged", f.Entry.Offset)})
		}
		return c.replayFrame(ctx, f, plain)
	}
	if !indexed || len(bad) == 0 {
		return nil
	}
	return c.damageSlots(ctx, f.Entry, bad, nil)
}

// checkCounts checks that the index counts those chunks as live in a frame that it
// has there. They are counted twice before it is a problem, since work may be
// going on.
func (c *domainChecker) checkCounts(ctx context.Context, f *cas.Frame) error {
	ds, chunks := make([]cas.Digest, len(f.Slots)), make([]cas.ChunkEntry, len(f.Slots))
	for i := range f.Slots {
		ds[i] = f.Slots[i].Digest
	}
	slices.SortFunc(ds, func(a, b cas.Digest) int { return bytes.Compare(a[:], b[:]) })
	ds = slices.Compact(ds)
	frame := make([]cas.FrameEntry, 1)
	var live, plain uint32
	for range 2 {
		if err := c.Chunks.Index().Frames(ctx, []cas.FrameID{f.Entry.ID}, frame); err != nil {
			return err
		}
		if err := c.Chunks.Index().Chunks(ctx, ds, chunks[:len(ds)]); err != nil {
			return err
		}
		live, plain = 0, 0
		for _, e := range chunks[:len(ds)] {
			if e.Frame == f.Entry.ID {
				live, plain = live+1, plain+e.Length
			}
		}
		if frame[0].Live == live && frame[0].LiveBytes == plain {
			return nil
		}
	}
	c.addProblem(Problem{Kind: "index", Pack: f.Entry.Pack.String(), Detail: fmt.Sprintf("the index counts %d chunks of %d bytes in the frame at %d, and has %d of %d",
		frame[0].Live, frame[0].LiveBytes, f.Entry.Offset, live, plain)})
	return nil
}

// checkMiscounted counts again what is live in packs for which the index had
// another number, since work may have been going on.
func (c *domainChecker) checkMiscounted(ctx context.Context) error {
	if len(c.miscounted) == 0 {
		return nil
	}
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		if !c.miscounted[p.ID] {
			continue
		}
		live := int64(0)
		for f, err := range c.Chunks.Index().PackFrames(ctx, p.ID) {
			if err != nil {
				return err
			}
			live += f.LiveStored()
		}
		if live != p.Live {
			c.addProblem(Problem{Kind: "index", Pack: p.ID.String(), Detail: fmt.Sprintf("the index counts %d bytes as live in the pack, and %d in its frames", p.Live, live)})
		}
	}
	return nil
}

// damageSlots notes which of the chunks bad have no other place than the frame
// e. source is the damage of a chunk that they are made from, or nil if their
// own bytes are damaged.
func (c *domainChecker) damageSlots(ctx context.Context, e cas.FrameEntry, bad []cas.Ref, source *cas.CorruptError) error {
	ds := make([]cas.Digest, len(bad))
	for i := range bad {
		ds[i] = bad[i].Digest
	}
	out := make([]cas.ChunkEntry, len(ds))
	if err := c.Chunks.Index().Chunks(ctx, ds, out); err != nil {
		return err
	}
	for i := range out {
		switch {
		case out[i].Frame != e.ID:
		case source != nil:
			c.addDamage(ds[i], badChunk{source.Pack, source.Digest}, fmt.Sprintf("chunk %s, which it is made from, is damaged", source.Digest))
		default:
			c.addDamage(ds[i], badChunk{pack: e.Pack}, fmt.Sprintf("the stored bytes at %d are damaged", e.Offset))
		}
	}
	return nil
}

func (c *domainChecker) addDamage(d cas.Digest, bad badChunk, detail string) {
	if _, ok := c.bad[d]; ok {
		return
	}
	c.bad[d] = bad
	c.addProblem(Problem{Kind: "chunk", Digest: d.String(), Pack: bad.pack.String(), Detail: detail})
}

// checkIndex checks that every chunk of the index lies in a frame that the
// index knows, and reads those whose frame the packs did not show.
func (c *domainChecker) checkIndex(ctx context.Context) error {
	var batch []cas.ChunkEntry
	for e, err := range c.Chunks.Index().AllChunks(ctx) {
		if err != nil {
			return err
		}
		c.report.Chunks++
		if batch = append(batch, e); len(batch) < changeSize {
			continue
		}
		if err := c.checkPlaces(ctx, batch); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return c.checkPlaces(ctx, batch)
}

func (c *domainChecker) checkPlaces(ctx context.Context, chunks []cas.ChunkEntry) error {
	ids, frames := make([]cas.FrameID, len(chunks)), make([]cas.FrameEntry, len(chunks))
	for i := range chunks {
		ids[i] = chunks[i].Frame
	}
	if err := c.Chunks.Index().Frames(ctx, ids, frames); err != nil {
		return err
	}
	for i, e := range chunks {
		if !frames[i].Known() {
			c.addDamage(e.Digest, badChunk{}, "the index does not know its frame")
		}
		if !c.unmet[e.Frame] {
			continue // it was read, or is not known
		}
		_, err := c.Chunks.Get(ctx, e.Digest, nil)
		var ce *cas.CorruptError
		if errors.As(err, &ce) {
			c.addDamage(e.Digest, badChunk{pack: ce.Pack}, ce.Err.Error())
		} else if err != nil {
			return err
		}
	}
	return nil
}
