package check

import (
	"context"

	"github.com/cairn-store/cairn/cas"
)

// A spoiledPack is a pack with damage beside that of chunks: of headers, footers,
// records or notes.
type spoiledPack struct {
	id    cas.PackID
	found []Problem
}

// moveSpoiled copies what can be read of spoiled packs to others, as a collection
// does, so that nothing that is needed lies in them any more but what is damaged
// itself, and tells what was wrong with them. Their bytes stay as they are until a
// collection deletes them.
func (c *domainChecker) moveSpoiled(ctx context.Context) error {
	if len(c.spoiled) == 0 {
		return nil
	}
	if err := c.Chunks.SealOpen(ctx); err != nil {
		return err
	}
	wanted := make(map[cas.PackID]bool)
	for _, s := range c.spoiled {
		wanted[s.id] = true
	}
	var packs []cas.PackEntry
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		if wanted[p.ID] && !p.Doomed {
			packs = append(packs, p)
		}
	}
	done, err := c.Chunks.Rewrite(ctx, packs, nil)
	if err != nil {
		return err
	}
	for _, p := range packs {
		if err := c.copyRecords(ctx, p); err != nil {
			return err
		}
	}
	left := make(map[cas.PackID]bool)
	for _, id := range done.Left {
		left[id] = true
	}
	for _, s := range c.spoiled {
		for i := range s.found {
			if s.found[i].Repaired = !left[s.id]; left[s.id] {
				s.found[i].Heals = HealsUpload
			}
			c.addProblem(s.found[i])
		}
	}
	c.spoiled = nil
	return nil
}

// copyRecords appends the records of a pack that can be read to others. At the end
// the index notes that none of its records is needed any more.
func (c *domainChecker) copyRecords(ctx context.Context, p cas.PackEntry) error {
	if p.LastCommit == 0 {
		return nil
	}
	info, err := c.Chunks.InspectRest(ctx, p)
	if err != nil {
		return ignoreGone(err)
	}
	for _, f := range info.Frames {
		if f.Damage != nil || f.Entry.Kind != cas.KindRecord {
			continue
		}
		_, last, base := f.Commits()
		r := &cas.Records{Commit: last, Base: base}
		err := c.eachSlot(ctx, *f, func(slot []byte) error {
			r.Slots = append(r.Slots, slot)
			return nil
		})
		if err != nil {
			return err
		}
		if err := c.Chunks.AppendRecords(ctx, r); err != nil {
			return err
		}
	}
	p.LastCommit, p.Records = 0, 0
	c.copied = append(c.copied, p)
	return nil
}
