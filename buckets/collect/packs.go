package collect

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// doomBatch is how many packs one transaction dooms.
const doomBatch = 64

// giveBack deletes the packs in which nothing is needed, writes a checkpoint of
// the records where that lets others go, and copies the rest out of those that
// are mostly dead.
func (d *cycle) giveBack(ctx context.Context) error {
	if err := d.deleteDoomed(ctx); err != nil {
		return err
	}
	if err := d.coverRecords(ctx); err != nil {
		return err
	}
	if err := d.deleteDead(ctx); err != nil {
		return err
	}
	if err := d.rewriteAll(ctx); err != nil {
		return err
	}
	if err := d.Meta.TrimLedger(ctx, maxLedger); err != nil {
		return fmt.Errorf("trim the ledger: %w", err)
	}
	return d.sumUp(ctx)
}

// coverRecords writes a checkpoint if that is worth it, so that records, and what
// lies beside them in packs, may go.
func (d *cycle) coverRecords(ctx context.Context) error {
	if err := d.readCheckpoint(ctx); err != nil {
		return err
	}
	all, err := d.weighPacks(ctx)
	if err != nil {
		return err
	}
	written, err := d.checkpointIfWorth(ctx, d.weighHeld(all))
	if err != nil || !written {
		return err
	}
	return d.readCheckpoint(ctx)
}

func (d *cycle) readCheckpoint(ctx context.Context) (err error) {
	if d.report.Checkpoint, err = d.Meta.Checkpoint(ctx, d.domain); err != nil {
		return fmt.Errorf("read the checkpoint: %w", err)
	}
	return nil
}

// recordsNeeded reports whether a pack holds records that no checkpoint covers.
func (d *cycle) recordsNeeded(p *cas.PackEntry) bool {
	return p.LastCommit > d.report.Checkpoint
}

// isDead reports whether nothing in a pack is needed.
func (d *cycle) isDead(p *cas.PackEntry) bool {
	return p.Sealed && p.Live == 0 && !d.recordsNeeded(p)
}

// deleteDoomed ends the deletions that an earlier cycle has begun. Their dooms may
// not be in the packs yet.
func (d *cycle) deleteDoomed(ctx context.Context) error {
	return d.eachPacks(ctx, func(p *cas.PackEntry) bool { return p.Doomed }, func(packs []cas.PackEntry) error {
		entered, err := d.sumEntered(ctx, packs)
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if err := d.Settle(ctx); err != nil {
			return fmt.Errorf("settle what was decided: %w", err)
		}
		return d.deletePacks(ctx, packs, func(p *cas.PackEntry) error { return d.enterPack(ctx, p, entered[p.ID], 0) })
	})
}

// deleteDead dooms and deletes the packs in which nothing is needed.
func (d *cycle) deleteDead(ctx context.Context) error {
	dead := func(p *cas.PackEntry) bool { return d.isDead(p) && !p.Doomed }
	return d.eachPacks(ctx, dead, func(packs []cas.PackEntry) error {
		_, err := d.endPacks(ctx, packs, nil)
		return err
	})
}

// eachPacks calls do with the packs that are wanted of one moment, some at a time.
func (d *cycle) eachPacks(ctx context.Context, want func(p *cas.PackEntry) bool, do func([]cas.PackEntry) error) error {
	var packs []cas.PackEntry
	for p, err := range d.index.AllPacks(ctx) {
		if err != nil {
			return fmt.Errorf("list packs: %w", err)
		}
		if want(&p) {
			packs = append(packs, p)
		}
	}
	for batch := range slices.Chunk(packs, doomBatch) {
		if err := do(batch); err != nil {
			return err
		}
	}
	return nil
}

