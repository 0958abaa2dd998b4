package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Fragmentation tells how scattered the current versions of files lie in packs, and
// what reading them in order would cost with nothing in a cache. Files in the trash
// are left out. Files are those of one moment in each bucket; where their chunks lie
// is looked up as they are met.
type Fragmentation struct {
	At time.Time
	FragmentSums
	Buckets []BucketFragments // in order of names
	Classes []FragmentClass   // from the fewest ranges per MiB to the most that there are
	Worst   []FileFragments   // those with the most ranges per MiB first
}

// FragmentSums are sums over files.
type FragmentSums struct {
	Files int64
	Bytes int64
	cas.ReadCost

	Unread int64 // files that cannot be read, or were removed meanwhile; they count nowhere else
}

func (s *FragmentSums) addFile(size int64, cost cas.ReadCost) {
	s.Files++
	s.Bytes += size
	s.ReadCost.Add(cost)
}

func (s *FragmentSums) addSums(o *FragmentSums) {
	s.Files += o.Files
	s.Bytes += o.Bytes
	s.ReadCost.Add(o.ReadCost)
	s.Unread += o.Unread
}

// A BucketFragments is the part of a Fragmentation about one bucket.
type BucketFragments struct {
	Bucket string
	FragmentSums
}

// A FragmentClass counts the files of at most so many ranges per MiB that are in no
// class before.
type FragmentClass struct {
	Most  int64
	Files int64
	Bytes int64
}

// A FileFragments tells of one file.
type FileFragments struct {
	Bucket, Path string
	File         manifest.FileID
	Version      manifest.VersionID
	Size         int64
	cas.ReadCost
}

// PerMiB is how many ranges there are for each MiB. A smaller file counts as one of 1
// MiB.
func (f *FileFragments) PerMiB() float64 {
	return float64(f.Ranges) / (float64(max(f.Size, 1<<20)) / (1 << 20))
}

func compareFragments(a, b *FileFragments) int {
	return cmp.Or(cmp.Compare(a.PerMiB(), b.PerMiB()), cmp.Compare(a.Size, b.Size), strings.Compare(string(b.File), string(a.File)))
}

// A fragmentation is a Fragmentation that is being made.
type fragmentation struct {
	*Store
	pace    *pacer
	out     *Fragmentation
	classes [64]FragmentClass // by the logarithm of Most
	worst   *topList[FileFragments]
}

// MakeFragmentation tells how scattered files lie. It looks up each chunk of each
// current version, in the order of the file.
func MakeFragmentation(ctx context.Context, s *Store, opts *Options) (*Fragmentation, error) {
	o := opts.withDefaults()
	f := &fragmentation{Store: s, pace: &pacer{opts: o}, out: &Fragmentation{At: s.Now()}, worst: newTopList(o.Top, compareFragments)}
	homes, err := findHomes(ctx, s)
	if err == nil {
		err = f.addBuckets(ctx, homes)
	}
	if err != nil {
		return nil, fmt.Errorf("report on fragmentation: %w", err)
	}
	f.out.Worst = f.worst.listLargest()
	last := 0
	for i, c := range f.classes {
		if c.Files > 0 {
			last = i + 1
		}
	}
	for i, c := range f.classes[:last] {
		c.Most = 1 << i
		f.out.Classes = append(f.out.Classes, c)
	}
	return f.out, nil
}

func (f *fragmentation) addBuckets(ctx context.Context, homes *homes) error {
	names, err := f.Meta.Buckets(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		b := BucketFragments{Bucket: name}
		domain := homes.domainOf(name)
		f.pace.beginPhase(domain, "files of "+name, 0)
		for _, state := range []manifest.State{manifest.Active, manifest.Quarantined} {
			for l, err := range f.Meta.List(ctx, name, &manifest.Range{State: state}) {
				if err == nil && l.Current != nil {
					err = f.addFile(ctx, &b, domain, l)
				}
				if err != nil {
					return err
				}
			}
		}
		f.out.addSums(&b.FragmentSums)
		f.out.Buckets = append(f.out.Buckets, b)
	}
	return nil
}

// addFile counts the current version of a file.
func (f *fragmentation) addFile(ctx context.Context, b *BucketFragments, domain string, l *manifest.Listed) error {
	chunks, m := f.Chunks[domain], l.Current
	forecast, cost := chunks.NewForecast(), cas.ReadCost{}
	err := manifest.EachWindow(ctx, f.Segments(domain), &m.Content, chunks.Remote(), func(refs []cas.Ref) error {
		c, err := forecast.Read(ctx, refs)
		for range refs {
			err = cmp.Or(err, f.pace.countStep(ctx))
		}
		cost.Add(c)
		return err
	})
	switch {
	case isUnread(err):
		b.Unread++
		return nil
	case err != nil:
		return err
	}
	b.addFile(m.Size, cost)
	file := FileFragments{b.Bucket, l.File.Path(), l.File.ID, m.ID, m.Size, cost}
	class := 0
	for float64(int64(1)<<class) < file.PerMiB() {
		class++
	}
	f.classes[class].Files++
	f.classes[class].Bytes += m.Size
	f.worst.addEntry(file)
	return nil
}

// isUnread reports whether an error is about the file, and not about the store.
func isUnread(err error) bool {
	var damaged *cas.CorruptError
	return errors.Is(err, cas.ErrMissing) || errors.As(err, &damaged) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, manifest.ErrFormat)
}
