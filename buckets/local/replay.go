package local

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// errOvertaken reports a database so old that packs no longer tell what was
// removed since: it has to be made anew.
var errOvertaken = errors.New("the metadata database is older than the last checkpoint in the packs")

// A builder makes rows and index what the packs say, in a database that is
// empty, or older than they are. Of data it reads no payload: footers say where
// chunks lie.
type builder struct {
	s       *parts
	homes   homes
	doomed  map[cas.PackID]bool
	domains []*domainBuilder
	highest uint64 // number of a commit that was met anywhere
}

// A domainBuilder is the part of a builder that is about one domain.
type domainBuilder struct {
	*builder
	*domain
	packs   []cas.PackEntry // newest first
	there   map[cas.PackID]bool
	census  *census
	records []recordPack
	kept    int64 // bytes that records take, about
}

// A recordPack is a pack that holds records.
type recordPack struct {
	cas.PackEntry
	frames []*cas.Frame // of records; nil if it has to be inspected again
}

const (
	// keptBytes is what frames of records of a domain may take between the two
	// looks at them.
	keptBytes = 32 << 20
	// keptFrame is about what one takes, without its bytes.
	keptFrame = 512
)

// bringUp makes the database of s what its packs say. anew tells that it is a
// new one, which is nobody's yet; of one that is not, the numbers of commits
// are raised last: until then it counts as older than its packs.
func (s *parts) bringUp(ctx context.Context, anew bool) error {
	b := &builder{s: s, homes: make(homes), doomed: make(map[cas.PackID]bool)}
	for _, d := range s.domains {
		db := &domainBuilder{builder: b, domain: d, there: make(map[cas.PackID]bool), census: newCensus()}
		b.domains = append(b.domains, db)
		if err := db.list(ctx); err != nil {
			return err
		}
		if err := db.index(ctx, db.packs); err != nil {
			return err
		}
	}
	if anew {
		if err := b.identify(ctx); err != nil {
			return err
		}
	}
	for _, d := range b.domains {
		if err := d.replay(ctx, anew); err != nil {
			return err
		}
	}
	for _, d := range b.domains {
		if err := d.dropDoomed(ctx); err != nil {
			return err
		}
	}
	return b.finish(ctx)
}

// identify makes the new database that of the store whose packs there are.
func (b *builder) identify(ctx context.Context) error {
	var store [16]byte
	var from *domainBuilder // which has told the store
	domains := make(map[string][16]byte)
	for _, d := range b.domains {
		if n := len(d.census.owners); n > 1 {
			return fmt.Errorf("backend %q: %w: %d of them have packs there: %s; give a backend to each", d.name, ErrForeign, n, d.census.owned())
		}
		for o := range d.census.owners {
			if from != nil && o.store != store {
				return fmt.Errorf("backends %q and %q: %w: one belongs to store %x, the other to store %x", from.name, d.name, ErrForeign, store, o.store)
			}
			for other, id := range domains {
				if id == o.domain {
					return fmt.Errorf("backends %q and %q: %w: the packs in both are of one backend", other, d.name, ErrForeign)
				}
			}
			store, from, domains[d.name] = o.store, d, o.domain
		}
	}
	return b.s.meta.SetIdentity(ctx, store, domains)
}

// finish makes what follows from all rows together.
func (b *builder) finish(ctx context.Context) error {
	if err := b.s.meta.Reindex(ctx); err != nil {
		return err
	}
	if err := b.restoreHomes(ctx); err != nil {
		return err
	}
	if err := b.s.meta.Restore(ctx, b.highest, nil); err != nil {
		return err
	}
	return b.s.meta.Reindex(ctx)
}

// restoreHomes notes where the files of buckets lie, but for those of which
// the database knows as much.
func (b *builder) restoreHomes(ctx context.Context) error {
	known, err := b.s.meta.Homes(ctx)
	if err != nil {
		return err
	}
	for _, h := range known {
		if f, ok := b.homes[h.Bucket]; ok && h.Domain != "" && h.Move >= f.Move {
			delete(b.homes, h.Bucket)
		}
	}
	return b.homes.restore(ctx, b.s.meta)
}

