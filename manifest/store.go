package manifest

import (
	"context"
	"errors"
	"iter"
)

// Files are the ways to find files and versions, and sums of them, of a Store
// and of a Tx. A missing row is fs.ErrNotExist.
type Files interface {
	File(ctx context.Context, id FileID) (*File, error)
	// FileByPath finds the active file of a bucket by folder and name.
	FileByPath(ctx context.Context, bucket, path string) (*File, error)
	Manifest(ctx context.Context, id VersionID) (*Manifest, error)
	Version(ctx context.Context, file FileID, n uint64) (*Manifest, error)
	// Versions yields the versions of a file, newest first.
	Versions(ctx context.Context, file FileID) iter.Seq2[*Manifest, error]
	// OldVersions returns the n oldest versions of a file, or fewer if there are
	// no more, of those whose number is above one, oldest first.
	OldVersions(ctx context.Context, file FileID, above uint64, n int) ([]*Manifest, error)

	// Usage sums up a bucket, exactly; OwnerUsage, the files in it of one
	// owner.
	Usage(ctx context.Context, bucket string) (Usage, error)
	OwnerUsage(ctx context.Context, bucket, owner string) (Usage, error)
}

// FileChanges are what a Tx does to files and versions. Their records go to
// the packs of its domain.
type FileChanges interface {
	// PutFile writes f's row, raising f.Revision, and with it the index of
	// names and the usage. It fails with ErrConflict when f is active and
	// another active file has its path.
	PutFile(ctx context.Context, f *File) error

	// PutManifest writes the row of a new version.
	PutManifest(ctx context.Context, m *Manifest) error

	// DropManifests removes the rows of versions for good. One that is missing
	// is fs.ErrNotExist.
	DropManifests(ctx context.Context, ids []VersionID) error

	// Purge removes a file and all its versions for good.
	Purge(ctx context.Context, id FileID) error
}

// Found are all ways to find one thing, and what belongs together, of a Store
// and of a Tx.
type Found interface {
	Files
	Uploads
	Grants
	Keys
	Receipts
	Onces
	Homes
}

// A Tx is a transaction of a Store; see Store.Update. It sees its own writes.
// While one of its iterators yields, rows may be read and changed: what is
// changed may or may not be yielded as it was. Its methods are not for
// concurrent use, and not for use after fn has returned.
type Tx interface {
	Found
	FileChanges
	UploadChanges
	GrantChanges
	KeyChanges
	ReceiptChanges
	OnceChanges
	HomeChanges

	// Removals is the store's for the transaction's domain: a commit whose
	// chunks were found stored while it was the same needs no other proof that
	// they still are.
	Removals(ctx context.Context) (uint64, error)
}

// A Store holds rows and segments. It is safe for concurrent use. The rows it
// returns are the caller's, and times in them are kept in milliseconds.
// manifesttest.Run checks an implementation.
type Store interface {
	Found
	Listings
	Roots
	Clock
	Epochs
	Identities

	// Segments are kept per domain.
	Segments(domain string) Segments

	// Update runs fn in a transaction: all that fn reads and writes through
	// tx is as if no other Update ran meanwhile. When fn returns nil, its
	// writes are made together and durable on return; an error of fn makes
	// none and is returned as it is. fn may be run more than once, the last
	// run counts: it must set what it tells its caller anew each time. After
	// any other error but ErrTooLarge the outcome is unknown, and the commit that may have been
	// made is returned beside the error.
	//
	// The records of what fn changed go to the packs of domain. A transaction
	// that makes none needs no domain, and is told nothing of removals.
	Update(ctx context.Context, domain string, fn func(tx Tx) error) (*Commit, error)

	// LastCommit returns the number of the latest commit or, if there was none
	// since the store was opened, one that no later commit is below. Numbers
	// rise with commits, are visible in order and never given twice, whatever
	// crashes; there may be gaps.
	LastCommit(ctx context.Context) (uint64, error)

	// TakeNumber returns a number, higher than all before, for records that are
	// written beside Update. It is durable on return.
	TakeNumber(ctx context.Context) (uint64, error)

	// Unwritten yields the commits, oldest first, whose records may not be
	// durable in the packs yet. Written forgets some. It may be lost in a crash.
	Unwritten(ctx context.Context) iter.Seq2[*Commit, error]
	Written(ctx context.Context, seqs ...uint64) error

	// Restore replays records, which may be none, of the commit of a number: a
	// row of a higher revision replaces one of a lower, marks remove rows and
	// keep later replays from bringing them back. Any order of calls ends in
	// the same rows. Names and usage follow with Reindex. Numbers are given
	// above seq from then on.
	Restore(ctx context.Context, seq uint64, rs []Record) error

	// Reindex makes the index of names and the usage anew from the rows, and
	// makes all that Restore did durable.
	Reindex(ctx context.Context) error

	// Ready returns nil, or why nothing can be changed now.
	Ready() error

	// DiskSize returns the bytes that the store and its indexes take.
	DiskSize() int64
}

// ErrConflict reports that the path of a file is taken.
var ErrConflict = errors.New("path is taken")

// Segments are the segments of one domain.
type Segments interface {
	SegmentGetter
	SegmentPutter
}

// A Range chooses files of a bucket. Active files come in byte order of their
// paths, others in order of their IDs.
type Range struct {
	State  State
	Prefix string // of the path; only for active files
	After  string // begin after this path, or ID

	Versioned bool // only files of more than one version
}

// A Commit is what one Update changed.
type Commit struct {
	Seq    uint64   // its number
	Prev   uint64   // that of the commit before it; numbers between are no commits
	Domain string   // whose packs the records go to
	Slots  [][]byte // encoded by EncodeCommit
}

// Size is the bytes of the slots.
func (c *Commit) Size() (n int) {
	for _, p := range c.Slots {
		n += len(p)
	}
	return n
}

// Records decodes what the commit changed.
func (c *Commit) Records() (rs []Record, err error) {
	for _, p := range c.Slots {
		s, err := DecodeSlot(p)
		if err != nil {
			return nil, err
		}
		rs = append(rs, s.Records...)
	}
	return rs, nil
}

// A Usage sums up a bucket.
type Usage struct {
	Files, Versions, Bytes, Chunks                             int64 // of active and quarantined files
	TrashedFiles, TrashedVersions, TrashedBytes, TrashedChunks int64
}
