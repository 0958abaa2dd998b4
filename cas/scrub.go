package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/backend"
)

// ScrubOptions are choices of ScrubPack; nil and zero values mean the defaults.
type ScrubOptions struct {
	// Limit bounds the bytes that are read a second, of all calls that share it;
	// nil is no bound.
	Limit *rate.Limiter
	// ReadOnly marks nothing.
	ReadOnly bool
}

// maxScrubbed is how many damaged chunks, and how many frames that were not met,
// the scrub of a pack lists.
const maxScrubbed = 10_000

// A PackScrub says what came of the scrub of a pack.
type PackScrub struct {
	Bytes  int64 // of frames, that were read
	Frames int64 // that were verified

	// Bad are chunks that the index has in the pack and whose bytes there are
	// wrong, at most 10,000 of BadCount. They are marked Bad.
	Bad      []Digest
	BadCount int64

	// Unmet are frames that the index has in the pack and that are not recognised
	// there, at most 10,000 of UnmetCount. Whether their chunks can be read is not
	// known: Get tells.
	Unmet      []FrameID
	UnmetCount int64

	// Damage says what else is wrong with the pack: its length, headers, records
	// and notes; "" if nothing is.
	Damage string
}

// IsClean reports whether all of the pack is as it should be.
func (p *PackScrub) IsClean() bool { return p.BadCount == 0 && p.UnmetCount == 0 && p.Damage == "" }

// ScrubPack reads all of a pack that the index has, and verifies what lies in it.
// What is wrong is read again, past all caches, before it counts. A chunk whose
// bytes are wrong is marked Bad, by comparing and swapping: one that was healed or
// moved meanwhile is neither marked nor counted. Of a frame that is made from other
// chunks only its own bytes count. A pack that cannot be read is a *PackError, one
// that is not there an fs.ErrNotExist in it. Any other error says nothing of the
// pack: that of a backend that does not serve, of the index, or of ctx.
func (s *Store) ScrubPack(ctx context.Context, p PackEntry, opts *ScrubOptions) (PackScrub, error) {
	c := &scrubber{s: s, pack: p}
	if opts != nil {
		c.opts = *opts
	}
	err := c.run(ctx)
	if errors.Is(err, ErrUnknown) || err == nil && (c.out.UnmetCount > 0 || c.out.Damage != "") {
		read := c.out.Bytes // headers came wrong, perhaps only on their way
		c.out = PackScrub{}
		err = c.run(ctx)
		c.out.Bytes += read
	}
	if err != nil && c.isOfPack(err) {
		return c.out, &PackError{p.ID, err}
	}
	if err != nil {
		return c.out, fmt.Errorf("cas: scrub pack %s: %w", p.ID, err)
	}
	return c.out, nil
}

// isOfPack reports whether an error is about the bytes of the pack.
func (c *scrubber) isOfPack(err error) bool {
	if errors.Is(err, ErrUnknown) {
		return true
	}
	var reading *readError
	return errors.As(err, &reading) && reading.key == c.pack.ID.Key() && !errors.Is(err, backend.ErrUnavailable)
}

// A scrubber is one call of ScrubPack.
type scrubber struct {
	s    *Store
	pack PackEntry
	opts ScrubOptions
	out  PackScrub

	frames map[FrameID]int64 // offsets of those of the index that have not been met
}

func (c *scrubber) run(ctx context.Context) error {
	c.frames = make(map[FrameID]int64) // before the size is asked for: the pack may grow
	for f, err := range c.s.ix.PackFrames(ctx, c.pack.ID) {
		if err != nil {
			return err
		}
		c.frames[f.ID] = f.Offset
	}
	info, err := c.s.b.Stat(ctx, c.pack.ID.Key())
	if err != nil {
		return &readError{c.pack.ID.Key(), err}
	}
	if info.Size < c.pack.Size {
		c.noteDamage("it has %d bytes of %d", info.Size, c.pack.Size)
	}
	found, err := c.s.Examine(ctx, PackEntry{ID: c.pack.ID, Size: info.Size}, func(f *Frame) error { return c.scrubFrame(ctx, f) })
	if err != nil {
		return err
	}
	if found.Header == nil {
		c.noteDamage("its header is damaged")
	}
	return c.listUnmet(ctx)
}

func (c *scrubber) noteDamage(format string, args ...any) {
	if c.out.Damage == "" { // the first tells enough
		c.out.Damage = fmt.Sprintf(format, args...)
	}
}

