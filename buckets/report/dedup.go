package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/bits"
	"slices"
	"strings"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Dedup compares what was stored with what it takes. docs/reports.md says what each
// figure is. Versions are those of one moment in each domain; the index is read after
// it, and chunks that were dropped by then are Missing.
type Dedup struct {
	At time.Time
	DedupSums
	Metadata int64 // bytes of the database
	Domains  []DomainDedup

	Buckets, Owners, Types, Folders GroupList

	Chunks   []SharedChunk   // that sharing saves most by
	Contents []SharedContent // of versions, that sharing saves most by
	Sizes    []SizeClass     // from the smallest that there is to the largest

	Points []manifest.Point // sums over domains, a day each, the oldest first
}

// DedupSums are sums of a Dedup.
type DedupSums struct {
	Files        int64
	Versions     int64
	LogicalBytes int64 // of all versions
	References   int64 // to chunks

	UniqueChunks    int64 // that versions need
	UniqueBytes     int64 // plain
	CompressedBytes int64 // that those take in packs
	SegmentBytes    int64 // that chunk lists take in packs
	OtherChunks     int64 // that are indexed and that no version needs
	OtherBytes      int64 // that those take in packs
	RecordBytes     int64 // of records of changes
	Packs           int64
	StoredBytes     int64 // of all packs

	Missing int64 // chunks that versions need and the index did not have
	Unread  int64 // segments that could not be read: what is below them is not counted
}

func (s *DedupSums) addSums(o *DedupSums) {
	to, from := s.list(), o.list()
	for i := range to {
		*to[i] += *from[i]
	}
}

func (s *DedupSums) list() []*int64 {
	return []*int64{&s.Files, &s.Versions, &s.LogicalBytes, &s.References, &s.UniqueChunks, &s.UniqueBytes, &s.CompressedBytes, &s.SegmentBytes,
		&s.OtherChunks, &s.OtherBytes, &s.RecordBytes, &s.Packs, &s.StoredBytes, &s.Missing, &s.Unread}
}

// A DomainDedup is the part of a Dedup about one domain. Nothing is shared between
// domains.
type DomainDedup struct {
	Domain string
	DedupSums
}

// A SharedChunk is a chunk that several places refer to.
type SharedChunk struct {
	Domain      string
	Digest      cas.Digest
	References  int64
	Length      int64 // plain bytes
	StoredBytes int64
	Examples    []Example // two versions at most
}

// Saved is how many bytes sharing the chunk saves.
func (c *SharedChunk) Saved() int64 { return (c.References - 1) * c.Length }

// A SharedContent is a content that several versions have.
type SharedContent struct {
	Domain   string
	Size     int64
	Versions int64
	Examples []Example // two versions at most
}

// Saved is how many bytes sharing the content saves.
func (c *SharedContent) Saved() int64 { return (c.Versions - 1) * c.Size }

// An Example is a version that needs something.
type Example struct {
	Bucket, Path string
	File         manifest.FileID
	Version      manifest.VersionID
}

// A SizeClass counts the distinct chunks of at least From bytes, and of less than
// twice as many.
type SizeClass struct {
	From   int64
	Chunks int64
	Bytes  int64
}

// A dedup is a Dedup that is being made.
type dedup struct {
	*Store
	opts   *Options
	pace   *pacer
	out    *Dedup
	groups *groups
	sizes  [63]SizeClass // by the logarithm of From
	// chunks and contents are those of all domains that save most.
	chunks   *topList[sharedChunk]
	contents *topList[sharedContent]
}

// MakeDedup compares what is stored with what it takes. It reads all rows twice and
// once more for each domain, each segment once, and the index once. Beside its
// memory it takes up to 72 bytes in temporary files for each distinct chunk, and 24
// more for each combination of groups that needs it.
func MakeDedup(ctx context.Context, s *Store, opts *Options) (*Dedup, error) {
	o := opts.withDefaults()
	d := &dedup{Store: s, opts: o, pace: &pacer{opts: o}, out: &Dedup{At: s.Now(), Metadata: s.Meta.DiskSize()},
		chunks: newTopList(o.Top, compareChunks), contents: newTopList(o.Top, compareContents)}
	if err := d.makeReport(ctx); err != nil {
		return nil, fmt.Errorf("report on deduplication: %w", err)
	}
	return d.out, nil
}

func (d *dedup) makeReport(ctx context.Context) (err error) {
	d.pace.beginPhase("", "groups", 0)
	if d.groups, err = chooseGroups(ctx, d.Store, d.opts, d.pace); err != nil {
		return err
	}
	homes, err := findHomes(ctx, d.Store)
	if err != nil {
		return err
	}
	for _, domain := range d.listDomains() {
		w := newDomainWalk(d, domain, homes)
		err := errors.Join(w.run(ctx), w.closeLogs())
		if err != nil {
			return fmt.Errorf("backend %q: %w", domain, err)
		}
		d.out.addSums(&w.sums)
		d.out.Domains = append(d.out.Domains, DomainDedup{domain, w.sums})
	}
	lists := d.groups.finishLists()
	d.out.Buckets, d.out.Owners, d.out.Types, d.out.Folders = lists[ByBucket], lists[ByOwner], lists[ByType], lists[ByFolder]
	for _, c := range d.chunks.listLargest() {
		d.out.Chunks = append(d.out.Chunks, c.SharedChunk)
	}
	for _, c := range d.contents.listLargest() {
		d.out.Contents = append(d.out.Contents, c.SharedContent)
	}
	d.out.Sizes = d.listSizes()
	d.out.Points, err = ListPoints(ctx, d.Store)
	return err
}

// A sharedChunk is a SharedChunk whose examples are numbers of versions.
type sharedChunk struct {
	SharedChunk
	example uint64
}

func compareChunks(a, b *sharedChunk) int {
	return cmp.Or(cmp.Compare(a.Saved(), b.Saved()), strings.Compare(b.Domain, a.Domain), slices.Compare(b.Digest[:], a.Digest[:]))
}

// A sharedContent is a SharedContent whose examples are numbers of versions.
type sharedContent struct {
	SharedContent
	example uint64
}

func compareContents(a, b *sharedContent) int {
	return cmp.Or(cmp.Compare(a.Saved(), b.Saved()), strings.Compare(b.Domain, a.Domain), cmp.Compare(b.example, a.example))
}

// countSize counts a chunk in its class.
func (d *dedup) countSize(length int64) {
	c := &d.sizes[bits.Len64(uint64(length))-1]
	c.Chunks++
	c.Bytes += length
}

// listSizes returns the classes from the first to the last that has a chunk.
func (d *dedup) listSizes() (out []SizeClass) {
	empty := 0
	for i, c := range d.sizes {
		switch c.From = 1 << i; {
		case c.Chunks == 0:
			empty++
		default:
			for ; empty > 0 && len(out) > 0; empty-- {
				out = append(out, SizeClass{From: 1 << (i - empty)})
			}
			out, empty = append(out, c), 0
		}
	}
	return out
}

// describeVersion returns where a version is, or nil if it is gone.
func (d *dedup) describeVersion(ctx context.Context, id manifest.VersionID) (*Example, error) {
	m, err := d.Meta.Manifest(ctx, id)
	var f *manifest.File
	if err == nil {
		f, err = d.Meta.File(ctx, m.File)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &Example{Bucket: f.Bucket, Path: f.Path(), File: f.ID, Version: m.ID}, nil
}
