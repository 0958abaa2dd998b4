package manifest

import (
	"context"
	"errors"
	"iter"
	"time"
)

// Files are the read methods for files and versions, and for sums over them, of
// a Store and of a Tx. A missing row is fs.ErrNotExist.
type Files interface {
	File(ctx context.Context, id FileID) (*File, error)
	// FileByPath returns the active file of a bucket with a path, its folder and
	// name.
	FileByPath(ctx context.Context, bucket, path string) (*File, error)
	Manifest(ctx context.Context, id VersionID) (*Manifest, error)
	Version(ctx context.Context, file FileID, n uint64) (*Manifest, error)
	// Versions yields the versions of a file, newest first.
	Versions(ctx context.Context, file FileID) iter.Seq2[*Manifest, error]
	// VersionsBelow is Versions of those whose numbers are lower than below.
	VersionsBelow(ctx context.Context, file FileID, below uint64) iter.Seq2[*Manifest, error]
	// OldVersions returns at most n versions of a file whose numbers are higher
	// than above, oldest first.
	OldVersions(ctx context.Context, file FileID, above uint64, n int) ([]*Manifest, error)
	// IsPurged reports whether a file of that ID was purged, while its mark is kept: until
	// no record is left that could bring it back.
	IsPurged(ctx context.Context, id FileID) (bool, error)
	// Rows returns for each file its row with its current version, and behind those
	// for each version its row with its file, all as of one moment; nil for what is
	// missing. A version whose file is missing is missing too.
	Rows(ctx context.Context, files []FileID, versions []VersionID) ([]*Row, error)

	// Usage returns the exact sums over a bucket, OwnerUsage those over the
	// files of one owner in it.
	Usage(ctx context.Context, bucket string) (Usage, error)
	OwnerUsage(ctx context.Context, bucket, owner string) (Usage, error)
}

// FileChanges are the write methods for files and versions, of a Tx. They make
// records for the packs of its domain.
type FileChanges interface {
	// PutFile raises f.Revision and writes the row of f. It updates the index of
	// names and the usage. It returns ErrConflict if f is active and another
	// active file has its path.
	PutFile(ctx context.Context, f *File) error

	// PutManifest writes the row of a new version.
	PutManifest(ctx context.Context, m *Manifest) error

	// DropManifests removes the rows of versions for good, and digs a grave for
	// each, with at as its time. It returns fs.ErrNotExist if one is missing.
	DropManifests(ctx context.Context, ids []VersionID, at time.Time) error

	// Purge removes a file and all its versions for good, and digs their graves.
	Purge(ctx context.Context, id FileID, at time.Time) error
}

// Found are the read methods that a Store and a Tx share.
type Found interface {
	Files
	Uploads
	Grants
	Keys
	Receipts
	Onces
	Homes
	Leftovers
	Links
}

// A Tx is a transaction of a Store; see Store.Update. It sees its own writes.
// Rows may be read and written while one of its iterators yields; the iterator
// may or may not yield what was written. Its methods are not for concurrent use,
// nor for use after fn has returned.
type Tx interface {
	Found
	FileChanges
	UploadChanges
	GrantChanges
	KeyChanges
	ReceiptChanges
	OnceChanges
	HomeChanges
	LeftoverChanges
	LinkChanges
	AuditChanges

	DoomChanges

	// Barrier returns what a transaction that makes pointers to chunks of a
	// domain must compare, and keeps it from changing before the commit. The
	// chunks that a writer found stored still are if the floor is not above its
	// begin and the removals are those that it counted before.
	Barrier(ctx context.Context, domain string) (Barrier, error)
}

// A Barrier is what collection and damage have done to the chunks of a domain.
type Barrier struct {
	Floor    uint64 // see Epochs.Floor
	Removals uint64 // see Epochs.Removals
	Epoch    uint64 // see Epochs.Epoch
}