// endPacks dooms those of some packs, at most doomBatch, in which nothing is
// needed, deletes them, and returns them. copied tells how many bytes of each lie
// in others now.
func (d *cycle) endPacks(ctx context.Context, packs []cas.PackEntry, copied map[cas.PackID]int64) (map[cas.PackID]bool, error) {
	doomed, err := d.doomPacks(ctx, packs)
	if err != nil {
		return nil, fmt.Errorf("doom packs: %w", err)
	}
	gone := make(map[cas.PackID]bool)
	for i := range doomed {
		gone[doomed[i].ID] = true
	}
	return gone, d.deletePacks(ctx, doomed, func(p *cas.PackEntry) error { return d.enterPack(ctx, p, 0, copied[p.ID]) })
}

// doomPacks dooms packs, and returns those that were, when that is durable in the
// packs: a rebuild must not find them alive when the delete arrives late.
func (d *cycle) doomPacks(ctx context.Context, packs []cas.PackEntry) (doomed []cas.PackEntry, err error) {
	voids := make(map[cas.PackID][]cas.Void)
	for _, p := range packs {
		if voids[p.ID], p.Size, err = d.inspectDead(ctx, &p); err != nil {
			d.noteProblem(fmt.Sprintf("pack %s is kept: its notes cannot be read", p.ID), err)
			continue
		}
		doomed = append(doomed, p)
	}
	if len(doomed) == 0 {
		return nil, nil
	}
	candidates := doomed
	err = d.Update(ctx, d.domain, func(tx manifest.Tx) error {
		doomed = nil
		for i := range candidates {
			err := tx.DoomPack(ctx, candidates[i].ID, candidates[i].Size, voids[candidates[i].ID])
			switch {
			case errors.Is(err, manifest.ErrNotDead), isGone(err): // something of it is needed, or it was deleted
			case err != nil:
				return err
			default:
				doomed = append(doomed, candidates[i])
			}
		}
		return nil
	})
	return doomed, err
}

// inspectDead returns which serials a pack notes as void, as the record of its doom
// says from then on, and how many bytes the backend has of it. A pack with a footer
// has those that the index knows; what a crash or a failed write has left may be
// longer.
func (d *cycle) inspectDead(ctx context.Context, p *cas.PackEntry) (out []cas.Void, size int64, err error) {
	info, err := d.chunks.Inspect(ctx, *p)
	size = p.Size
	if err != nil || !info.Sealed {
		if size, err = d.chunks.StoredSize(ctx, p.ID); err == nil {
			info, err = d.chunks.Inspect(ctx, cas.PackEntry{ID: p.ID, Size: size})
		}
	}
	if isGone(err) {
		return nil, 0, nil // there is nothing left to delete
	}
	if err != nil {
		return nil, 0, err
	}
	for _, f := range info.Frames {
		voids, err := d.chunks.Voids(ctx, f)
		if err != nil {
			return nil, 0, err
		}
		out = append(out, voids...)
	}
	return out, size, nil
}

// deletePacks deletes packs that are doomed, durably in the packs, and enters each
// into the ledger when it is gone.
func (d *cycle) deletePacks(ctx context.Context, packs []cas.PackEntry, enter func(p *cas.PackEntry) error) error {
	if len(packs) == 0 {
		return nil
	}
	// Packs that are sent behind hold the dooms far away only now.
	if err := d.chunks.Send(ctx); err != nil {
		return fmt.Errorf("send the dooms of packs: %w", err)
	}
	for i := range packs {
		p := &packs[i]
		if err := d.chunks.DeletePack(ctx, p.ID); errors.Is(err, cas.ErrStillThere) {
			d.noteProblem("a pack stays doomed until it is gone", err)
			continue
		} else if err != nil {
			return fmt.Errorf("delete pack %s: %w", p.ID, err)
		}
		if err := enter(p); err != nil {
			return fmt.Errorf("enter pack %s into the ledger: %w", p.ID, err)
		}
		if err := d.index.Apply(ctx, &cas.Change{Collector: d.lease.Token, DropPacks: []cas.PackID{p.ID}}); err != nil {
			return fmt.Errorf("drop pack %s from the index: %w", p.ID, err)
		}
		d.report.DeletedPacks++
		d.opts.Progress(Progress{Domain: d.domain, Phase: "delete", Done: d.report.FreedBytes})
	}
	return nil
}
