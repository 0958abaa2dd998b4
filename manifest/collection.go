package manifest

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"strings"
	"time"

	"github.com/cairn-store/cairn/cas"
)

var (
	// ErrLeased reports that another collector works on the domain.
	ErrLeased = errors.New("another collection is under way")
	// ErrNotDead reports a pack that cannot be doomed: it is not sealed in the
	// index, frames of the index lie in it, or it holds records that no checkpoint
	// covers. cas.Store.SealOpen marks packs as sealed that have ended without
	// a footer.
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
	// returns cas.ErrFenced to a collector that has lost its lease. A floor above
	// the epoch is an error.
	RaiseFloor(ctx context.Context, l Lease, floor uint64) error

	// Graves yields the graves of a domain, newest first, of one moment.
	Graves(ctx context.Context, domain string) iter.Seq2[*Grave, error]
	// DropGraves removes graves. Those that are gone are not an error.
	DropGraves(ctx context.Context, domain string, ids []GraveID) error

	// AddCharges adds dead bytes of packs to what is waiting to be freed, to
	// those of the same pack and cause. ChargesOf returns what waits of a pack, in
	// order of causes, at most limit of them.
	AddCharges(ctx context.Context, domain string, cs []Charge) error
	ChargesOf(ctx context.Context, domain string, id cas.PackID, limit int) ([]Charge, error)
	// AllCharges yields all that waits, in order of packs.
	AllCharges(ctx context.Context, domain string) iter.Seq2[Charge, error]

	// AddFreed adds entries to the ledger, and removes charges from what waits, in
	// one transaction. Those that do not wait are not an error. TrimLedger removes
	// the oldest entries beyond keep.
	AddFreed(ctx context.Context, domain string, es []Freed, charges []Charge) error
	TrimLedger(ctx context.Context, keep int) error
	// Ledger yields the entries of all domains, newest first.
	Ledger(ctx context.Context) iter.Seq2[*Freed, error]

	// Dead are serials of packs that are doomed or void, of each writer of a
	// domain, in order of writers.
	Dead(ctx context.Context, domain string) ([]*Census, error)

	// Checkpoint returns the base of the newest whole checkpoint of a domain, 0
	// for none. SetCheckpoint notes a newer one, durably; an older one changes
	// nothing. DropMarks removes marks of commits up to a number, at most limit;
	// more tells whether others may be left. The caller gives the lowest base of
	// all domains.
	Checkpoint(ctx context.Context, domain string) (uint64, error)
	SetCheckpoint(ctx context.Context, domain string, base uint64) error
	DropMarks(ctx context.Context, upTo uint64, limit int) (more bool, err error)
}

// DoomChanges are the write methods of a Tx for packs that are to be deleted.
type DoomChanges interface {
	// DoomPack marks a pack of the transaction's domain as doomed in the index,
	// with size as the bytes that the backend has of it, counts its serial, and
	// those that it notes as void, as dead, and makes records of that: a Doom, and
	// a Census for each writer of voids. It returns ErrNotDead if the pack is in
	// use, fs.ErrNotExist if the index does not know it. A pack that is doomed
	// already stays so, of the size that it has, with new records.
	DoomPack(ctx context.Context, id cas.PackID, size int64, voids []cas.Void) error

	// RestoreCensus adds dead serials that were found in packs. It makes no record.
	RestoreCensus(ctx context.Context, domain string, c *Census) error
	// RestoreDooms marks packs of a domain in the index as sealed and doomed,
	// since a record in packs says that they are. It passes over those that the
	// index does not have, and makes no record. Nothing may lie in them.
	RestoreDooms(ctx context.Context, domain string, ids []cas.PackID) error
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

// AppendBinary appends the canonical encoding of the row.
func (g *Grave) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagGrave, "grave", g) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (g *Grave) UnmarshalBinary(p []byte) error {
	*g = Grave{}
	return parseRow(p, tagGrave, "grave", 10, g)
}

func (g *Grave) codeFields(c *codec) {
	c.number(1, &g.ID.Commit)
	c.uint32(2, &g.ID.N)
	c.text(3, &g.Bucket)
	c.text(4, &g.Path)
	c.fileID(5, &g.File)
	c.versionID(6, &g.Version)
	c.size(7, &g.Size)
	c.time(8, &g.At)
	c.digest(9, &g.Top)
	c.inlineRefs(10, &g.Chunks)
	c.must(g.Version != "")
}

// A Cause says why bytes are dead. The zero Cause stands for what never became
// part of a file: uploads that ended, chunks stored twice, records, headers.
type Cause struct {
	Bucket string
	File   FileID
	Path   string
	At     time.Time // of the last purge
}

// Compare orders causes: by bucket, file, time and path.
func (c *Cause) Compare(o *Cause) int {
	return cmp.Or(strings.Compare(c.Bucket, o.Bucket), strings.Compare(string(c.File), string(o.File)),
		c.At.Compare(o.At), strings.Compare(c.Path, o.Path))
}

// A Charge is a number of dead bytes in a pack, and why they are dead.
type Charge struct {
	Pack  cas.PackID
	Cause Cause
	Bytes int64 // stored
}

// AppendBinary appends the canonical encoding of the row.
func (c *Charge) AppendBinary(b []byte) ([]byte, error) {
	return appendRow(b, tagCharge, "charge", c)
}

// UnmarshalBinary decodes what AppendBinary wrote.
func (c *Charge) UnmarshalBinary(p []byte) error {
	*c = Charge{}
	return parseRow(p, tagCharge, "charge", 6, c)
}

func (c *Charge) codeFields(to *codec) {
	to.packID(1, &c.Pack)
	to.text(2, &c.Cause.Bucket)
	to.fileID(3, &c.Cause.File)
	to.text(4, &c.Cause.Path)
	to.time(5, &c.Cause.At)
	to.size(6, &c.Bytes)
}

// A Freed is an entry of the ledger: bytes that the backend has got back.
type Freed struct {
	At     time.Time // when the pack was found gone
	Domain string
	Charge
	// Copied says that the bytes were live and lie in another pack now.
	Copied bool
}

// AppendBinary appends the canonical encoding of the row.
func (f *Freed) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagFreed, "freed", f) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (f *Freed) UnmarshalBinary(p []byte) error {
	*f = Freed{}
	return parseRow(p, tagFreed, "freed", 9, f)
}

func (f *Freed) codeFields(c *codec) {
	f.Charge.codeFields(c)
	c.time(7, &f.At)
	c.text(8, &f.Domain)
	c.flag(9, &f.Copied)
}
