package report

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Orphans are what lies in backends and in the database and nothing names or needs,
// and files and links of records that lack each other.
type Orphans struct {
	At    time.Time
	Sums  []OrphanSum // of each kind and remedy of which there are any, in order of kinds
	Found []Orphan    // the largest; chunks are summed up only

	Unlinked []UnlinkedFile // the largest
	Links    []OrphanLink   // the first of each kind, in order of IDs
}

// An OrphanKind says what an Orphan is.
type OrphanKind string

const (
	// OrphanPack is a pack that the index does not have, OrphanForeign one of another
	// store or backend, OrphanUnreadable one that does not say whose it is.
	OrphanPack       OrphanKind = "pack"
	OrphanForeign    OrphanKind = "foreign_pack"
	OrphanUnreadable OrphanKind = "unreadable_pack"
	// OrphanTail is what lies in a pack behind the end that the index knows.
	OrphanTail OrphanKind = "pack_tail"
	// OrphanObject lies beside packs and is none.
	OrphanObject OrphanKind = "object"
	// OrphanTemporary is a file that a process has left which died while it wrote.
	OrphanTemporary OrphanKind = "temporary_file"
	// OrphanChunk is a chunk or segment that is indexed and that nothing needs.
	OrphanChunk OrphanKind = "chunk"
	// OrphanSegment is a row of a segment that the index does not have.
	OrphanSegment OrphanKind = "segment_row"
	// OrphanUpload is an upload under way whose time is over.
	OrphanUpload OrphanKind = "expired_upload"
	// OrphanCharge are dead bytes that are charged to a pack which the index does not
	// have.
	OrphanCharge OrphanKind = "charge"
	// OrphanScrubbed is a result of a scrub of a pack that the index does not have.
	OrphanScrubbed OrphanKind = "scrub_result"

	// OrphanUnlinked is a file that no link of a record holds, in a bucket that records
	// refer to, OrphanUnlinkedTrash one in the trash. Their bytes are of all versions, before
	// deduplication and compression.
	OrphanUnlinked      OrphanKind = "unlinked_file"
	OrphanUnlinkedTrash OrphanKind = "unlinked_trash"
	// OrphanDangling is a link that stands though the file or version that it names was
	// removed for good, OrphanTrashLink one whose file is in the trash.
	OrphanDangling  OrphanKind = "dangling_link"
	OrphanTrashLink OrphanKind = "trashed_link"
	// OrphanEnded is a pending link of a session of a host that has ended.
	OrphanEnded OrphanKind = "ended_link"
)

func orphanKinds() []OrphanKind {
	return []OrphanKind{OrphanPack, OrphanForeign, OrphanUnreadable, OrphanTail, OrphanObject, OrphanTemporary, OrphanChunk, OrphanSegment,
		OrphanUpload, OrphanCharge, OrphanScrubbed, OrphanUnlinked, OrphanUnlinkedTrash, OrphanDangling, OrphanTrashLink, OrphanEnded}
}

// A Remedy says what takes an Orphan away.
type Remedy string

const (
	ByCollection Remedy = "collection" // the next one
	ByUploads    Remedy = "uploads"    // the collection after uploads under way, or what they keep, have ended
	ByOpening    Remedy = "opening"    // the next opening of the store, and the collection after it
	ByPack       Remedy = "pack"       // the collection that its pack goes with
	BySweep      Remedy = "sweep"      // of a server, within an hour
	ByScrub      Remedy = "scrub"      // the next one
	ByTrash      Remedy = "trash"      // the end of its time in the trash
	ByHost       Remedy = "host"       // a change of the record, or the host's acknowledgement of an event
	ByReconcile  Remedy = "reconcile"  // the next one of the host
	ByNothing    Remedy = "nothing"    // nothing does it by itself
)

// An OrphanSum sums up what is of a kind and has the same remedy.
type OrphanSum struct {
	Kind   OrphanKind
	Remedy Remedy
	Host   string // of links
	Count  int64
	Bytes  int64
}

// An Orphan is something that nothing names or needs.
type Orphan struct {
	Kind   OrphanKind
	Remedy Remedy
	Domain string // "" for an upload
	Name   string // a key of the backend, a digest, a pack, or BUCKET/UPLOAD
	Bytes  int64  // in the backend, or of rows; what an upload holds
}

