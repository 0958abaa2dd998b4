package check

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
)

// listDoomed reads which packs are being deleted, before anything else is read: the
// records that say so are in the outbox then, or in packs that listPacks lists.
func (c *domainChecker) listDoomed(ctx context.Context) error {
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		if p.Doomed {
			c.doomed[p.ID] = true
		}
	}
	return nil
}

// listPacks reads the packs that the index knows, and those that there are. It
// passes over those whose deletion has begun: they may be there, or not.
func (c *domainChecker) listPacks(ctx context.Context) error {
	c.known = make(map[cas.PackID]cas.PackEntry)
	ignored := make(map[cas.PackID]bool)
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
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
	for id, p := range c.known {
		if _, err := c.Chunks.InspectRest(ctx, p); !errors.Is(err, fs.ErrNotExist) {
			if err != nil {
				return err
			}
			if err := c.checkPack(ctx, p); err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			continue // it was sent elsewhere while packs were listed
		}
		c.addProblem(Problem{Kind: "pack", Pack: id.String(), Detail: "the index names a pack that is not there"}.with(HealsUpload, doesForget))
		frames := c.newIndexCursor(ctx, &p)
		if err := frames.finish(); err != nil {
			return err
		}
		for _, p := range frames.found {
			c.addProblem(p.with(HealsUpload, doesForget))
		}
	}
	return nil
}

