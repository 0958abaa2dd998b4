package check

import (
	"bytes"
	"context"
	"errors"

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
	older, err := d.findOlder(ctx, pack, change.Chunks)
	if err != nil {
		return err
	}
	change.Drop = older
	err = d.Chunks.Apply(ctx, change)
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
		if one.Drop, err = d.findOlder(ctx, pack, one.Chunks); err != nil {
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

// findOlder returns the entries of chunks that lie in a pack older than pack: of
// two copies the later counts. The index keeps those that are sources.
func (d *domainBuilder) findOlder(ctx context.Context, pack cas.PackID, chunks []cas.ChunkEntry) (older []cas.ChunkEntry, err error) {
	ds, known := make([]cas.Digest, len(chunks)), make([]cas.ChunkEntry, len(chunks))
	for i := range chunks {
		ds[i] = chunks[i].Digest
	}
	if err := d.Chunks.Index().Chunks(ctx, ds, known); err != nil {
		return nil, err
	}
	ids, frames := make([]cas.FrameID, len(known)), make([]cas.FrameEntry, len(known))
	for i := range known {
		ids[i] = known[i].Frame
	}
	if err := d.Chunks.Index().Frames(ctx, ids, frames); err != nil {
		return nil, err
	}
	for i := range known {
		if frames[i].Known() && bytes.Compare(frames[i].Pack[:], pack[:]) < 0 {
			older = append(older, known[i])
		}
	}
	return older, nil
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