// A Store stores rows and segments. It is safe for concurrent use. The caller
// owns the rows that it returns. Times in rows have millisecond precision.
// manifesttest.Run checks an implementation.
type Store interface {
	Found
	Listings
	AllLinks
	Roots
	Clock
	Epochs
	Collections
	Identities
	Scrubs
	Points
	Audits

	// Segments returns the segments of a domain.
	Segments(domain string) Segments

	// Update runs fn in a serializable transaction. If fn returns nil, its
	// writes are made together and are durable on return. If fn returns an
	// error, nothing is written, and Update returns that error as it is. fn may
	// run several times; the last run counts, so each run must set anew what it
	// reports to its caller. After any other error but ErrTooLarge the outcome
	// is unknown: Update returns it with the commit that it may have made.
	//
	// The records of the changes go to the packs of domain. domain may be "" if
	// fn makes no records.
	Update(ctx context.Context, domain string, fn func(tx Tx) error) (*Commit, error)

	// LastCommit returns the number of the latest commit. If there was none
	// since the store was opened, it returns a number between the latest and the
	// next commit. Numbers of commits rise, become visible in order, and are
	// never used twice, whatever crashes. There may be gaps.
	LastCommit(ctx context.Context) (uint64, error)

	// TakeNumber returns a new highest number, for records that are written
	// outside of Update. It is durable on return. LastNumber returns the highest
	// number that was given, to a commit or by TakeNumber: packs hold a higher one
	// only if the database is older than they are.
	TakeNumber(ctx context.Context) (uint64, error)
	LastNumber(ctx context.Context) (uint64, error)

	// Unwritten yields the commits, oldest first, whose records may not yet be
	// durable in packs. Written removes some of them. A crash may undo Written.
	Unwritten(ctx context.Context) iter.Seq2[*Commit, error]
	Written(ctx context.Context, seqs ...uint64) error

	// Restore replays records of commit seq, or of a checkpoint with base seq. A row
	// with a higher revision replaces one with a lower. A mark removes rows and
	// keeps later replays from restoring them; it counts as one of commit seq. The
	// order of calls does not matter. Reindex must follow, to update names, usage
	// and what links are found by. Without records it makes later numbers higher
	// than seq instead: the database counts as older than its packs until then.
	Restore(ctx context.Context, seq uint64, rs []Record) error

	// Reindex rebuilds the index of names, the usage, and the lists and sums of
	// links from the rows. It makes all calls of Restore durable. A crash leaves it
	// undone or done once the store is open again.
	Reindex(ctx context.Context) error

	// Verify reads all that the store keeps its rows in, as far as it sees that, and
	// returns ErrDamaged if something is wrong there. Work may go on meanwhile.
	Verify(ctx context.Context) error

	// Ready returns nil, or an error that says why nothing can be changed now.
	Ready() error

	// DiskSize returns the bytes that the store takes.
	DiskSize() int64
}

var (
	// ErrConflict reports that the path of a file is taken.
	ErrConflict = errors.New("path is taken")
	// ErrDamaged reports that what the store keeps its rows in is damaged.
	ErrDamaged = errors.New("metadata database is damaged")
	// ErrSync reports that written data may not have reached the disk. The
	// outcome of the changes that waited for it is unknown. The store serves
	// reads and refuses changes until it is closed and opened again, which uses
	// what is on the disk.
	ErrSync = errors.New("metadata database takes no more changes: what it wrote may not be on the disk")
	// ErrReadOnly reports a change of a store that was opened to be read only.
	ErrReadOnly = errors.New("metadata database is open for reading only")
)

// Segments are the segments of one domain.
type Segments interface {
	SegmentGetter
	SegmentPutter
}

// A Range selects files of a bucket. Active files come in byte order of their
// paths, other files in order of their IDs.
type Range struct {
	State  State
	Prefix string // of the path; only for active files
	After  string // start after this path, or ID

	Reverse bool // from the last path to the first; only for active files
	Bare    bool // yields keys without rows; only for active files

	Versioned bool // only files with more than one version; not with Bare
}

// A Commit is the records of one Update.
type Commit struct {
	Seq    uint64   // its number
	Prev   uint64   // the number of the commit before; numbers between belong to no commit
	Domain string   // whose packs the records go to
	Slots  [][]byte // encoded by EncodeCommit
}

// Size returns the bytes of the slots.
func (c *Commit) Size() (n int) {
	for _, p := range c.Slots {
		n += len(p)
	}
	return n
}

// Records decodes the records of the commit.
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
	Described                                                  int64 // bytes, of File.DescribedBytes of them all
}

// Charged is how many bytes count in quotas.
func (u *Usage) Charged() int64 { return u.Bytes + u.TrashedBytes + u.Described }

// Sums returns pointers to the sums of u, in the order of their encoding.
func (u *Usage) Sums() []*int64 {
	return []*int64{&u.Files, &u.Versions, &u.Bytes, &u.Chunks,
		&u.TrashedFiles, &u.TrashedVersions, &u.TrashedBytes, &u.TrashedChunks, &u.Described}
}

// Add adds a file to the sums, or subtracts it if sign is -1.
func (u *Usage) Add(f *File, sign int64) {
	sums := u.Sums()
	if f.State == Trashed {
		sums = sums[4:]
	}
	for i, n := range []int64{1, int64(f.Versions), f.TotalSize, f.TotalChunks} {
		*sums[i] += sign * n
	}
	u.Described += sign * f.DescribedBytes()
}
