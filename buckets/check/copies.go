package check

import (
	"bytes"
	"context"
	"errors"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// indexCopies indexes the frames that have sources, newest packs first. All
// frames without sources are indexed by then.
func (d *domainBuilder) indexCopies(ctx context.Context) error {
	for _, p := range d.copyPacks {
		if !d.willStay(p.ID) {
			continue
		}
		frames, err := d.loadFrames(ctx, p)
		if err != nil {
			return err
		}
		if err := d.indexCopiesOf(ctx, p.PackEntry, frames); err != nil {
			return err
		}
	}
	return nil
}

func (d *domainBuilder) indexCopiesOf(ctx context.Context, p cas.PackEntry, frames []*cas.Frame) error {
	newer, err := d.findNewer(ctx, p.ID, frames)
	if err != nil {
		return err
	}
	change, end := &cas.Change{}, int64(0)
	for _, f := range frames {
		if f.Damage != nil || len(f.Sources) == 0 {
			continue
		}
		plain, err := d.readFrame(ctx, p.Sealed, f)
		var ce *cas.CorruptError
		if errors.As(err, &ce) {
			continue // what it is made from cannot be read, so neither can it
		}
		if err != nil {
			return err
		}
		if plain == nil && !p.Sealed {
			continue // the torn end of a crash, or damage
		}
		end = endOf(f)
		if newer[f.Entry.ID] {
			continue
		}
		addFrame(change, f, plain)
		if len(change.Chunks) >= changeSize {
			if err := d.applyCopies(ctx, p.ID, change); err != nil {
				return err
			}
			change = &cas.Change{}
		}
	}
	if err := d.applyCopies(ctx, p.ID, change); err != nil || p.Sealed {
		return err
	}
	return d.raiseSize(ctx, p.ID, end)
}

// applyCopies applies a change that adds frames with sources of a pack. If a
// source of one cannot be relied on, each frame is applied by itself, and those
// that cannot be had are left out: their chunks count as not stored.
func (d *domainBuilder) applyCopies(ctx context.Context, pack cas.PackID, change *cas.Change) error {
	if err := d.giveWay(ctx, pack, change); err != nil {
		return err
	}
	err := d.Chunks.Apply(ctx, change)
	if !errors.Is(err, cas.ErrSource) {
		return err
	}
	for _, f := range change.Frames {
		one := &cas.Change{Frames: []cas.FrameEntry{f}}
		for _, e := range change.Chunks {
			if e.Frame == f.ID {
				one.Chunks = append(one.Chunks, e)
			}
		}
		if err := d.giveWay(ctx, pack, one); err != nil {
			return err
		}
		err = d.Chunks.Apply(ctx, one)
		if errors.Is(err, cas.ErrSource) {
			if d.Log != nil {
				d.Log.Warn("a frame is left out: what it is made from is not stored", "backend", d.Name, "frame", f.ID, "pack", pack, "error", err)
			}
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// giveWay lets entries that lie in an older pack give way to the chunks that a
// change adds in pack: of two copies the later counts. But one whose frame has
// no sources stays where the new one's has some, if its bytes are whole, since
// other frames may be made from it that are not indexed yet. The index keeps
// those that are sources already.
func (d *domainBuilder) giveWay(ctx context.Context, pack cas.PackID, change *cas.Change) error {
	ds, known := make([]cas.Digest, len(change.Chunks)), make([]cas.ChunkEntry, len(change.Chunks))
	for i := range change.Chunks {
		ds[i] = change.Chunks[i].Digest
	}
	if err := d.Chunks.Index().Chunks(ctx, ds, known); err != nil {
		return err
	}
	ids, frames := make([]cas.FrameID, len(known)), make([]cas.FrameEntry, len(known))
	for i := range known {
		ids[i] = known[i].Frame
	}
	if err := d.Chunks.Index().Frames(ctx, ids, frames); err != nil {
		return err
	}
	fromSources := slices.ContainsFunc(change.Frames, func(f cas.FrameEntry) bool { return len(f.Sources) > 0 })
	for i := range known {
		if f := &frames[i]; !f.Known() || !known[i].Usable() || bytes.Compare(f.Pack[:], pack[:]) >= 0 {
			continue
		} else if !fromSources || len(f.Sources) > 0 || !d.willStay(f.Pack) {
			change.Drop = append(change.Drop, known[i])
			continue
		}
		_, err := d.Chunks.Get(ctx, ds[i], nil)
		var ce *cas.CorruptError
		if errors.As(err, &ce) {
			change.Bad = append(change.Bad, known[i])
		} else if err != nil && !errors.Is(err, cas.ErrKey) { // what no key is at hand for counts as whole
			return err
		}
	}
	return nil
}

// raiseSize notes that the frames of an unsealed pack up to end are whole.
func (d *domainBuilder) raiseSize(ctx context.Context, id cas.PackID, end int64) error {
	for p, err := range d.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		if p.ID == id && p.Size < end {
			p.Size = end
			return d.Chunks.Apply(ctx, &cas.Change{Packs: []cas.PackEntry{p}})
		}
	}
	return nil
}

// putSegments puts the segments of a frame that can be read into the database.
func (d *domainBuilder) putSegments(ctx context.Context, f *cas.Frame, plain [][]byte) error {
	var segs []manifest.Segment
	for i, p := range plain {
		if p != nil {
			segs = append(segs, manifest.Segment{Digest: f.Slots[i].Digest, Data: p})
		}
	}
	return d.Meta.Segments(d.Name).PutSegments(ctx, segs)
}
