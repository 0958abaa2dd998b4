package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cairn-store/cairn/cas"
)

// A builder makes rows and index what the packs say, in a database that is
// empty, or older than they are. It reads no payload of data that a footer
// vouches for.
//
// It reads all footers first, newest packs first, and indexes frames without
// sources; then it replays the records, drops what lies in packs whose deletion
// has begun, and last indexes frames with sources: by then all that they are
// made from is indexed, be it in older or in newer packs.
type builder struct {
	*Store
	anew    bool // the database was empty
	homes   homes
	domains []*domainBuilder
	highest uint64 // the highest number of a commit that any pack holds
}

// A domainBuilder is the part of a builder that is about one domain.
type domainBuilder struct {
	*builder
	*Domain
	packs       []cas.PackEntry // newest first
	listed      map[cas.PackID]bool
	doomed      map[cas.PackID]bool // whose deletion has begun
	dead        deadPacks
	base        uint64 // of the checkpoint that was taken
	census      *census
	recordPacks []keptPack // with frames of records
	copyPacks   []keptPack // with frames that have sources, newest first
	kept        int64      // bytes that kept frames take, about
}

const (
	// keptBytes is what the kept frames of a domain may take.
	keptBytes = 32 << 20
	// keptFrame is about what a frame takes without its bytes, keptSlot what
	// each of its chunks adds.
	keptFrame = 512
	keptSlot  = 128
	// changeSize is how many chunks one Change adds or drops.
	changeSize = 10_000
)

// Rebuild fills an empty database with what the packs say, their store and
// domain IDs included. Packs of several stores are refused with ErrForeign.
func (s *Store) Rebuild(ctx context.Context) error { return s.build(ctx, true) }

// CatchUp brings a database up to its packs if it is older. It fails with
// ErrOvertaken where only Rebuild can. Until it has ended the database counts as
// older than its packs: the number of the last commit is raised last.
func (s *Store) CatchUp(ctx context.Context) error { return s.build(ctx, false) }

func (s *Store) build(ctx context.Context, anew bool) error {
	b := &builder{Store: s, anew: anew, homes: make(homes)}
	for _, d := range s.Domains {
		db := &domainBuilder{builder: b, Domain: d, listed: make(map[cas.PackID]bool), doomed: make(map[cas.PackID]bool),
			dead: make(deadPacks), census: newCensus()}
		b.domains = append(b.domains, db)
		if err := db.listPacks(ctx); err != nil {
			return err
		}
		if err := db.indexPacks(ctx, db.packs); err != nil {
			return err
		}
	}
	if anew {
		if err := b.setIdentity(ctx); err != nil {
			return err
		}
	}
	for _, d := range b.domains {
		if err := d.replayRecords(ctx); err != nil {
			return err
		}
	}
	for _, d := range b.domains {
		if err := d.dropDoomed(ctx); err != nil {
			return err
		}
		if err := d.indexCopies(ctx); err != nil {
			return err
		}
	}
	return b.finishBuild(ctx)
}

// setIdentity gives the new database the IDs of the store whose packs there are.
func (b *builder) setIdentity(ctx context.Context) error {
	var store [16]byte
	var from *domainBuilder // whose packs told the store
	domains := make(map[string][16]byte)
	for _, d := range b.domains {
		if n := len(d.census.owners); n > 1 {
			return fmt.Errorf("backend %q: %w: %d of them have packs there: %s; give a backend to each", d.Name, ErrForeign, n, d.census.describeOwners())
		}
		for o := range d.census.owners {
			if from != nil && o.store != store {
				return fmt.Errorf("backends %q and %q: %w: one belongs to store %x, the other to store %x", from.Name, d.Name, ErrForeign, store, o.store)
			}
			for other, id := range domains {
				if id == o.domain {
					return fmt.Errorf("backends %q and %q: %w: the packs in both are of one backend", other, d.Name, ErrForeign)
				}
			}
			store, from, domains[d.Name] = o.store, d, o.domain
		}
	}
	return b.Meta.SetIdentity(ctx, store, domains)
}

// finishBuild makes what follows from all rows together, and raises the number of
// the last commit.
func (b *builder) finishBuild(ctx context.Context) error {
	if err := b.Meta.Reindex(ctx); err != nil {
		return err
	}
	if err := b.homes.restore(ctx, b.Meta); err != nil {
		return err
	}
	if err := b.markHosts(ctx); err != nil {
		return err
	}
	for _, d := range b.domains {
		if err := d.restoreDooms(ctx); err != nil {
			return err
		}
		if err := b.Meta.SetCheckpoint(ctx, d.Name, d.base); err != nil {
			return err
		}
	}
	if err := b.Meta.Restore(ctx, b.highest, nil); err != nil {
		return err
	}
	return b.Meta.Reindex(ctx)
}

// listPacks lists the packs that are this store's, newest first, without those
// that the index calls doomed.
func (d *domainBuilder) listPacks(ctx context.Context) error {
	for p, err := range d.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		if p.Doomed {
			d.doomed[p.ID] = true
		}
	}
	foreign := make(map[cas.PackID]bool)
	if d.survey != nil {
		for _, p := range d.survey.Foreign {
			foreign[p.ID] = true
		}
	}
	for p, err := range d.Chunks.Packs(ctx) {
		if err != nil {
			return err
		}
		if !foreign[p.ID] && !d.doomed[p.ID] {
			d.packs = append(d.packs, p)
			d.listed[p.ID] = true
		}
	}
	slices.SortFunc(d.packs, func(a, b cas.PackEntry) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return nil
}

