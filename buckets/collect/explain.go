package collect

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// ErrNotStored reports that nothing is known of what is to be explained.
var ErrNotStored = fmt.Errorf("neither stored nor remembered: %w", fs.ErrNotExist)

// A Reason is why something is kept.
type Reason string

const (
	ForVersion Reason = "version" // a version of a file needs it
	ForTrash   Reason = "trash"   // a version of a file in the trash does
	ForUpload  Reason = "upload"  // an upload under way does
	ForMove    Reason = "move"    // a bucket that needs it is being moved to where it lies, or a move broke off
	ForSource  Reason = "source"  // a frame is made from it
	ForWriter  Reason = "writer"  // who began before it was last found stored may use it
	ForRecords Reason = "records" // it holds records that no checkpoint covers
	ForAppends Reason = "appends" // the pack has not ended
	ForRow     Reason = "row"     // the file is there
	ForLinks   Reason = "links"   // links of records hold the file in the trash, or the version
	ForHost    Reason = "host"    // nothing is removed from its bucket: a host that refers to it is not reconciled

	// What nothing needs waits for these.
	ForCollection Reason = "collection" // the next collection drops it
	ForGrave      Reason = "grave"      // it tells whose the chunks are that wait
	ForDeletion   Reason = "deletion"   // nothing in the pack is needed: the next collection deletes it
	ForRewrite    Reason = "rewrite"    // the next collection copies what is needed of the pack, unless it is damaged
	ForThreshold  Reason = "threshold"  // too little of the pack is dead: it waits for more, or for a full collection
	ForGone       Reason = "gone"       // the pack is being deleted, and the backend has not said that it is gone
)

// An Explanation says what keeps something that is stored, or where its bytes went.
type Explanation struct {
	Kind    string // chunk, segment, pack, file or version
	Because []Reason
	// Holders are what needs it, at most maxHolders of HolderCount.
	Holders     []Holder
	HolderCount int64
	Unread      int64 // segments that cannot be read: what needs them may need it too

	Linked       []LinkedFile // files of those holders that links of records hold
	Unreconciled []string     // hosts that refer to their buckets and are not reconciled

	Places  []Place           // of a chunk or segment: one in each domain that has it
	Pack    *PackState        // of a pack that there is
	Sources int64             // frames that are made from it
	Writers []manifest.Writer // that it waits for
	Removed *manifest.Grave   // the last version that needed it, if nothing does now
	Freed   []manifest.Freed  // what of it was given back, newest first, at most maxHolders
	Returns *Preview          // of a file: what its removal would give back
}

// A Place is where a chunk lies.
type Place struct {
	Domain string
	Pack   cas.PackID
	Frame  cas.FrameID
	Offset int64 // of the frame in the pack
	Stored int64 // bytes of the frame
	Length int64 // plain bytes of the chunk
	Bad    bool  // its bytes were found damaged
}

// A PackState is what the index says of a pack.
type PackState struct {
	cas.PackEntry
	Domain     string
	Frames     int64
	Dead       int64 // bytes that a rewrite would give back
	Checkpoint uint64
}

// maxHolders is how many holders, and entries of the ledger, an Explanation names.
const maxHolders = 100

func (x *Explanation) addReason(r Reason) {
	if !slices.Contains(x.Because, r) {
		x.Because = append(x.Because, r)
	}
}

func (x *Explanation) addHolder(h *Holder) error {
	switch {
	case h.Moving:
		x.addReason(ForMove)
	case h.Upload != "":
		x.addReason(ForUpload)
	case h.State == manifest.Trashed:
		x.addReason(ForTrash)
	default:
		x.addReason(ForVersion)
	}
	if x.HolderCount++; len(x.Holders) < maxHolders {
		x.Holders = append(x.Holders, *h)
	}
	return nil
}

// Kept reports whether anything keeps it.
func (x *Explanation) Kept() bool { return len(x.Because) > 0 }

// ExplainChunk says what keeps a chunk or segment. One that is not stored is
// an ErrNotStored. Readers keep nothing: a read whose pack is gone
// looks its chunks up again.
func ExplainChunk(ctx context.Context, s *Store, d cas.Digest) (*Explanation, error) {
	x := &Explanation{Kind: "chunk"}
	for _, domain := range slices.Sorted(maps.Keys(s.Chunks)) {
		if err := x.lookAtChunk(ctx, s, domain, d); err != nil {
			return nil, fmt.Errorf("explain chunk %s in backend %q: %w", d, domain, err)
		}
	}
	if len(x.Places) == 0 {
		return nil, fmt.Errorf("chunk %s: %w", d, ErrNotStored)
	}
	if err := x.readLinks(ctx, s); err != nil {
		return nil, fmt.Errorf("explain chunk %s: links: %w", d, err)
	}
	return x, nil
}

