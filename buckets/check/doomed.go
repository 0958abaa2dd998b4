package check

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// dropDoomed drops what lies in packs whose deletion has begun, and indexes
// where else it lies: of a new database in older packs, since it has the latest
// copy of everything. A database that is older than its packs may have frames
// that are made from what lies there: those are dropped too, and indexed again by
// indexCopies if they can be.
func (d *domainBuilder) dropDoomed(ctx context.Context) error {
	gone := make(map[cas.FrameID]bool)
	var last cas.PackID
	for id := range d.doomed {
		for f, err := range d.Chunks.Index().PackFrames(ctx, id) {
			if err != nil {
				return err
			}
			gone[f.ID] = true
		}
		if bytes.Compare(id[:], last[:]) > 0 {
			last = id
		}
	}
	if len(gone) == 0 {
		return nil
	}
	copies, err := d.findCopies(ctx, gone)
	if err != nil {
		return err
	}
	if len(copies) > 0 {
		if err := d.dropFrames(ctx, copies); err != nil {
			return err
		}
	}
	if err := d.dropFrames(ctx, gone); err != nil {
		return err
	}
	isAgain := func(id cas.PackID) bool { return !d.anew || bytes.Compare(id[:], last[:]) < 0 }
	var again []cas.PackEntry
	for _, p := range d.packs {
		if d.willStay(p.ID) && isAgain(p.ID) {
			again = append(again, p)
		}
	}
	d.copyPacks = slices.DeleteFunc(d.copyPacks, func(p keptPack) bool { return isAgain(p.ID) })
	d.recordPacks = nil // they were replayed
	return d.indexPacks(ctx, again)
}

// findCopies returns the frames made from chunks that lie in the frames gone.
func (d *domainBuilder) findCopies(ctx context.Context, gone map[cas.FrameID]bool) (map[cas.FrameID]bool, error) {
	copies := make(map[cas.FrameID]bool)
	var ds []cas.Digest
	find := func() error {
		ids, err := d.Chunks.Index().Dependants(ctx, ds)
		for _, id := range ids {
			copies[id] = true
		}
		ds = ds[:0]
		return err
	}
	for e, err := range d.Chunks.Index().AllChunks(ctx) {
		if err != nil {
			return nil, err
		}
		if gone[e.Frame] {
			ds = append(ds, e.Digest)
		}
		if len(ds) >= changeSize {
			if err := find(); err != nil {
				return nil, err
			}
		}
	}
	return copies, find()
}

// dropFrames drops the chunks that lie in the frames gone, so that the frames
// leave the index.
func (d *domainBuilder) dropFrames(ctx context.Context, gone map[cas.FrameID]bool) error {
	drop := &cas.Change{}
	for e, err := range d.Chunks.Index().AllChunks(ctx) {
		if err != nil {
			return err
		}
		if gone[e.Frame] {
			drop.Drop = append(drop.Drop, e)
		}
		if len(drop.Drop) >= changeSize {
			if err := d.Chunks.Apply(ctx, drop); err != nil {
				return err
			}
			drop = &cas.Change{}
		}
	}
	return d.Chunks.Apply(ctx, drop)
}

// addDead takes in a record about packs that are deleted or need not exist.
func (d *domainBuilder) addDead(r *manifest.Record) {
	d.dead.addRecord(r)
	if r.Doomed != nil {
		d.doomed[r.Doomed.Pack] = true
	}
}

// restoreBatch is how many packs or writers one transaction tells the database of,
// and how many packs one change drops.
const restoreBatch = 1000

// restoreDooms dooms in the database the packs that were, so that the next
// collection ends their deletion, and drops those that are gone. It also notes
// which packs need not exist.
func (d *domainBuilder) restoreDooms(ctx context.Context) error {
	var linger, gone []cas.PackID
	for p, err := range d.Chunks.Index().AllPacks(ctx) {
		switch {
		case err != nil:
			return err
		case d.doomed[p.ID] && d.listed[p.ID]:
			linger = append(linger, p.ID)
		case d.doomed[p.ID] && !p.Doomed:
			gone = append(gone, p.ID)
		}
	}
	for ids := range slices.Chunk(gone, restoreBatch) {
		if err := d.Chunks.Apply(ctx, &cas.Change{DropPacks: ids}); err != nil {
			return err
		}
	}
	for ids := range slices.Chunk(linger, restoreBatch) {
		_, err := d.Meta.Update(ctx, "", func(tx manifest.Tx) error { return tx.RestoreDooms(ctx, d.Name, ids) })
		if err != nil {
			return err
		}
	}
	for writers := range slices.Chunk(slices.Collect(maps.Values(d.dead)), restoreBatch) {
		_, err := d.Meta.Update(ctx, "", func(tx manifest.Tx) (err error) {
			for _, c := range writers {
				err = errors.Join(err, tx.RestoreCensus(ctx, d.Name, c))
			}
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