// indexPacks indexes what lies in packs but for frames with sources, and keeps
// the frames that are needed again.
func (d *domainBuilder) indexPacks(ctx context.Context, packs []cas.PackEntry) error {
	for _, p := range packs {
		info, err := d.Chunks.Inspect(ctx, p)
		if errors.Is(err, fs.ErrNotExist) { // a deletion has come late
			delete(d.listed, p.ID)
			continue
		}
		if err != nil {
			return err
		}
		d.census.addPack(info)
		d.highest = max(d.highest, info.LastCommit)
		if err := d.indexPack(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

func (d *domainBuilder) indexPack(ctx context.Context, info *cas.PackInfo) error {
	newer, err := d.findNewer(ctx, info.ID, info.Frames)
	if err != nil {
		return err
	}
	change, end := &cas.Change{}, int64(0)
	var records, copies []*cas.Frame
	for _, f := range info.Frames {
		if f.Damage != nil {
			continue
		}
		if len(f.Sources) > 0 {
			copies = append(copies, f)
			continue
		}
		plain, err := d.readFrame(ctx, info.Sealed, f)
		if err != nil {
			return err
		}
		if plain == nil && !info.Sealed {
			continue // the torn end of a crash, or damage
		}
		end = endOf(f)
		switch {
		case f.Entry.Kind == cas.KindRecord:
			records = append(records, f)
			continue
		case !f.Entry.Kind.Indexed():
			if err := d.census.addVoids(ctx, d.Chunks, f); err != nil {
				return err
			}
			continue
		case newer[f.Entry.ID]:
			continue
		}
		addFrame(change, f, plain)
		if len(change.Chunks) >= changeSize {
			if err := d.applyFrames(ctx, info.ID, change); err != nil {
				return err
			}
			change = &cas.Change{}
		}
	}
	entry := info.PackEntry
	if !info.Sealed {
		entry.Size, entry.Records = end, 0
		for _, f := range records {
			entry.Records += endOf(f) - f.Entry.Offset
		}
	}
	change.Packs = []cas.PackEntry{entry}
	entry.Size = info.Size
	d.recordPacks = d.keepFrames(d.recordPacks, entry, records)
	d.copyPacks = d.keepFrames(d.copyPacks, entry, copies)
	return d.applyFrames(ctx, info.ID, change)
}

// applyFrames applies a change that adds frames without sources of a pack. Of two
// copies of a chunk the later counts: a new database gets it first, and an older
// one lets its own give way.
func (d *domainBuilder) applyFrames(ctx context.Context, pack cas.PackID, change *cas.Change) error {
	if !d.anew {
		if err := d.giveWay(ctx, pack, change); err != nil {
			return err
		}
	}
	return d.Chunks.Apply(ctx, change)
}

// endOf returns the offset behind a frame.
func endOf(f *cas.Frame) int64 {
	return f.Entry.Offset + int64(f.Entry.HeaderLen) + int64(f.Entry.StoredLen)
}

// addFrame adds a frame to a change, with its chunks. plain are the plain bytes
// of each, nil of a damaged one; plain is nil if the frame was not read.
func addFrame(change *cas.Change, f *cas.Frame, plain [][]byte) {
	change.Frames = append(change.Frames, f.Entry)
	for i, e := range f.Chunks {
		if plain == nil || plain[i] != nil {
			change.Chunks = append(change.Chunks, e)
		}
	}
}

// readFrame reads what must be read of a frame: segments, which it puts into the
// database, and frames that no footer vouches for. It returns nil where nothing
// was read or nothing can be.
func (d *domainBuilder) readFrame(ctx context.Context, sealed bool, f *cas.Frame) ([][]byte, error) {
	if sealed && f.Entry.Kind != cas.KindSegment {
		return nil, nil
	}
	_, plain, err := d.Chunks.Verify(ctx, f)
	if err != nil || f.Entry.Kind != cas.KindSegment {
		return plain, err
	}
	return plain, d.putSegments(ctx, f, plain)
}

// findNewer returns which of frames of a pack lie in a later pack too: that copy
// counts.
func (d *domainBuilder) findNewer(ctx context.Context, id cas.PackID, frames []*cas.Frame) (map[cas.FrameID]bool, error) {
	var ids []cas.FrameID
	for _, f := range frames {
		if f.Damage == nil && f.Entry.Kind.Indexed() {
			ids = append(ids, f.Entry.ID)
		}
	}
	known := make([]cas.FrameEntry, len(ids))
	if err := d.Chunks.Index().Frames(ctx, ids, known); err != nil {
		return nil, err
	}
	newer := make(map[cas.FrameID]bool)
	for i := range known {
		if e := &known[i]; e.Known() && d.willStay(e.Pack) && bytes.Compare(e.Pack[:], id[:]) > 0 {
			newer[ids[i]] = true
		}
	}
	return newer, nil
}

// willStay reports whether a pack is there and stays.
func (d *domainBuilder) willStay(id cas.PackID) bool { return d.listed[id] && !d.doomed[id] }

// keepFrames adds a pack with frames that are needed again to packs. The frames
// are kept as long as there is room, else the pack is inspected again.
func (d *domainBuilder) keepFrames(packs []keptPack, entry cas.PackEntry, frames []*cas.Frame) []keptPack {
	if len(frames) == 0 {
		return packs
	}
	p := keptPack{PackEntry: entry}
	weight := keptFrame * int64(len(frames))
	for _, f := range frames {
		weight += keptSlot * int64(len(f.Chunks))
	}
	if entry.Size <= cas.SmallPack {
		weight += entry.Size
	}
	if d.kept+weight <= keptBytes {
		d.kept += weight
		p.frames = frames
	}
	return append(packs, p)
}
