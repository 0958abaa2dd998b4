package local

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/cas"
)

// heal looks in all packs for another copy of each damaged chunk. What has
// none is marked, so that the next upload that carries it stores it anew.
func (c *domainChecker) heal(ctx context.Context) error {
	if !c.repairs() || len(c.bad) == 0 {
		return nil
	}
	ds := slices.Collect(maps.Keys(c.bad))
	change := &cas.Change{Bad: make([]cas.ChunkEntry, len(ds))}
	if err := c.chunks.Index().Chunks(ctx, ds, change.Bad); err != nil {
		return err
	}
	if err := c.chunks.Apply(ctx, change); err != nil {
		return err
	}
	for p, err := range c.chunks.Packs(ctx) {
		if err != nil {
			return err
		}
		_, err = c.chunks.Walk(ctx, p, func(f *cas.Frame) error { return c.healFrom(ctx, f) })
		if err != nil {
			return err
		}
	}
	for i := range c.report.Problems {
		p := &c.report.Problems[i]
		d, err := cas.ParseDigest(p.Digest)
		if _, still := c.bad[d]; p.Kind == "chunk" && p.Backend == c.name && err == nil && !still {
			p.Repaired = true
			p.Detail = fmt.Sprintf("%s; another copy took its place", p.Detail)
		}
	}
	return nil
}

// healFrom takes the good copies of damaged chunks that a frame holds.
func (c *domainChecker) healFrom(ctx context.Context, f *cas.Frame) error {
	wanted := false
	for _, e := range f.Chunks {
		if _, ok := c.bad[e.Digest]; ok {
			wanted = true
		}
	}
	if f.Damage != nil || !wanted {
		return nil
	}
	_, plain, err := c.chunks.Verify(ctx, f)
	if err != nil || plain == nil {
		return err
	}
	change := &cas.Change{Frames: []cas.FrameEntry{f.Entry}}
	for i, e := range f.Chunks {
		if _, ok := c.bad[e.Digest]; ok && plain[i] != nil {
			change.Chunks = append(change.Chunks, e)
			delete(c.bad, e.Digest)
		}
	}
	return c.chunks.Apply(ctx, change)
}
