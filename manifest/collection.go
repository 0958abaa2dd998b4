package manifest

import (
	"context"
	"errors"
	"iter"
	"time"

	"github.com/cairn-store/cairn/cas"
)

var (
	// ErrLeased reports that another collector works on the domain.
	ErrLeased = errors.New("another collection is under way")
	// ErrNotDead reports a pack that cannot be doomed: it is not sealed, frames
	// of the index lie in it, or it holds records that no checkpoint covers.
	ErrNotDead = errors.New("pack is still in use")
)

// A Lease is the right to collect a domain. Token is higher than that of every
// lease before; changes that carry an older one fail with cas.ErrFenced.
type Lease struct {
	Domain string
	Token  uint64
}

// Collections are the methods of a Store for the collector.
type Collections interface {
	// TakeLease takes the lease of a domain for a time. It returns ErrLeased while
	// another collector has it whose time is not over by the clock of the
	// database. In a database that one process has for itself the lease ends
	// with the process. RenewLease extends it, or returns cas.ErrFenced if it
	// was taken by another. ReleaseLease gives it back; one that was lost is not
	// an error. That the clock may be wrong costs work, and no data.
	TakeLease(ctx context.Context, domain string, length time.Duration) (Lease, error)
	RenewLease(ctx context.Context, l Lease, length time.Duration) error
	ReleaseLease(ctx context.Context, l Lease) error

	// RaiseFloor raises the floor of a domain, durably, unless it is higher. It
	// returns cas.ErrFenced to a collector that has lost its lease. The floor
	// must not be above the epoch.
	RaiseFloor(ctx context.Context, l Lease, floor uint64) error

	// Graves yields the graves of a domain, newest first, of one moment.
	Graves(ctx context.Context, domain string) iter.Seq2[*Grave, error]
	// DropGraves removes graves. Those that are gone are not an error.
	DropGraves(ctx context.Context, domain string, ids []GraveID) error

	// AddCharges adds dead bytes of packs to what is waiting to be freed.
	// ChargesOf returns what waits of a pack, in order of causes.
	AddCharges(ctx context.Context, domain string, cs []Charge) error
	ChargesOf(ctx context.Context, domain string, id cas.PackID) ([]Charge, error)
	// AllCharges yields all that waits, in order of packs.
	AllCharges(ctx context.Context, domain string) iter.Seq2[Charge, error]

	// AddFreed adds entries to the ledger and removes what waits of the pack that
	// they are about. TrimLedger removes the oldest entries beyond keep.
	AddFreed(ctx context.Context, domain string, id cas.PackID, es []Freed) error
	TrimLedger(ctx context.Context, keep int) error
	// Ledger yields the entries of all domains, newest first.
	Ledger(ctx context.Context) iter.Seq2[*Freed, error]

	// Dead are serials of packs that are doomed or void, of each writer of a
	// domain, in order of writers.
	Dead(ctx context.Context, domain string) ([]*Census, error)

	// Checkpoint returns the base of the newest whole checkpoint of a domain, 0
	// for none. SetCheckpoint notes a newer one. Marks of commits up to the lowest
	// base of the domains given are removed, at most limit; more tells whether
	// others may be left.
	Checkpoint(ctx context.Context, domain string) (uint64, error)
	SetCheckpoint(ctx context.Context, domain string, base uint64) error
	DropMarks(ctx context.Context, upTo uint64, limit int) (more bool, err error)
}

// DoomChanges are the write methods of a Tx for packs that are to be deleted.
type DoomChanges interface {
	// DoomPack marks a pack of the transaction's domain as doomed in the index,
	// counts its serial, and those that it notes as void, as dead, and makes
	// records of that. It returns ErrNotDead if the pack is in use. A pack that is
	// doomed already stays so, with new records.
	DoomPack(ctx context.Context, id cas.PackID, voids []cas.Void) error

	// RestoreCensus adds dead serials that were found in packs. It makes no record.
	RestoreCensus(ctx context.Context, domain string, c *Census) error
}

// A Grave is a version that was removed for good, kept until its chunks have
// been collected, so that the ledger can tell whose bytes were freed. The store
// digs it when a Tx drops or purges versions.
type Grave struct {
	ID      GraveID
	Bucket  string
	Path    string // of the file
	File    FileID
	Version VersionID
	Size    int64
	At      time.Time // of the removal
	Top     cas.Digest
	Chunks  []cas.Ref // as in Content.Inline
}

// A GraveID orders graves by time: the number of the commit, and the place in it.
type GraveID struct {
	Commit uint64
	N      uint32
}

// A Cause says why bytes are dead. The zero Cause stands for what never became
// part of a file: uploads that ended, chunks stored twice, records, headers.
type Cause struct {
	Bucket string
	File   FileID
	Path   string
	At     time.Time // of the last purge
}

// A Charge is a number of dead bytes in a pack, and why they are dead.
type Charge struct {
	Pack  cas.PackID
	Cause Cause
	Bytes int64 // stored
}

// A Freed is an entry of the ledger: bytes that the backend has got back.
type Freed struct {
	At     time.Time // when the pack was found gone
	Domain string
	Charge
	// Copied says that the bytes were live and lie in another pack now.
	Copied bool
}