// MakeOrphans lists backends and compares them with the index, marks what is needed
// as a collection does, and compares rows of the database with the index, and files
// with links. It changes nothing.
func MakeOrphans(ctx context.Context, s *Store, opts *Options) (*Orphans, error) {
	o := opts.withDefaults()
	m := &orphanFinder{store: s, opts: o, at: s.Now(), sums: make(map[OrphanSum]*OrphanSum), named: make(map[OrphanKind]int),
		unlinked: newTopList(o.Top, func(a, b *UnlinkedFile) int {
			return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), strings.Compare(string(b.File), string(a.File)))
		}),
		largest: newTopList(o.Top, func(a, b *Orphan) int {
			return cmp.Or(cmp.Compare(a.Bytes, b.Bytes), strings.Compare(string(b.Kind), string(a.Kind)), strings.Compare(b.Name, a.Name), strings.Compare(b.Domain, a.Domain))
		})}
	for _, domain := range s.listDomains() {
		for _, step := range []func(context.Context, string) error{m.findStrays, m.findChunks, m.findSegments, m.findCharges, m.findScrubbed} {
			if err := step(ctx, domain); err != nil {
				return nil, fmt.Errorf("report on orphans of backend %q: %w", domain, err)
			}
		}
	}
	for _, step := range []func(context.Context) error{m.findUploads, m.findUnlinked, m.findOrphanLinks} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("report on orphans: %w", err)
		}
	}
	out := &Orphans{At: m.at, Found: m.largest.listLargest(), Unlinked: m.unlinked.listLargest(), Links: m.links}
	for _, sum := range m.sums {
		out.Sums = append(out.Sums, *sum)
	}
	slices.SortFunc(out.Sums, func(a, b OrphanSum) int {
		return cmp.Or(cmp.Compare(slices.Index(orphanKinds(), a.Kind), slices.Index(orphanKinds(), b.Kind)), strings.Compare(string(a.Remedy), string(b.Remedy)), strings.Compare(a.Host, b.Host))
	})
	return out, nil
}

// An orphanFinder is one call of MakeOrphans.
type orphanFinder struct {
	store   *Store
	opts    *Options
	at      time.Time
	sums    map[OrphanSum]*OrphanSum // by kind, remedy and host
	largest *topList[Orphan]

	unlinked *topList[UnlinkedFile]
	links    []OrphanLink
	named    map[OrphanKind]int // how many links of a kind there were
}

func (m *orphanFinder) sum(kind OrphanKind, by Remedy, count, n int64) {
	m.sumKey(OrphanSum{Kind: kind, Remedy: by}, count, n)
}

// sumKey adds to the sum with the kind, remedy and host of key, which has nothing else.
func (m *orphanFinder) sumKey(key OrphanSum, count, n int64) {
	if count == 0 {
		return
	}
	if m.sums[key] == nil {
		sum := key
		m.sums[key] = &sum
	}
	m.sums[key].Count += count
	m.sums[key].Bytes += n
}

func (m *orphanFinder) add(o *Orphan) {
	m.sum(o.Kind, o.Remedy, 1, o.Bytes)
	m.largest.addEntry(*o)
}

func (m *orphanFinder) findStrays(ctx context.Context, domain string) error {
	m.opts.Progress(Progress{Domain: domain, Phase: "list"})
	kinds := map[cas.StrayKind]OrphanSum{
		cas.StrayPack:       {Kind: OrphanPack, Remedy: ByOpening},
		cas.StrayForeign:    {Kind: OrphanForeign, Remedy: ByNothing},
		cas.StrayUnreadable: {Kind: OrphanUnreadable, Remedy: ByNothing},
		cas.StrayTail:       {Kind: OrphanTail, Remedy: ByPack},
		cas.StrayObject:     {Kind: OrphanObject, Remedy: ByNothing},
		cas.StrayTemporary:  {Kind: OrphanTemporary, Remedy: ByOpening},
	}
	chunks := m.store.Chunks[domain]
	return chunks.EachStray(ctx, func(s *cas.Stray) error {
		k := kinds[s.Kind]
		if s.Kind == cas.StrayPack && !chunks.IsExclusive() {
			k.Remedy = ByNothing // another process may be writing to it
		}
		m.add(&Orphan{k.Kind, k.Remedy, domain, s.Key, s.Bytes})
		return nil
	})
}

func (m *orphanFinder) findChunks(ctx context.Context, domain string) error {
	w, err := collect.FindWaiting(ctx, m.store.Collect, domain, m.store.markOptions(m.opts))
	if err != nil {
		return err
	}
	for _, s := range w.Sums {
		switch s.Reason {
		case collect.ForCollection:
			m.sum(OrphanChunk, ByCollection, s.Count, s.Bytes)
		case collect.ForWriter, collect.ForSource, collect.ForGrave:
			m.sum(OrphanChunk, ByUploads, s.Count, s.Bytes)
		}
	}
	return nil
}

// orphanBatch is how many rows of segments are looked up again together.
const orphanBatch = 256

