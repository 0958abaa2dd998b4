package collect

import (
	"cmp"
	"context"
	"encoding/binary"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// sweepBatch is how many entries one change drops at most.
const sweepBatch = 1024

// A sweep drops the entries that are neither marked nor stamped since the floor.
// Chunks go first and segments last: while a chunk is there, the segments that
// say whose it was are too, for the next cycle to find.
type sweep struct {
	*cycle
	ctx   context.Context
	pace  *pace
	marks *marks

	batch   []markedChunk
	later   digests.Spool // digests and values of what may be dropped in a second round
	second  bool          // it is the second round
	visited int64
}

// laterSize is what an entry takes in sweep.later.
const laterSize = 32 + 8

func (d *cycle) sweepAll(ctx context.Context, m *marks) (err error) {
	s := &sweep{cycle: d, ctx: ctx, marks: m, pace: d.newPace("sweep"), later: digests.NewSpool(d.opts.TempDir)}
	defer s.later.Close()
	for c, err := range joinMarks(d.index.AllChunks(ctx), m.log) {
		if err == nil {
			err = s.takeEntry(c)
		}
		if err != nil {
			return err
		}
	}
	if err := s.dropBatch(); err != nil {
		return err
	}
	s.second = true
	if err := s.takeLater(); err != nil {
		return err
	}
	return d.dropGraves(ctx, &m.graves)
}

// takeEntry looks at an entry of the index.
func (s *sweep) takeEntry(c *markedChunk) error {
	s.visited++
	if err := s.pace.step(s.ctx, s.visited); err != nil {
		return err
	}
	switch {
	case c.isLive():
		s.report.LiveChunks++
		return nil
	case c.Stamp >= s.report.Floor:
		return s.keepWaiting(c, ForWriter)
	}
	s.batch = append(s.batch, *c)
	if len(s.batch) < sweepBatch {
		return nil
	}
	return s.dropBatch()
}

// keepWaiting leaves a dead entry to a later cycle.
func (s *sweep) keepWaiting(c *markedChunk, why Reason) error {
	s.report.WaitingChunks++
	s.report.WaitingBytes += int64(c.Length)
	if s.held != nil {
		if err := s.held.add(c, why); err != nil {
			return err
		}
	}
	if !c.marked {
		return nil
	}
	return s.marks.graves.markWaiting(c.value &^ buried)
}

// dropBatch drops the entries that were gathered, and notes in which packs that
// made bytes dead, and why.
func (s *sweep) dropBatch() error {
	cs, frames, err := s.framesOf(s.batch)
	if err != nil {
		return err
	}
	s.batch = s.batch[:0]
	if len(cs) == 0 {
		return nil
	}
	after := make([]cas.ChunkEntry, len(cs))
	if s.opts.DryRun {
		if err := s.keepSources(cs, after); err != nil {
			return err
		}
	} else {
		drop, ds := make([]cas.ChunkEntry, len(cs)), make([]cas.Digest, len(cs))
		for i := range cs {
			drop[i], ds[i] = cs[i].ChunkEntry, cs[i].Digest
		}
		if err := s.index.Apply(s.ctx, &cas.Change{Collector: s.lease.Token, Drop: drop}); err != nil {
			return err
		}
		if err := s.index.Chunks(s.ctx, ds, after); err != nil {
			return err
		}
	}
	var gone []markedChunk
	for i := range cs {
		if e := &after[i]; e.Frame != cs[i].Frame || e.Slot != cs[i].Slot {
			gone = append(gone, cs[i])
		} else if err := s.putOff(&cs[i], e); err != nil {
			return err
		}
	}
	return s.chargePacks(gone, frames)
}

// putOff decides about an entry that was not dropped: it is needed by a frame that
// is made from it, or was stamped meanwhile.
func (s *sweep) putOff(c *markedChunk, now *cas.ChunkEntry) error {
	switch {
	case now.Stamp >= s.report.Floor:
		return s.keepWaiting(c, ForWriter)
	case s.second:
		return s.keepWaiting(c, ForSource)
	}
	return s.deferEntry(c) // what is made from it may have been dropped by then
}

// keepSources fills after, in a dry run, with those of some entries that would not be
// dropped: frames that stay are made from them.
func (s *sweep) keepSources(cs []markedChunk, after []cas.ChunkEntry) error {
	ds := make([]cas.Digest, len(cs))
	for i := range cs {
		ds[i] = cs[i].Digest
	}
	// Most stores have none: one question for all of them.
	if made, err := s.index.Dependants(s.ctx, ds); err != nil || len(made) == 0 {
		return err
	}
	for i := range cs {
		made, err := s.index.Dependants(s.ctx, ds[i:i+1])
		if err != nil {
			return err
		}
		stay := false
		if stay = len(made) > 0; stay && s.second {
			if stay, err = s.anyStays(made); err != nil {
				return err
			}
		}
		if stay {
			after[i] = cs[i].ChunkEntry
		}
	}
	return nil
}

// anyStays reports whether any of some frames would not be dropped by a dry run.
func (s *sweep) anyStays(ids []cas.FrameID) (bool, error) {
	frames := make([]cas.FrameEntry, len(ids))
	if err := s.index.Frames(s.ctx, ids, frames); err != nil {
		return false, err
	}
	for i := range frames {
		dropped, _, err := s.dying.Find(digests.KeyOfID(frames[i].ID))
		if err != nil || dropped < uint64(frames[i].LiveBytes) {
			return err == nil, err
		}
	}
	return false, nil
}

func (s *sweep) deferEntry(c *markedChunk) error {
	b := append(make([]byte, 0, laterSize), c.Digest[:]...)
	value := uint64(0)
	if c.marked {
		value = c.value
	}
	return s.later.Append(binary.LittleEndian.AppendUint64(b, value))
}

// framesOf returns the frames of the entries of a batch, in order of IDs. It
// leaves segments to the second round.
func (s *sweep) framesOf(batch []markedChunk) (cs []markedChunk, frames []cas.FrameEntry, err error) {
	ids := make([]cas.FrameID, len(batch))
	for i := range batch {
		ids[i] = batch[i].Frame
	}
	slices.SortFunc(ids, compareFrames)
	ids = slices.Compact(ids)
	frames = make([]cas.FrameEntry, len(ids))
	if err := s.index.Frames(s.ctx, ids, frames); err != nil {
		return nil, nil, err
	}
	frames = slices.DeleteFunc(frames, func(f cas.FrameEntry) bool { return !f.Known() })
	for i := range batch {
		f := findFrame(frames, batch[i].Frame)
		if f == nil || f.Kind != cas.KindSegment || s.second {
			cs = append(cs, batch[i])
		} else if err := s.deferEntry(&batch[i]); err != nil {
			return nil, nil, err
		}
	}
	return cs, frames, nil
}

func compareFrames(a, b cas.FrameID) int { return slices.Compare(a[:], b[:]) }

// findFrame returns the frame of an ID, or nil.
func findFrame(frames []cas.FrameEntry, id cas.FrameID) *cas.FrameEntry {
	i, ok := slices.BinarySearchFunc(frames, id, func(f cas.FrameEntry, id cas.FrameID) int { return compareFrames(f.ID, id) })
	if !ok {
		return nil
	}
	return &frames[i]
}

// takeLater drops what was left to the second round.
func (s *sweep) takeLater() error {
	b := make([]byte, sweepBatch*laterSize)
	for off := int64(0); off < s.later.Len(); off += int64(len(b)) {
		n, err := s.later.ReadAt(b, off)
		if err != nil {
			return err
		}
		var values []uint64
		var ds []cas.Digest
		for p := b[:n]; len(p) > 0; p = p[laterSize:] {
			ds = append(ds, cas.Digest(p[:32]))
			values = append(values, binary.LittleEndian.Uint64(p[32:]))
		}
		entries := make([]cas.ChunkEntry, len(ds))
		if err := s.index.Chunks(s.ctx, ds, entries); err != nil {
			return err
		}
		for i := range entries {
			c := markedChunk{ChunkEntry: entries[i], marked: values[i] != 0, value: values[i]}
			if err := s.takeAgain(&c); err != nil {
				return err
			}
		}
		if err := s.dropBatch(); err != nil {
			return err
		}
	}
	return nil
}

// takeAgain looks at an entry in the second round.
func (s *sweep) takeAgain(c *markedChunk) error {
	if c.Frame == (cas.FrameID{}) {
		return nil // somebody else has dropped it
	}
	if c.Stamp >= s.report.Floor {
		return s.keepWaiting(c, ForWriter)
	}
	if c.marked {
		g, _, err := s.marks.graves.readGrave(c.value &^ buried)
		if err != nil {
			return err
		}
		if g.waits { // then it tells the next cycle whose the chunks are
			return s.keepWaiting(c, ForGrave)
		}
	}
	s.batch = append(s.batch, *c)
	return nil
}

// chargePacks notes that entries were dropped.
func (s *sweep) chargePacks(gone []markedChunk, frames []cas.FrameEntry) error {
	slices.SortFunc(gone, func(a, b markedChunk) int { return cmp.Compare(a.value, b.value) })
	var charges []manifest.Charge
	sums := make(map[cas.PackID]int) // places in charges, of the same cause
	for i := range gone {
		c := &gone[i]
		s.report.DroppedChunks++
		s.report.DroppedBytes += int64(c.Length)
		f := findFrame(frames, c.Frame)
		if f == nil {
			continue
		}
		if i == 0 || gone[i-1].value != c.value || gone[i-1].marked != c.marked {
			clear(sums)
		}
		at, ok := sums[f.Pack]
		if !ok {
			cause, err := s.marks.graves.findCause(c)
			if err != nil {
				return err
			}
			at = len(charges)
			sums[f.Pack] = at
			charges = append(charges, manifest.Charge{Pack: f.Pack, Cause: cause})
		}
		// What its frame counts for less now: the charges of one that is dropped in
		// the whole add up to its bytes.
		n := fallOf(*f, uint64(c.Length))
		f.LiveBytes -= min(f.LiveBytes, c.Length)
		charges[at].Bytes += n
		s.report.DroppedStored += n
		if s.opts.DryRun {
			if err := s.dying.Add(digests.KeyOfID(f.ID), uint64(c.Length)); err != nil {
				return err
			}
		}
	}
	return s.addCharges(charges)
}

// addCharges keeps charges for the ledger. A dry run only sums them up.
func (s *sweep) addCharges(cs []manifest.Charge) error {
	if s.opts.DryRun {
		for i := range cs {
			s.freed.add(&cs[i].Cause, cs[i].Bytes)
		}
		return nil
	}
	if len(cs) == 0 {
		return nil
	}
	return s.Meta.AddCharges(s.ctx, s.domain, cs)
}

// graveBatch is how many graves are dropped together.
const graveBatch = 1000

// dropGraves drops the graves of which nothing waits.
func (d *cycle) dropGraves(ctx context.Context, l *graveLog) error {
	if d.opts.DryRun {
		return nil
	}
	var ids []manifest.GraveID
	for place := uint64(0); place < uint64(l.Len()); {
		g, next, err := l.readGrave(place)
		if err != nil {
			return err
		}
		place = next
		if !g.waits {
			ids = append(ids, g.id)
		}
		if len(ids) == graveBatch || len(ids) > 0 && place == uint64(l.Len()) {
			if err := d.Meta.DropGraves(ctx, d.domain, ids); err != nil {
				return err
			}
			ids = ids[:0]
		}
	}
	return nil
}
