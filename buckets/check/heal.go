package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
)

// healBatch is how many damaged chunks are marked, or told, together.
const healBatch = 1000

// healChunks looks in all packs for another copy of each damaged chunk. A chunk
// without one is marked Bad, so that the next upload that carries it stores it
// anew.
func (c *domainChecker) healChunks(ctx context.Context) error {
	if !c.opts.Repair || c.damaged.count == 0 {
		return nil
	}
	if err := c.eachDamaged(ctx, c.markBad); err != nil {
		return err
	}
	for _, p := range c.listed {
		_, err := c.Chunks.Walk(ctx, p, func(f *cas.Frame) error { return c.healFrom(ctx, f) })
		// A pack that was collected meanwhile heals nothing.
		if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, cas.ErrDoomed) {
			return err
		}
	}
	if err := c.eachDamaged(ctx, c.restoreSegments); err != nil {
		return err
	}
	return c.eachDamaged(ctx, c.tellDamaged)
}

// A damagedChunk is an entry of the index whose chunk cannot be read, with why.
type damagedChunk = digests.Joined[cas.ChunkEntry]

// eachDamaged calls fn for the damaged chunks, some at a time.
func (c *domainChecker) eachDamaged(ctx context.Context, fn func(context.Context, []damagedChunk) error) error {
	return c.eachIn(ctx, c.damaged, fn)
}

// eachIn calls fn for the chunks of the index that are in a log, some at a time.
func (c *domainChecker) eachIn(ctx context.Context, log *digestLog, fn func(context.Context, []damagedChunk) error) error {
	var batch []damagedChunk
	for j, err := range digests.JoinChunks(c.Chunks.Index().AllChunks(ctx), log.Log) {
		if err != nil {
			return err
		}
		if !j.Found {
			continue
		}
		if batch = append(batch, j); len(batch) < healBatch {
			continue
		}
		if err := fn(ctx, batch); err != nil {
			return err
		}
		batch = batch[:0]
	}
	return fn(ctx, batch)
}

// markBad marks chunks whose own bytes are damaged.
func (c *domainChecker) markBad(ctx context.Context, chunks []damagedChunk) error {
	change := &cas.Change{}
	for _, j := range chunks {
		if j.Value != sourceDamage {
			change.Bad = append(change.Bad, j.Entry)
		}
	}
	return c.Chunks.Apply(ctx, change)
}

// healFrom takes the good copies of damaged chunks that a frame holds. Frames
// with sources heal nothing: a damaged chunk may be the source of others, which
// has to lie in a frame without.
func (c *domainChecker) healFrom(ctx context.Context, f *cas.Frame) error {
	if f.Damage != nil || len(f.Sources) > 0 {
		return nil
	}
	wanted := make([]bool, len(f.Chunks))
	some := false
	for i, e := range f.Chunks {
		why, damaged, err := c.damaged.find(e.Digest)
		if err != nil {
			return err
		}
		wanted[i] = damaged && why != sourceDamage
		some = some || wanted[i]
	}
	if !some {
		return nil
	}
	_, plain, err := c.Chunks.Verify(ctx, f)
	if err != nil || plain == nil {
		return err
	}
	change := &cas.Change{Frames: []cas.FrameEntry{f.Entry}}
	for i, e := range f.Chunks {
		if wanted[i] && plain[i] != nil {
			change.Chunks = append(change.Chunks, e)
			if err := c.healed.add(e.Digest, 0); err != nil {
				return err
			}
		}
	}
	return c.Chunks.Apply(ctx, change)
}

// tellDamaged tells what became of damaged chunks. Those that are made from others
// can be read again where these were healed.
func (c *domainChecker) tellDamaged(ctx context.Context, chunks []damagedChunk) error {
	entries := make([]cas.ChunkEntry, len(chunks))
	for i := range chunks {
		entries[i] = chunks[i].Entry
	}
	frames, err := c.framesOf(ctx, entries)
	if err != nil {
		return err
	}
	for i, j := range chunks {
		d, frame := j.Entry.Digest, frames[i]
		p := Problem{Kind: "chunk", Digest: d.String(), Pack: frame.Pack.String(), Detail: fmt.Sprintf("the stored bytes at %d are damaged", frame.Offset)}.with(HealsUpload, doesMark)
		_, healed, err := c.healed.find(d)
		switch {
		case err != nil:
			return err
		case healed:
			p.Repaired, p.Detail = true, fmt.Sprintf("the stored bytes were damaged; another copy took its place, at %d", frame.Offset)
		case j.Value == frameUnknown:
			p.Pack, p.Detail = "", "the index does not know its frame"
		case j.Value == sourceDamage:
			if p, err = c.tellSource(ctx, d, p); err != nil {
				return err
			}
		}
		c.addProblem(p)
	}
	return nil
}

// tellSource fills p for a chunk that is made from one that was damaged.
func (c *domainChecker) tellSource(ctx context.Context, d cas.Digest, p Problem) (Problem, error) {
	_, err := c.Chunks.Get(ctx, d, nil)
	var ce *cas.CorruptError
	switch {
	case errors.As(err, &ce):
		p.Pack, p.Detail = ce.Pack.String(), fmt.Sprintf("chunk %s, which it is made from, is damaged", ce.Digest)
		return p, nil
	case err != nil:
		return p, err
	}
	p.Repaired, p.Detail = true, "a chunk that it is made from was damaged; another copy took its place"
	return p, c.healed.add(d, 0)
}
