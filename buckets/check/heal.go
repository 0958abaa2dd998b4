package check

import (
	"context"
	"fmt"

	"github.com/cairn-store/cairn/cas"
)

// healChunks looks in all packs for another copy of each damaged chunk. A chunk
// without one is marked Bad, so that the next upload that carries it stores it
// anew.
func (c *domainChecker) healChunks(ctx context.Context) error {
	var ds []cas.Digest
	copies := make(map[cas.Digest]cas.Digest) // chunks that are whole again when another is
	for d, b := range c.bad {
		if b.source == (cas.Digest{}) {
			ds = append(ds, d)
		} else if _, ok := c.bad[b.source]; ok {
			copies[d] = b.source
		}
	}
	if !c.opts.Repair || len(ds) == 0 {
		return nil
	}
	change := &cas.Change{Bad: make([]cas.ChunkEntry, len(ds))}
	if err := c.Chunks.Index().Chunks(ctx, ds, change.Bad); err != nil {
		return err
	}
	if err := c.Chunks.Apply(ctx, change); err != nil {
		return err
	}
	for p, err := range c.Chunks.Packs(ctx) {
		if err != nil {
			return err
		}
		_, err = c.Chunks.Walk(ctx, p, func(f *cas.Frame) error { return c.healFrom(ctx, f) })
		if err != nil {
			return err
		}
	}
	for d, source := range copies {
		if _, still := c.bad[source]; !still {
			delete(c.bad, d)
		}
	}
	for i := range c.report.Problems {
		p := &c.report.Problems[i]
		d, err := cas.ParseDigest(p.Digest)
		if _, still := c.bad[d]; p.Kind == "chunk" && p.Backend == c.Name && err == nil && !still {
			p.Repaired = true
			p.Detail = fmt.Sprintf("%s; another copy took its place", p.Detail)
		}
	}
	return nil
}

// healFrom takes the good copies of damaged chunks that a frame holds. Frames
// with sources heal nothing: a damaged chunk may be the source of others, which
// has to lie in a frame without.
func (c *domainChecker) healFrom(ctx context.Context, f *cas.Frame) error {
	wanted := false
	for _, e := range f.Chunks {
		if b, ok := c.bad[e.Digest]; ok && b.source == (cas.Digest{}) {
			wanted = true
		}
	}
	if f.Damage != nil || !wanted || len(f.Sources) > 0 {
		return nil
	}
	_, plain, err := c.Chunks.Verify(ctx, f)
	if err != nil || plain == nil {
		return err
	}
	change := &cas.Change{Frames: []cas.FrameEntry{f.Entry}}
	for i, e := range f.Chunks {
		if b, ok := c.bad[e.Digest]; ok && b.source == (cas.Digest{}) && plain[i] != nil {
			change.Chunks = append(change.Chunks, e)
			delete(c.bad, e.Digest)
		}
	}
	return c.Chunks.Apply(ctx, change)
}