// findSegments finds rows of segments that the index does not have. A row comes
// before its entry, and goes with it, so what the two lists do not have both is looked
// up again. While uploads are under way it may be theirs.
func (m *orphanFinder) findSegments(ctx context.Context, domain string) error {
	writers, err := m.store.Meta.Writers(ctx, domain)
	if err != nil {
		return err
	}
	by := ByNothing
	if len(writers) > 0 {
		by = ByUploads
	}
	var alone []manifest.SegmentSize
	lookAgain := func() error {
		ds, now := make([]cas.Digest, len(alone)), make([]cas.ChunkEntry, len(alone))
		for i := range alone {
			ds[i] = alone[i].Digest
		}
		// The entry first: a row that goes with it is gone by then.
		if err := m.store.Chunks[domain].Index().Chunks(ctx, ds, now); err != nil {
			return err
		}
		rows, err := m.store.Meta.Segments(domain).Segments(ctx, ds)
		if err != nil {
			return err
		}
		for i := range alone {
			if now[i].Frame == (cas.FrameID{}) && rows[i] != nil {
				m.add(&Orphan{OrphanSegment, by, domain, alone[i].Digest.String(), alone[i].Bytes})
			}
		}
		alone = alone[:0]
		return nil
	}
	segments := m.store.Meta.AllSegments(ctx, domain)
	entries := m.store.Chunks[domain].Index().AllChunks(ctx)
	err = eachWithout(segments, entries, func(s *manifest.SegmentSize, e *cas.ChunkEntry) int {
		return bytes.Compare(s.Digest[:], e.Digest[:])
	}, func(s *manifest.SegmentSize) error {
		if alone = append(alone, *s); len(alone) < orphanBatch {
			return nil
		}
		return lookAgain()
	})
	if err != nil {
		return err
	}
	return lookAgain()
}

// findCharges finds charges of packs that the index does not have. Those of a pack
// that was deleted meanwhile are gone when they are looked up again.
func (m *orphanFinder) findCharges(ctx context.Context, domain string) error {
	var pack cas.PackID
	var sum int64 // of its charges, which come one after the other
	end := func() error {
		if sum == 0 {
			return nil
		}
		left, err := m.store.Meta.ChargesOf(ctx, domain, pack, 1)
		if len(left) > 0 {
			m.add(&Orphan{OrphanCharge, ByNothing, domain, pack.String(), sum})
		}
		return err
	}
	packs := m.store.Chunks[domain].Index().AllPacks(ctx)
	err := eachWithout(m.store.Meta.AllCharges(ctx, domain), packs, func(c *manifest.Charge, p *cas.PackEntry) int {
		return bytes.Compare(c.Pack[:], p.ID[:])
	}, func(c *manifest.Charge) error {
		if c.Pack != pack {
			if err := end(); err != nil {
				return err
			}
			pack, sum = c.Pack, 0
		}
		sum += c.Bytes
		return nil
	})
	return cmp.Or(err, end())
}

func (m *orphanFinder) findScrubbed(ctx context.Context, domain string) error {
	packs := m.store.Chunks[domain].Index().AllPacks(ctx)
	return eachWithout(m.store.Meta.AllScrubbed(ctx, domain), packs, func(s *manifest.Scrubbed, p *cas.PackEntry) int {
		return bytes.Compare(s.Pack[:], p.ID[:])
	}, func(s *manifest.Scrubbed) error {
		m.add(&Orphan{OrphanScrubbed, ByScrub, domain, s.Pack.String(), 0})
		return nil
	})
}

func (m *orphanFinder) findUploads(ctx context.Context) error {
	homes, err := m.store.Meta.Homes(ctx)
	if err != nil {
		return err
	}
	for _, h := range homes {
		for u, err := range m.store.Meta.UploadsUnderWay(ctx, h.Bucket) {
			if err != nil {
				return err
			}
			if u.ExpiresAt.Before(m.at) {
				m.add(&Orphan{OrphanUpload, BySweep, "", h.Bucket + "/" + string(u.ID), u.Held})
			}
		}
	}
	return nil
}

// eachWithout calls fn with the elements of a list that another, in the same order,
// has none for. Several of them may stand for the same.
func eachWithout[A, B any](as iter.Seq2[A, error], bs iter.Seq2[B, error], compare func(*A, *B) int, fn func(*A) error) error {
	next, stop := iter.Pull2(bs)
	defer stop()
	var b B
	var more bool
	var err error
	first := true
	for a, aerr := range as {
		if aerr != nil {
			return aerr
		}
		// The second list is asked for only now, so that it is not older.
		for first || more && err == nil && compare(&a, &b) > 0 {
			first = false
			b, err, more = next()
		}
		if more && err != nil {
			return err
		}
		if more && compare(&a, &b) == 0 {
			continue
		}
		if err := fn(&a); err != nil {
			return err
		}
	}
	return nil
}