func (x *Explanation) lookAtChunk(ctx context.Context, s *Store, domain string, d cas.Digest) error {
	ix := s.Chunks[domain].Index()
	e, f := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
	if err := ix.Chunks(ctx, []cas.Digest{d}, e); err != nil || e[0].Frame == (cas.FrameID{}) {
		return err
	}
	if err := ix.Frames(ctx, []cas.FrameID{e[0].Frame}, f); err != nil {
		return err
	}
	if f[0].Kind == cas.KindSegment {
		x.Kind = "segment"
	}
	at := Place{Domain: domain, Pack: f[0].Pack, Frame: f[0].ID, Offset: f[0].Offset, Stored: int64(f[0].HeaderLen) + int64(f[0].StoredLen),
		Length: int64(e[0].Length), Bad: e[0].State == cas.Bad}
	x.Places = append(x.Places, at)
	made, err := ix.Dependants(ctx, []cas.Digest{d})
	if err != nil {
		return err
	}
	if x.Sources += int64(len(made)); len(made) > 0 {
		x.addReason(ForSource)
	}
	if err := x.addWriters(ctx, s, domain, e[0].Stamp); err != nil {
		return err
	}
	return x.findHolders(ctx, s, domain, func(o cas.Digest) bool { return o == d })
}

// addWriters notes the writers that may count on what was stamped in an epoch.
func (x *Explanation) addWriters(ctx context.Context, s *Store, domain string, stamp uint64) error {
	writers, err := s.Meta.Writers(ctx, domain)
	for _, w := range writers {
		if w.Begin <= stamp && time.Since(w.At) < defaultWriterAge {
			x.Writers = append(x.Writers, w)
			x.addReason(ForWriter)
		}
	}
	return err
}

// findHolders finds what needs one of some digests. If nothing does, it finds the
// removed version that did last.
func (x *Explanation) findHolders(ctx context.Context, s *Store, domain string, wanted func(cas.Digest) bool) error {
	h := newHolderSearch(s, domain, wanted)
	before := x.HolderCount
	if err := h.searchRoots(ctx, x.addHolder); err != nil {
		return err
	}
	x.Unread += h.unread
	if x.HolderCount > before {
		return nil
	}
	g, err := h.findGrave(ctx)
	if g != nil && (x.Removed == nil || g.At.After(x.Removed.At)) {
		x.Removed = g
	}
	return err
}

// findGrave returns the newest grave of a version that needed a digest, nil if there
// is none.
func (h *holderSearch) findGrave(ctx context.Context) (found *manifest.Grave, err error) {
	for g, err := range h.Meta.Graves(ctx, h.domain) {
		if err == nil {
			err = h.search.Search(ctx, []*manifest.Root{{Top: g.Top, Chunks: g.Chunks}}, func(*manifest.Root) error {
				found = g
				return nil
			})
		}
		if err != nil || found != nil {
			return found, err
		}
	}
	return nil, nil
}

// ExplainPack says what keeps a pack, or what became of it. One that is not known is
// an ErrNotStored.
func ExplainPack(ctx context.Context, s *Store, id cas.PackID) (*Explanation, error) {
	x := &Explanation{Kind: "pack"}
	for _, domain := range slices.Sorted(maps.Keys(s.Chunks)) {
		for p, err := range s.Chunks[domain].Index().AllPacks(ctx) {
			if err == nil && p.ID == id {
				err = x.lookAtPack(ctx, s, domain, &p)
			}
			if err != nil {
				return nil, fmt.Errorf("explain pack %s of backend %q: %w", id, domain, err)
			}
		}
	}
	err := x.readLedger(ctx, s, func(f *manifest.Freed) bool { return f.Pack == id })
	if err == nil && x.Pack == nil && len(x.Freed) == 0 {
		err = fmt.Errorf("pack %s: %w", id, ErrNotStored)
	}
	if err == nil {
		err = x.readLinks(ctx, s)
	}
	if err != nil {
		return nil, err
	}
	return x, nil
}

// lookAtPack finds what needs the chunks that live in a pack.
func (x *Explanation) lookAtPack(ctx context.Context, s *Store, domain string, p *cas.PackEntry) error {
	d := newCycle(s, domain, (*Options)(nil).withDefaults())
	if err := d.readCheckpoint(ctx); err != nil {
		return err
	}
	x.Pack = &PackState{PackEntry: *p, Domain: domain, Checkpoint: d.report.Checkpoint}
	headers, frames := int64(0), make(map[cas.FrameID]bool)
	for f, err := range d.index.PackFrames(ctx, p.ID) {
		if err != nil {
			return err
		}
		frames[f.ID] = true
		headers += int64(f.HeaderLen)
	}
	x.Pack.Frames = int64(len(frames))
	x.Pack.Dead = d.weighPack(p, x.Pack.Frames, headers).dead
	if d.recordsNeeded(p) {
		x.addReason(ForRecords)
	}
	if !p.Sealed {
		x.addReason(ForAppends)
	}
	live, err := d.findLive(ctx, p, frames)
	if err != nil || len(live) == 0 {
		return err
	}
	return x.findHolders(ctx, s, domain, func(o cas.Digest) bool { return live[o] })
}