// scrubFrame verifies a frame. What lies behind the end that the index knows is
// what a crash has left.
func (c *scrubber) scrubFrame(ctx context.Context, f *Frame) error {
	durable := f.Entry.Offset < c.pack.Size
	if f.Damage != nil {
		if durable {
			c.noteDamage("%d bytes at %d: %v", f.Skipped, f.Entry.Offset, f.Damage)
		}
		return nil
	}
	if err := takeRate(ctx, c.opts.Limit, f.size()); err != nil {
		return err
	}
	c.out.Bytes += f.size()
	c.out.Frames++
	off, indexed := c.frames[f.Entry.ID]
	if indexed = indexed && off == f.Entry.Offset; indexed {
		delete(c.frames, f.Entry.ID)
	}
	bad, plain, err := c.s.Verify(ctx, f)
	var reading *readError
	ofSource := errors.As(err, &reading) && reading.key != c.pack.ID.Key() // which another pack holds
	if err != nil && (isUndecodable(err) || ofSource) {
		bad, err = c.checkStored(ctx, f)
	}
	switch {
	case err != nil || len(bad) == 0:
		return err
	case !indexed && !f.Entry.Kind.Indexed() && durable:
		c.noteDamage("records or notes at %d are damaged", f.Entry.Offset)
	case indexed:
		return c.markBad(ctx, f, plain)
	}
	return nil
}

// checkStored compares the checksum of the payload of a frame that lacks a key, a
// codec or a source, and returns its slots if it is wrong.
func (c *scrubber) checkStored(ctx context.Context, f *Frame) ([]Ref, error) {
	err := f.checkPayload(ctx)
	if errors.Is(err, errPayload) {
		err = c.s.scan.again(f).checkPayload(ctx)
	}
	if !errors.Is(err, errPayload) {
		return nil, err
	}
	if f.locked {
		c.noteDamage("the sealed frame at %d is damaged", f.Entry.Offset)
	}
	return f.Slots, nil
}

// markBad marks those chunks of a frame that the index has there and that plain,
// as Verify returns it, does not have, and counts those that are marked then.
func (c *scrubber) markBad(ctx context.Context, f *Frame, plain [][]byte) error {
	var ds []Digest
	for i := range f.Slots {
		if plain == nil || plain[i] == nil {
			ds = append(ds, f.Slots[i].Digest)
		}
	}
	slices.SortFunc(ds, func(a, b Digest) int { return bytes.Compare(a[:], b[:]) })
	ds = slices.Compact(ds)
	entries := make([]ChunkEntry, len(ds))
	if err := c.s.ix.Chunks(ctx, ds, entries); err != nil {
		return err
	}
	var bad []ChunkEntry
	for _, e := range entries {
		if e.Frame == f.Entry.ID && int(e.Slot) < len(f.Slots) && (plain == nil || plain[e.Slot] == nil) {
			bad = append(bad, e)
		}
	}
	if len(bad) == 0 {
		return nil
	}
	if !c.opts.ReadOnly {
		if err := c.s.ix.Apply(ctx, &Change{Bad: bad, BadIn: c.pack.ID}); err != nil {
			return err
		}
	}
	ds = ds[:0]
	for i := range bad {
		ds = append(ds, bad[i].Digest)
	}
	entries = entries[:len(ds)]
	if err := c.s.ix.Chunks(ctx, ds, entries); err != nil {
		return err
	}
	for _, e := range entries {
		if e.Frame == f.Entry.ID && (e.State == Bad || c.opts.ReadOnly) {
			c.noteBad(e.Digest, f)
		}
	}
	return nil
}

func (c *scrubber) noteBad(d Digest, f *Frame) {
	c.s.log.Error("stored bytes are damaged", "digest", d, "pack", c.pack.ID, "offset", f.Entry.Offset)
	c.out.BadCount++
	if len(c.out.Bad) < maxScrubbed {
		c.out.Bad = append(c.out.Bad, d)
	}
}

// listUnmet lists the frames that were not met, but for those that have left the
// pack meanwhile.
func (c *scrubber) listUnmet(ctx context.Context) error {
	if len(c.frames) == 0 {
		return nil
	}
	for f, err := range c.s.ix.PackFrames(ctx, c.pack.ID) {
		if err != nil {
			return err
		}
		if _, ok := c.frames[f.ID]; !ok {
			continue
		}
		c.out.UnmetCount++
		if len(c.out.Unmet) < maxScrubbed {
			c.out.Unmet = append(c.out.Unmet, f.ID)
		}
	}
	return nil
}