func (c *domainChecker) checkPack(ctx context.Context, p cas.PackEntry) error {
	known := c.known[p.ID]
	known.ID = p.ID
	frames := c.newIndexCursor(ctx, &known)
	defer frames.stop()
	end := int64(0) // of the last frame
	info, err := c.Chunks.Examine(ctx, p, func(f *cas.Frame) error {
		c.report.Bytes += int64(f.Entry.StoredLen)
		c.noteProgress("packs", c.Name, min(c.report.Bytes, c.total), c.total)
		if err := c.limitRate(ctx, int(f.Entry.StoredLen)); err != nil {
			return err
		}
		if f.Damage == nil {
			end = endOf(f)
			return c.checkFrame(ctx, f, known, frames)
		}
		if f.Entry.Offset < known.Size { // else it is what a crash has left
			frames.note("pack", "%d bytes at %d: %v", f.Skipped, f.Entry.Offset, f.Damage)
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
	c.noteRead(p, info)
	if known.Sealed && !info.Sealed && end < known.Size { // else it ended without one
		frames.note("pack", "the footer is damaged; frames can still be found without it")
	}
	if p.Size < known.Size {
		frames.note("pack", "the pack has %d bytes, and had %d", p.Size, known.Size)
	}
	c.tellOfPack(&known, frames)
	return nil
}

// maxSpoiled is how many problems of packs a repair keeps until it has moved what
// can be read of those packs.
const maxSpoiled = 10_000

// tellOfPack tells what is wrong with a pack, or keeps it until a repair has moved
// what can be read of it. If the index has neither frames in it nor records that no
// checkpoint covers, nothing that counts is hurt, and the next collection deletes it.
func (c *domainChecker) tellOfPack(p *cas.PackEntry, frames *indexCursor) {
	if !frames.any && p.LastCommit <= c.checkpoint {
		return
	}
	if c.opts.Repair && len(frames.found) > 0 && c.spoiledCount+len(frames.found) <= maxSpoiled {
		c.spoiledCount += len(frames.found)
		c.spoiled = append(c.spoiled, spoiledPack{p.ID, frames.found})
		return
	}
	for i := range frames.found {
		c.addProblem(frames.found[i])
	}
}

// An indexCursor goes through the frames that the index names in a pack, beside
// a walk over the pack.
type indexCursor struct {
	c    *domainChecker
	size int64 // of the pack as the index had it before the packs were listed
	next func() (cas.FrameEntry, error, bool)
	stop func()
	at   cas.FrameEntry // the next one
	ok   bool           // there is one
	any  bool           // there was one
	live int64          // sum over those before it

	pack  cas.PackID
	found []Problem // what is wrong with the pack
}

// note notes something that is wrong with the pack.
func (x *indexCursor) note(kind, detail string, args ...any) {
	x.found = append(x.found, Problem{Kind: kind, Pack: x.pack.String(), Detail: fmt.Sprintf(detail, args...)}.with(HealsRepair, doesMove))
}

func (c *domainChecker) newIndexCursor(ctx context.Context, p *cas.PackEntry) *indexCursor {
	x := &indexCursor{c: c, ok: true, size: p.Size, pack: p.ID}
	x.next, x.stop = iter.Pull2(c.Chunks.Index().PackFrames(ctx, p.ID))
	return x
}

func (x *indexCursor) advance() (err error) {
	if x.ok && x.at.Known() {
		x.live += x.at.LiveStored()
	}
	x.at, err, x.ok = x.next()
	x.any = x.any || x.ok
	return err
}

// meet reports whether the index names the frame e as it is. Frames before e
// that the walk has not met are problems: their headers are damaged, or they
// are gone. Those that were added since the packs were listed are none.
func (x *indexCursor) meet(e *cas.FrameEntry) (bool, error) {
	if !x.at.Known() && x.ok {
		if err := x.advance(); err != nil {
			return false, err
		}
	}
	for x.ok && x.at.Offset < e.Offset {
		if x.at.Offset < x.size {
			if err := x.addUnmet(); err != nil {
				return false, err
			}
		}
		if err := x.advance(); err != nil {
			return false, err
		}
	}
	if !x.ok || !x.at.Equal(e) {
		return false, nil
	}
	return true, x.advance()
}

// addUnmet takes in that the next frame is not where the index has it. That its
// chunks cannot be read checkIndex finds out.
func (x *indexCursor) addUnmet() error {
	x.note("index", "the frame at %d is not found where the index has it", x.at.Offset)
	return x.c.unmet.Add(digests.KeyOfID(x.at.ID), 0)
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
		frames.note("pack", "notes at %d are damaged: packs that they give up may be called missing", f.Entry.Offset)
	}
	if f.Entry.Kind == cas.KindRecord {
		if len(bad) > 0 && f.Entry.Offset >= known.Size {
			return nil // never acknowledged: what a crash has left
		}
		if len(bad) > 0 {
			frames.note("pack", "metadata records at %d are damaged", f.Entry.Offset)
		}
		return c.replayFrame(ctx, f, plain)
	}
	if !indexed || len(bad) == 0 {
		return nil
	}
	return c.damageSlots(ctx, f.Entry, bad, nil)
}

// damageSlots notes which of the chunks bad have no other place than the frame
// e. source is the damage of a chunk that they are made from, or nil if their
// own bytes are damaged.
func (c *domainChecker) damageSlots(ctx context.Context, e cas.FrameEntry, bad []cas.Ref, source *cas.CorruptError) error {
	ds := make([]cas.Digest, len(bad))
	for i := range bad {
		ds[i] = bad[i].Digest
	}
	slices.SortFunc(ds, func(a, b cas.Digest) int { return bytes.Compare(a[:], b[:]) })
	ds = slices.Compact(ds)
	out := make([]cas.ChunkEntry, len(ds))
	if err := c.Chunks.Index().Chunks(ctx, ds, out); err != nil {
		return err
	}
	why, p := uint64(ownDamage), Problem{Pack: e.Pack.String(), Detail: fmt.Sprintf("the stored bytes at %d are damaged", e.Offset)}
	if source != nil {
		why, p = sourceDamage, Problem{Pack: source.Pack.String(), Detail: fmt.Sprintf("chunk %s, which it is made from, is damaged", source.Digest)}
	}
	at := make([]cas.FrameEntry, 1)
	if err := c.Chunks.Index().Frames(ctx, []cas.FrameID{e.ID}, at); err != nil {
		return err
	}
	if at[0].Pack != e.Pack || at[0].Offset != e.Offset {
		return nil // it was copied to another pack, and verified
	}
	for i := range out {
		if out[i].Frame != e.ID {
			continue
		}
		p.Digest = ds[i].String()
		if err := c.addDamage(ds[i], why, p); err != nil {
			return err
		}
	}
	return nil
}

// addDamage takes in a chunk that cannot be read. A repair tells of it once it has
// looked for another copy.
func (c *domainChecker) addDamage(d cas.Digest, why uint64, p Problem) error {
	if p.Kind = "chunk"; !c.opts.Repair {
		c.addProblem(p.with(HealsUpload, doesMark))
	}
	return c.damaged.add(d, why)
}

// checkIndex checks that every chunk of the index lies in a frame that the
// index knows, and reads those whose frame the packs did not show.
func (c *domainChecker) checkIndex(ctx context.Context) error {
	var batch []cas.ChunkEntry
	first := c.report.Chunks
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
		c.noteProgress("index", c.Name, c.report.Chunks-first, 0)
		batch = batch[:0]
	}
	return c.checkPlaces(ctx, batch)
}

func (c *domainChecker) checkPlaces(ctx context.Context, chunks []cas.ChunkEntry) error {
	frames, err := c.framesOf(ctx, chunks)
	if err != nil {
		return err
	}
	for i := range chunks {
		if !frames[i].Known() {
			err = c.checkFrameless(ctx, &chunks[i])
		} else if _, unmet, findErr := c.unmet.Find(digests.KeyOfID(chunks[i].Frame)); unmet || findErr != nil {
			err = cmp.Or(findErr, c.readUnmet(ctx, chunks[i].Digest, frames[i].Kind))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// framesOf looks the frames of chunks up.
func (c *domainChecker) framesOf(ctx context.Context, chunks []cas.ChunkEntry) ([]cas.FrameEntry, error) {
	ids, frames := make([]cas.FrameID, len(chunks)), make([]cas.FrameEntry, len(chunks))
	for i := range chunks {
		ids[i] = chunks[i].Frame
	}
	return frames, c.Chunks.Index().Frames(ctx, ids, frames)
}

// checkFrameless looks again at a chunk whose frame the index did not know: it may
// have been dropped, or copied into another one.
func (c *domainChecker) checkFrameless(ctx context.Context, e *cas.ChunkEntry) error {
	now := make([]cas.ChunkEntry, 1)
	if err := c.Chunks.Index().Chunks(ctx, []cas.Digest{e.Digest}, now); err != nil {
		return err
	}
	if now[0].Frame != e.Frame {
		return nil
	}
	return c.addDamage(e.Digest, frameUnknown, Problem{Digest: e.Digest.String(), Detail: "the index does not know its frame"})
}

// readUnmet reads a chunk whose frame the packs did not show. Of a frame that has
// lost its end some may be readable.
func (c *domainChecker) readUnmet(ctx context.Context, d cas.Digest, kind cas.Kind) error {
	_, err := c.Chunks.Get(ctx, d, nil)
	var ce *cas.CorruptError
	switch {
	case err == nil:
		return c.stranded.add(d, uint64(kind))
	case errors.Is(err, cas.ErrMissing):
		return nil // it was dropped meanwhile
	case errors.As(err, &ce):
		return c.addDamage(d, ownDamage, Problem{Digest: d.String(), Pack: ce.Pack.String(), Detail: ce.Err.Error()})
	}
	return err
}
