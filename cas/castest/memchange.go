package castest

import (
	"fmt"
	"slices"

	"github.com/cairn-store/cairn/cas"
)

// A memChange is a change being made to a copy of the entries of a MemIndex. What
// is live is counted anew from all chunks, as slowly and as simply as can be.
type memChange struct {
	old    *MemIndex
	epoch  uint64
	chunks map[cas.Digest]cas.ChunkEntry
	frames map[cas.FrameID]cas.FrameEntry
	packs  map[cas.PackID]cas.PackEntry
}

// removeEntries makes the drops and marks of c, and reports whether that made a
// usable chunk unusable, by something else than collection.
func (y *memChange) removeEntries(c *cas.Change) (removed bool) {
	for _, id := range c.DropPacks {
		delete(y.packs, id)
	}
	for _, e := range c.Bad {
		in := c.BadIn == cas.PackID{} || y.frames[e.Frame].Pack == c.BadIn
		if now := y.chunks[e.Digest]; in && now.Usable() && now.Frame == e.Frame && now.Slot == e.Slot {
			now.State = cas.Bad
			y.chunks[e.Digest] = now
			removed = true
		}
	}
	for _, e := range c.Drop {
		if now, ok := y.chunks[e.Digest]; ok && now == e && len(y.old.findDependants([]cas.Digest{e.Digest})) == 0 {
			delete(y.chunks, e.Digest)
			removed = removed || now.Usable() && c.Collector == 0
		}
	}
	return removed
}

func (y *memChange) addEntries(c *cas.Change) {
	for _, d := range c.Stamp {
		y.raiseStamp(d)
	}
	for _, p := range c.Packs {
		p.Doomed = y.packs[p.ID].Doomed
		y.packs[p.ID] = p
	}
	for _, f := range c.Frames {
		f.Sources = slices.Clone(f.Sources)
		y.frames[f.ID] = f
	}
	for _, e := range c.Chunks {
		if now := y.chunks[e.Digest]; !now.Usable() {
			y.chunks[e.Digest] = e
		}
		y.raiseStamp(e.Digest)
	}
}

func (y *memChange) raiseStamp(d cas.Digest) {
	if e, ok := y.chunks[d]; ok {
		e.Stamp = y.epoch
		y.chunks[d] = e
	}
}

func (y *memChange) moveEntries(c *cas.Change) {
	for _, m := range c.Moved {
		if f, ok := y.frames[m.ID]; ok && f.Pack == m.From {
			f.Pack, f.Offset = m.Pack, m.Offset
			y.frames[m.ID] = f
		}
	}
	for _, r := range c.Relocated {
		if e, ok := y.chunks[r.From.Digest]; ok && e.Frame == r.From.Frame && e.Slot == r.From.Slot {
			e.Frame, e.Slot, e.Offset, e.Length = r.To.Frame, r.To.Slot, r.To.Offset, r.To.Length
			y.chunks[r.From.Digest] = e
		}
	}
}

func (y *memChange) countLive(*cas.Change) error {
	for id, f := range y.frames {
		f.Live, f.LiveBytes = 0, 0
		y.frames[id] = f
	}
	for _, e := range y.chunks {
		f, ok := y.frames[e.Frame]
		if !ok {
			return fmt.Errorf("chunk %s lies in frame %s, which the index does not have", e.Digest, e.Frame)
		}
		f.Live++
		f.LiveBytes += e.Length
		y.frames[e.Frame] = f
	}
	for id, p := range y.packs {
		p.Live = 0
		y.packs[id] = p
	}
	for id, f := range y.frames {
		if f.Live == 0 {
			delete(y.frames, id)
		} else if p, ok := y.packs[f.Pack]; ok {
			p.Live += f.LiveStored()
			y.packs[f.Pack] = p
		}
	}
	return nil
}

func (y *memChange) checkSources(c *cas.Change) error {
	for _, f := range c.Frames {
		for _, s := range f.Sources {
			e := y.chunks[s.Digest]
			in, ok := y.frames[e.Frame]
			if !e.Usable() || !ok || len(in.Sources) > 0 {
				return fmt.Errorf("frame %s, source %s: %w", f.ID, s.Digest, cas.ErrSource)
			}
			y.raiseStamp(s.Digest)
		}
	}
	return nil
}

func (y *memChange) checkDooms(c *cas.Change) error {
	for _, f := range c.Frames {
		if y.packs[f.Pack].Doomed {
			return fmt.Errorf("frame %s, pack %s: %w", f.ID, f.Pack, cas.ErrDoomed)
		}
	}
	for _, m := range c.Moved {
		if y.packs[m.Pack].Doomed {
			return fmt.Errorf("frame %s, pack %s: %w", m.ID, m.Pack, cas.ErrDoomed)
		}
	}
	return nil
}
