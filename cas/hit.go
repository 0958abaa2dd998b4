package cas

import (
	"bytes"
	"context"
	"slices"
)

// hitChunks is Index.Hit that also tells what cannot be relied on because it is
// made from chunks that are damaged. Such a chunk is marked, so that whoever brings
// it stores it anew. A source that is marked later raises the count of removals,
// and the writer looks everything up again.
func (p *packer) hitChunks(ctx context.Context, since uint64, ds []Digest, out []ChunkEntry) error {
	if err := p.ix.Hit(ctx, since, ds, out); err != nil {
		return err
	}
	if !p.made {
		return nil
	}
	frames, err := framesOf(ctx, p.ix, out)
	if err != nil {
		return err
	}
	damaged, err := damagedSources(ctx, p.ix, frames)
	if err != nil || len(damaged) == 0 {
		return err
	}
	c := &Change{}
	for i := range out {
		f := frames[out[i].Frame]
		if out[i].Usable() && slices.ContainsFunc(f.Sources, func(s Source) bool { return damaged[s.Digest] }) {
			c.Bad = append(c.Bad, out[i])
			out[i].State = Bad
		}
	}
	if len(c.Bad) == 0 {
		return nil
	}
	return p.ix.Apply(ctx, c)
}

// damagedSources returns the sources of frames that cannot be relied on.
func damagedSources(ctx context.Context, ix Index, frames map[FrameID]FrameEntry) (map[Digest]bool, error) {
	var ds []Digest
	for _, f := range frames {
		for _, s := range f.Sources {
			ds = append(ds, s.Digest)
		}
	}
	if len(ds) == 0 {
		return nil, nil
	}
	slices.SortFunc(ds, func(a, b Digest) int { return bytes.Compare(a[:], b[:]) })
	ds = slices.Compact(ds)
	entries := make([]ChunkEntry, len(ds))
	if err := ix.Chunks(ctx, ds, entries); err != nil {
		return nil, err
	}
	damaged := make(map[Digest]bool)
	for _, d := range unusable(ds, entries) {
		damaged[d] = true
	}
	return damaged, nil
}
