package manifest

import (
	"context"
	"errors"
	"iter"
)

// A Store holds the rows of files and manifests, and segments. A missing row
// is fs.ErrNotExist. It is safe for concurrent use. The rows it returns are
// the caller's. manifesttest.Run checks an implementation.
type Store interface {
	Rows
	Found
	Listings
	Roots
	Clock
	Identities

	// Files yields the files of a bucket that r chooses, of one moment.
	Files(ctx context.Context, bucket string, r *Range) iter.Seq2[*File, error]

	// All yields every file row, in order of IDs, of one moment.
	All(ctx context.Context) iter.Seq2[*File, error]

	// Segments are kept per domain.
	Segments(domain string) Segments

	// Update runs fn in a transaction: all that fn reads and writes through
	// tx is as if no other Update ran meanwhile. When fn returns nil, its
	// writes are made together and durable on return; an error of fn makes
	// none and is returned as it is. So does ErrTooLarge, if fn has changed
	// more than MaxCommit takes. fn may be run more than once. After any other
	// error the outcome is unknown, and the commit that may have been
	// made is returned beside the error.
	//
	// The commit it returns stays unwritten, across crashes, until Written
	// has been called with it: its records are to be made durable in the
	// packs first. Nil means that fn wrote nothing.
	Update(ctx context.Context, fn func(tx Tx) error) (*Commit, error)

	// LastSeq returns the number of the latest commit or, if there was none
	// since the store was opened, one that no later commit is below. Numbers
	// rise with commits and are never given twice, whatever crashes; there may
	// be gaps.
	LastSeq() uint64

	// TakeNumber returns a number, higher than all before, for records that
	// are written beside Update. It is durable on return.
	TakeNumber(ctx context.Context) (uint64, error)

	// Unwritten yields the commits, oldest first, whose records may not be
	// durable in the packs yet.
	Unwritten(ctx context.Context) iter.Seq2[*Commit, error]

	// Written forgets c. It may be lost in a crash.
	Written(ctx context.Context, c *Commit) error

	// Restore replays records, which may be none, of the commit of a number: a
	// row of a higher revision replaces one of a lower, marks remove rows and
	// keep later replays from bringing them back. Any order of calls ends in
	// the same rows. Names and usage follow with Reindex. Numbers are given
	// above seq from then on.
	Restore(ctx context.Context, seq uint64, rs []Record) error

	// Reindex makes the index of names and the usage anew from the rows, and
	// makes all that Restore did durable.
	Reindex(ctx context.Context) error

	// Epoch counts the changes that made stored chunks of any domain
	// unusable since the store was opened. While it stays the same, an
	// answer that a chunk is stored stays true.
	Epoch() uint64

	// Usage sums up a bucket, exactly; OwnerUsage, the files in it of one
	// owner.
	Usage(ctx context.Context, bucket string) (Usage, error)
	OwnerUsage(ctx context.Context, bucket, owner string) (Usage, error)

	// Buckets returns the names of the buckets that hold files or have held
	// some.
	Buckets(ctx context.Context) ([]string, error)

	// Marks yields, in any order, the marks of all files and versions that are
	// gone for good.
	Marks(ctx context.Context) iter.Seq2[Record, error]

	// Ready returns nil, or why nothing can be changed now.
	Ready() error

	// DiskSize returns the bytes that the store and its indexes take.
	DiskSize() int64
}

// Rows are the ways to find one row.
type Rows interface {
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
}

// A Tx is a transaction of a Store; see Store.Update.
type Tx interface {
	Rows
	Found
	UploadChanges
	GrantChanges
	KeyChanges
	ReceiptChanges
	OnceChanges
	HomeChanges

	Usage(ctx context.Context, bucket string) (Usage, error)
	OwnerUsage(ctx context.Context, bucket, owner string) (Usage, error)

	// Epoch is the store's: a commit whose chunks were found stored in this
	// epoch needs no other proof that they still are.
	Epoch() uint64

	// PutFile writes f's row, raising f.Revision, and with it the index of
	// names and the usage. It fails with ErrConflict when f is active and
	// another active file has its path. domain is where the record goes.
	PutFile(ctx context.Context, domain string, f *File) error

	// PutManifest writes the row of a new version.
	PutManifest(ctx context.Context, m *Manifest) error

	// DropManifest removes a version's row for good.
	DropManifest(ctx context.Context, id VersionID) error

	// Purge removes a file and all its versions for good.
	Purge(ctx context.Context, domain string, id FileID) error
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
