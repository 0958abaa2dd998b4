package cas

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// recoverOpenPack finds the pack that the last process was appending to, indexes
// its whole frames that are not indexed yet, and makes it the open pack. It does
// nothing of this unless nobody else can be appending to it.
func (s *Store) recoverOpenPack(ctx context.Context, opts *Options, size int64) error {
	var last PackEntry
	for p, err := range s.ix.AllPacks(ctx) {
		if err != nil {
			return err
		}
		if !p.Sealed {
			last = p
		}
		s.pack.taken += p.Size
		s.pack.serials.previous = p.ID // the newest is the last
	}
	if last.ID == (PackID{}) || !opts.Exclusive {
		return nil
	}
	info, err := s.b.Stat(ctx, last.ID.Key())
	if err != nil {
		s.log.Warn("an unsealed pack cannot be read", "pack", last.ID, "err", err)
		return nil
	}
	s.pack.taken += info.Size - last.Size
	o, err := s.adoptFrames(ctx, last, info.Size)
	if err != nil || o == nil || info.Size >= size || o.lines.Full() {
		return err
	}
	w, end, err := s.b.Append(ctx, last.ID.Key())
	if errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	if err != nil {
		s.log.Warn("an unsealed pack cannot be continued", "pack", last.ID, "err", err)
		return nil
	}
	o.w, o.off, o.durable = w, end, end
	s.pack.cur = o
	s.pack.noteGrowing(o)
	return nil
}

// adoptFrames indexes the frames of a pack behind the size that the index has,
// and returns the pack to append to. It returns nil if the pack is sealed or
// does not end in a whole frame: nothing may follow the torn end of a crash.
func (s *Store) adoptFrames(ctx context.Context, p PackEntry, size int64) (*openPack, error) {
	change := &Change{Packs: []PackEntry{p}}
	entry := &change.Packs[0]
	o := s.pack.newOpenPack(p.ID, nil, 0)
	o.counted = true // by its own writer
	torn := false
	foot, err := s.scan.walkPack(ctx, packReader{s.b, p.ID.Key()}, PackEntry{ID: p.ID, Size: size}, func(f *Frame) error {
		if torn = torn || f.Damage != nil; torn {
			return nil
		}
		if f.Entry.Offset >= p.Size {
			if err := f.checkPayload(ctx); err != nil {
				torn = true
				return nil
			}
			if f.locked {
				return fmt.Errorf("pack %s at %d: key %d: %w", p.ID, f.Entry.Offset, f.Entry.Key, ErrKey)
			}
			if f.Entry.Kind.Indexed() {
				change.Frames = append(change.Frames, f.Entry)
				change.Chunks = append(change.Chunks, f.Chunks...)
			}
		}
		o.lines.Add(f.header, pack.AppendFrame(nil, f.header))
		entry.Size, entry.LastCommit = f.Entry.end(), max(entry.LastCommit, f.header.Last)
		if f.Entry.Kind == KindRecord && f.Entry.Offset >= p.Size {
			entry.Records += f.size()
		}
		return nil
	})
	if errors.Is(err, ErrUnknown) || errors.Is(err, ErrKey) {
		return nil, err
	}
	if err != nil {
		s.log.Warn("an unsealed pack cannot be walked", "pack", p.ID, "err", err)
		return nil, nil
	}
	if foot != nil && !torn {
		entry.Size, entry.Sealed = size, true
	}
	o.entry = *entry
	if entry.Size > p.Size || entry.Sealed {
		if err = s.leaveKnown(ctx, change); err == nil {
			err = s.ix.Apply(ctx, change)
		}
	}
	if errors.Is(err, backend.ErrNoSpace) { // it can be read; whoever opens it with space adopts the rest
		s.log.Warn("no space to index the end of an unsealed pack", "pack", p.ID, "err", err)
		return nil, nil
	}
	if torn || entry.Sealed {
		return nil, err
	}
	return o, err
}

// leaveKnown takes the frames out of a change that the index knows, with their
// chunks: they are copies that a collector was making.
func (s *Store) leaveKnown(ctx context.Context, c *Change) error {
	ids, known := make([]FrameID, len(c.Frames)), make(map[FrameID]bool)
	for i := range c.Frames {
		ids[i] = c.Frames[i].ID
	}
	found := make([]FrameEntry, len(ids))
	if err := s.ix.Frames(ctx, ids, found); err != nil {
		return err
	}
	for i := range found {
		known[found[i].ID] = true // or the zero ID, which no frame has
	}
	c.Frames = slices.DeleteFunc(c.Frames, func(f FrameEntry) bool { return known[f.ID] })
	c.Chunks = slices.DeleteFunc(c.Chunks, func(e ChunkEntry) bool { return known[e.Frame] })
	return nil
}