// findLive returns the chunks and segments that the index has in frames of a pack.
func (d *cycle) findLive(ctx context.Context, p *cas.PackEntry, frames map[cas.FrameID]bool) (map[cas.Digest]bool, error) {
	info, err := d.chunks.InspectRest(ctx, *p)
	if isGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	live := make(map[cas.Digest]bool)
	for _, f := range info.Frames {
		if !frames[f.Entry.ID] {
			continue
		}
		ds, now := make([]cas.Digest, len(f.Slots)), make([]cas.ChunkEntry, len(f.Slots))
		for i := range f.Slots {
			ds[i] = f.Slots[i].Digest
		}
		if err := d.index.Chunks(ctx, ds, now); err != nil {
			return nil, err
		}
		for i := range now {
			if now[i].Frame == f.Entry.ID {
				live[ds[i]] = true
			}
		}
	}
	return live, nil
}

// ExplainFile says what keeps a file, or one version of it, and what its removal
// would give back, or what became of one that was removed. One that is not known is
// an ErrNotStored. Of opts it uses what PreviewRemoval does.
func ExplainFile(ctx context.Context, s *Store, id manifest.FileID, version manifest.VersionID, opts *Options) (*Explanation, error) {
	x, removal := &Explanation{Kind: "file"}, &Removal{Files: []manifest.FileID{id}}
	if version != "" {
		x.Kind, removal = "version", &Removal{Versions: []manifest.VersionID{version}}
		m, err := s.Meta.Manifest(ctx, version)
		if isGone(err) {
			return x.explainRemoved(ctx, s, "", version, func(g *manifest.Grave) bool { return g.Version == version }, func(*manifest.Freed) bool { return false })
		}
		if err != nil {
			return nil, err
		}
		id = m.File
	}
	f, err := s.Meta.File(ctx, id)
	if isGone(err) {
		return x.explainRemoved(ctx, s, id, "", func(g *manifest.Grave) bool { return g.File == id }, func(e *manifest.Freed) bool { return e.Cause.File == id })
	}
	if err != nil {
		return nil, err
	}
	if x.addReason(ForRow); f.State == manifest.Trashed {
		x.Because = []Reason{ForTrash}
	}
	for m, err := range s.Meta.Versions(ctx, id) {
		if err != nil {
			return nil, err
		}
		if version != "" && m.ID != version {
			continue
		}
		if x.HolderCount++; len(x.Holders) < maxHolders {
			x.Holders = append(x.Holders, Holder{Bucket: f.Bucket, Path: f.Path(), File: f.ID, Version: m.ID, Number: m.Version, State: f.State})
		}
	}
	if err := x.readLinks(ctx, s); err != nil {
		return nil, err
	}
	x.Returns, err = PreviewRemoval(ctx, s, removal, opts)
	return x, err
}

// explainRemoved says what became of a file, or of a version, that is not there.
func (x *Explanation) explainRemoved(ctx context.Context, s *Store, id manifest.FileID, version manifest.VersionID, buried func(*manifest.Grave) bool, freed func(*manifest.Freed) bool) (*Explanation, error) {
	for _, domain := range slices.Sorted(maps.Keys(s.Chunks)) {
		for g, err := range s.Meta.Graves(ctx, domain) {
			if err != nil {
				return nil, err
			}
			if x.Removed == nil && buried(g) {
				x.Removed = g
			}
		}
	}
	err := x.readLedger(ctx, s, freed)
	if err == nil {
		err = x.addLost(ctx, s, id, version)
	}
	if err == nil && x.Removed == nil && len(x.Freed) == 0 && len(x.Linked) == 0 {
		err = ErrNotStored
	}
	if err != nil {
		return nil, err
	}
	return x, nil
}

// readLedger takes the entries of the ledger that are wanted.
func (x *Explanation) readLedger(ctx context.Context, s *Store, wanted func(*manifest.Freed) bool) error {
	for f, err := range s.Meta.Ledger(ctx) {
		if err != nil {
			return fmt.Errorf("read the ledger: %w", err)
		}
		if wanted(f) && len(x.Freed) < maxHolders {
			x.Freed = append(x.Freed, *f)
		}
	}
	return nil
}
