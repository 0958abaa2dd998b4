package manifest

import (
	"context"
	"iter"
	"time"
)

// A Listed is a file in a listing.
type Listed struct {
	File    *File
	Current *Manifest // nil if its row is lost
	Key     string    // that the listing found it by: Range.After goes on behind it
}

// A Row is a version with its file.
type Row struct {
	File     *File
	Manifest *Manifest // nil for a file without versions
}

// Listings are the ways to go through many rows, each of one moment: what is
// changed meanwhile is not seen.
type Listings interface {
	// List yields the files of a bucket that r chooses, each once, with their
	// current versions. A file that keeps its path and its state is listed once
	// also by calls that follow each other, each from the key of the last file
	// before, whatever is done to other files between or during them.
	List(ctx context.Context, bucket string, r *Range) iter.Seq2[*Listed, error]

	// AllFiles yields every file, in order of IDs.
	AllFiles(ctx context.Context) iter.Seq2[*File, error]

	// AllRows yields every version of every file of a bucket, "" is all
	// buckets: in order of file IDs, the newest version of each first. Rows of
	// one file share its File.
	AllRows(ctx context.Context, bucket string) iter.Seq2[*Row, error]

	// TrashedBefore returns files of a bucket that were moved to the trash
	// before a moment, at most limit.
	TrashedBefore(ctx context.Context, bucket string, before time.Time, limit int) ([]*File, error)

	// Marks yields, in any order, the marks of all files and versions that are
	// gone for good.
	Marks(ctx context.Context) iter.Seq2[Record, error]

	// Buckets returns the names of the buckets that hold files or have held
	// some.
	Buckets(ctx context.Context) ([]string, error)
}
