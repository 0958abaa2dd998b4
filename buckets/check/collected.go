package check

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// checkCollected checks what collection has noted: dooms, graves, the ledger with
// what waits to be entered in it, and the checkpoint.
func (c *checker) checkCollected(ctx context.Context) error {
	for _, domain := range c.Domains {
		d := c.domains[domain.Name]
		for _, step := range []func(context.Context) error{d.checkDooms, d.checkGraves, d.checkCharges, d.checkLedger, d.checkCheckpoint} {
			if err := step(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkDooms checks that no frame lies in a pack that is being deleted, and that
// the packs tell of its deletion, if it had begun when the check did: a rebuild would
// call it lost otherwise.
func (c *domainChecker) checkDooms(ctx context.Context) error {
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		if !p.Doomed {
			continue
		}
		for f, err := range c.Chunks.Index().PackFrames(ctx, p.ID) {
			if err != nil {
				return err
			}
			c.addProblem(Problem{Kind: "collection", Pack: p.ID.String(),
				Detail: fmt.Sprintf("the pack is being deleted, and the index has a frame at %d in it", f.Offset)}.with(HealsRebuild, ""))
			break
		}
		if !c.doomed[p.ID] || c.census.dooms.has(cas.Void{Writer: p.Writer, Serial: p.Serial}) {
			continue
		}
		if err := c.recordDoom(ctx, p.ID, p.Size); err != nil {
			return err
		}
	}
	return nil
}

// recordDoom tells of a deletion that no record tells of, and makes one.
func (c *domainChecker) recordDoom(ctx context.Context, id cas.PackID, size int64) error {
	p := Problem{Kind: "collection", Pack: id.String(), Detail: "the pack is being deleted, and no record in the packs says so"}.with(HealsRepair, doesRecord)
	if c.opts.Repair {
		_, err := c.Meta.Update(ctx, c.Name, func(tx manifest.Tx) error { return tx.DoomPack(ctx, id, size, nil) })
		if err != nil && !errors.Is(err, manifest.ErrNotDead) {
			return ignoreGone(err)
		}
		p.Repaired = err == nil
	}
	c.addProblem(p)
	return nil
}

// tellUnreadable turns damage of a row into a problem.
func (c *domainChecker) tellUnreadable(what string, err error) error {
	if !errors.Is(err, manifest.ErrFormat) {
		return err
	}
	c.addProblem(Problem{Kind: "collection", Detail: fmt.Sprintf("%s: %v", what, err)})
	return nil
}

// checkGraves reads all graves: whose bytes were freed could not be told otherwise.
func (c *domainChecker) checkGraves(ctx context.Context) error {
	for _, err := range c.Meta.Graves(ctx, c.Name) {
		if err != nil {
			return c.tellUnreadable("a grave cannot be read", err)
		}
	}
	return nil
}

// checkCharges reads all that waits to be entered in the ledger. It may be more than
// is dead: a database that was brought up to its packs finds chunks there again that
// were dropped and charged.
func (c *domainChecker) checkCharges(ctx context.Context) error {
	for _, err := range c.Meta.AllCharges(ctx, c.Name) {
		if err != nil {
			return c.tellUnreadable("a charge cannot be read", err)
		}
	}
	return nil
}

// checkLedger checks that the entries of packs that are gone and not yet forgotten
// add up to their sizes at most. They are entered some at a time, and the oldest are
// dropped, so they may add up to less.
func (c *domainChecker) checkLedger(ctx context.Context) error {
	sizes := make(map[cas.PackID]int64)
	for p, err := range c.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		if p.Doomed { // others may grow
			sizes[p.ID] = p.Size
		}
	}
	entered := make(map[cas.PackID]int64)
	for e, err := range c.Meta.Ledger(ctx) {
		if err != nil {
			return c.tellUnreadable("an entry of the ledger cannot be read", err)
		}
		if _, ok := sizes[e.Pack]; ok && e.Domain == c.Name {
			entered[e.Pack] += e.Bytes
		}
	}
	for id, n := range entered {
		if n > sizes[id] {
			c.addProblem(Problem{Kind: "collection", Pack: id.String(), Detail: fmt.Sprintf("the ledger has %d bytes of the pack, which had %d", n, sizes[id])})
		}
	}
	return nil
}

// checkCheckpoint checks that the packs hold the checkpoint that the database
// counts on.
func (c *domainChecker) checkCheckpoint(ctx context.Context) error {
	base, err := c.Meta.Checkpoint(ctx, c.Name)
	if err != nil {
		return err
	}
	if base != c.checkpoint || base <= c.checkpoints.Base() {
		if len(c.copied) == 0 {
			return nil
		}
		return c.Chunks.Apply(ctx, &cas.Change{Packs: c.copied})
	}
	// Packs whose records were copied keep theirs, so that a collection writes another.
	// The rows are told of by themselves.
	c.addProblem(Problem{Kind: "collection", Detail: fmt.Sprintf("the checkpoint of commit %d is not whole in the packs: they lack rows that only it held", base)}.with(HealsGC, ""))
	return nil
}