// list finds the packs that are this store's.
func (d *domainBuilder) list(ctx context.Context) error {
	foreign := make(map[cas.PackID]bool)
	if d.survey != nil {
		for _, p := range d.survey.Foreign {
			foreign[p.ID] = true
		}
	}
	for p, err := range d.chunks.Packs(ctx) {
		if err != nil {
			return err
		}
		if !foreign[p.ID] {
			d.packs = append(d.packs, p)
			d.there[p.ID] = true
		}
	}
	slices.SortFunc(d.packs, func(a, b cas.PackEntry) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return nil
}

// index makes the chunks of packs known, and the packs that hold records.
func (d *domainBuilder) index(ctx context.Context, packs []cas.PackEntry) error {
	for _, p := range packs {
		info, err := d.chunks.Inspect(ctx, p)
		if err != nil {
			return err
		}
		d.census.add(info)
		d.highest = max(d.highest, info.LastCommit)
		if err := d.indexPack(ctx, info); err != nil {
			return err
		}
	}
	return nil
}

// changeSize is how many chunks become known at once.
const changeSize = 10_000

func (d *domainBuilder) indexPack(ctx context.Context, info *cas.PackInfo) error {
	newer, err := d.newer(ctx, info)
	if err != nil {
		return err
	}
	change, end := &cas.Change{}, int64(0)
	var records []*cas.Frame
	for _, f := range info.Frames {
		if f.Damage != nil {
			continue
		}
		plain, err := d.look(ctx, info, f)
		if err != nil {
			return err
		}
		if plain == nil && !info.Sealed {
			continue // the torn end of a crash, or damage
		}
		end = f.Entry.Offset + int64(f.Entry.HeaderLen) + int64(f.Entry.StoredLen)
		switch {
		case f.Entry.Kind == cas.KindRecord:
			records = append(records, f)
			continue
		case !f.Entry.Kind.Indexed():
			if err := d.census.notes(ctx, d.domain, f); err != nil {
				return err
			}
			continue
		case newer[f.Entry.ID]:
			continue
		}
		change.Frames = append(change.Frames, f.Entry)
		for i, e := range f.Chunks {
			if plain == nil || plain[i] != nil {
				change.Chunks = append(change.Chunks, e)
			}
		}
		if len(change.Chunks) >= changeSize {
			if err := d.chunks.Apply(ctx, change); err != nil {
				return err
			}
			change = &cas.Change{}
		}
	}
	entry := info.PackEntry
	if !info.Sealed {
		entry.Size = end
	}
	change.Packs = []cas.PackEntry{entry}
	d.keep(entry, info, records)
	return d.chunks.Apply(ctx, change)
}

// look reads what must be read of a frame: all, where no footer vouches for it,
// and segments, which it keeps. It returns nil where nothing was read or can be.
func (d *domainBuilder) look(ctx context.Context, info *cas.PackInfo, f *cas.Frame) ([][]byte, error) {
	if info.Sealed && f.Entry.Kind != cas.KindSegment {
		return nil, nil
	}
	_, plain, err := d.chunks.Verify(ctx, f)
	if err != nil || f.Entry.Kind != cas.KindSegment {
		return plain, err
	}
	var segs []manifest.Segment
	for i, p := range plain {
		if p != nil {
			segs = append(segs, manifest.Segment{Digest: f.Slots[i].Digest, Data: p})
		}
	}
	return plain, d.s.meta.Segments(d.name).PutSegments(ctx, segs)
}

// newer tells which frames of a pack lie in a later one too: that copy counts.
func (d *domainBuilder) newer(ctx context.Context, info *cas.PackInfo) (map[cas.FrameID]bool, error) {
	var ids []cas.FrameID
	for _, f := range info.Frames {
		if f.Damage == nil && f.Entry.Kind.Indexed() {
			ids = append(ids, f.Entry.ID)
		}
	}
	known := make([]cas.FrameEntry, len(ids))
	if err := d.chunks.Index().Frames(ctx, ids, known); err != nil {
		return nil, err
	}
	newer := make(map[cas.FrameID]bool)
	for i := range known {
		if e := &known[i]; e.Known() && d.there[e.Pack] && !d.doomed[e.Pack] && bytes.Compare(e.Pack[:], info.ID[:]) > 0 {
			newer[ids[i]] = true
		}
	}
	return newer, nil
}

// keep remembers a pack that holds records.
func (d *domainBuilder) keep(entry cas.PackEntry, info *cas.PackInfo, records []*cas.Frame) {
	if len(records) == 0 {
		return
	}
	entry.Size = info.Size
	p := recordPack{PackEntry: entry}
	weight := keptFrame * int64(len(records))
	if info.Size <= cas.SmallPack {
		weight += info.Size
	}
	if d.kept+weight <= keptBytes {
		d.kept += weight
		p.frames = records
	}
	d.records = append(d.records, p)
}

// dropDoomed makes what lies in packs whose deletion has begun unknown again,
// and known where it lies elsewhere.
func (d *domainBuilder) dropDoomed(ctx context.Context) error {
	ix := d.chunks.Index()
	gone := make(map[cas.FrameID]bool)
	change := &cas.Change{}
	var last cas.PackID
	for id := range d.doomed {
		for f, err := range ix.PackFrames(ctx, id) {
			if err != nil {
				return err
			}
			gone[f.ID] = true
			change.DropFrames = append(change.DropFrames, f.ID)
		}
		if change.DropPacks = append(change.DropPacks, id); bytes.Compare(id[:], last[:]) > 0 {
			last = id
		}
	}
	if len(gone) == 0 {
		return d.chunks.Apply(ctx, change)
	}
	drop := &cas.Change{}
	for e, err := range ix.AllChunks(ctx) {
		if err != nil {
			return err
		}
		if gone[e.Frame] {
			drop.Drop = append(drop.Drop, e)
		}
		if len(drop.Drop) >= changeSize {
			if err := d.chunks.Apply(ctx, drop); err != nil {
				return err
			}
			drop = &cas.Change{}
		}
	}
	change.Drop = drop.Drop
	if err := d.chunks.Apply(ctx, change); err != nil {
		return err
	}
	var older []cas.PackEntry
	for _, p := range d.packs {
		if !d.doomed[p.ID] && bytes.Compare(p.ID[:], last[:]) < 0 {
			older = append(older, p)
		}
	}
	d.kept = keptBytes // records were read
	return d.index(ctx, older)
}
