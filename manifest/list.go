package manifest

import (
	"context"
	"iter"
	"time"
)

// A Listed is a file in a listing, with its current version.
type Listed struct {
	File    *File     // nil if only keys were asked for
	Current *Manifest // nil if the row is lost
	Key     string    // the place in the listing; as Range.After it continues behind this file
}

// A Row is a version with its file.
type Row struct {
	File     *File
	Manifest *Manifest // nil for a file without versions
}

// An OwnedUsage sums up the files of one owner in a bucket.
type OwnedUsage struct {
	Bucket, Owner string
	Usage
}

// A View is what a Store holds at one moment. It is valid while the function runs
// that was given it, and not for concurrent use.
type View interface {
	AllFiles(ctx context.Context) iter.Seq2[*File, error]
	List(ctx context.Context, bucket string, r *Range) iter.Seq2[*Listed, error]
	Buckets(ctx context.Context) ([]string, error)
	Usage(ctx context.Context, bucket string) (Usage, error)
	OwnerUsage(ctx context.Context, bucket, owner string) (Usage, error)
	AllLinks
	FileLinkSums(ctx context.Context, ids []FileID) ([]LinkSums, error)
	VersionLinkSums(ctx context.Context, ids []VersionID) ([]LinkSums, error)
}

// Listings are the methods that yield many rows. Each yields the rows as they
// were at one moment.
type Listings interface {
	// List yields the files of a bucket that r selects, each once, with their
	// current versions. Several calls, each starting after the key of the last
	// file before, also list a file exactly once if it keeps its path and its
	// state, whatever happens to other files meanwhile.
	List(ctx context.Context, bucket string, r *Range) iter.Seq2[*Listed, error]

	// AllFiles yields every file, in order of IDs.
	AllFiles(ctx context.Context) iter.Seq2[*File, error]

	// View calls fn once with a view of one moment, and returns its error. The
	// iterators of the view may be used while others of it yield.
	View(ctx context.Context, fn func(v View) error) error

	// AllRows yields every version of every file of a bucket; "" means all
	// buckets. It orders files by ID, and puts the newest version of each first.
	// Rows of one file share its File.
	AllRows(ctx context.Context, bucket string) iter.Seq2[*Row, error]

	// TrashedBefore returns at most limit files of a bucket that were moved to
	// the trash before a time, in order of their IDs, and only those whose IDs
	// come after one.
	TrashedBefore(ctx context.Context, bucket string, before time.Time, after FileID, limit int) ([]*File, error)

	// Marks yields, in any order, a record for each file and version that was
	// removed for good.
	Marks(ctx context.Context) iter.Seq2[Record, error]

	// OwnerUsages yields the sums over the files of each owner in each bucket, in
	// order of buckets and owners. Those of a bucket add up to its usage. Sums may
	// be zero.
	OwnerUsages(ctx context.Context) iter.Seq2[*OwnedUsage, error]

	// AllSegments yields the digests of the segments of a domain, in order, with
	// the bytes that they take.
	AllSegments(ctx context.Context, domain string) iter.Seq2[SegmentSize, error]

	// Buckets returns the names of the buckets that have files or once had
	// files.
	Buckets(ctx context.Context) ([]string, error)
}
