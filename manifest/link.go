package manifest

import (
	"context"
	"fmt"
	"iter"
	"time"
)

// A LinkID names a link: l_….
type LinkID string

const linkPrefix = "l_"

// NewLinkID returns the ID of a new link.
func NewLinkID() LinkID { return LinkID(newID(linkPrefix)) }

// ParseLinkID reports whether s is a well-formed ID of a link.
func ParseLinkID(s string) (LinkID, bool) { return LinkID(s), wellFormed(s, linkPrefix) }

// A Link is the hold of a host's record on a file, or on one version of it. Its row
// stays when the file is removed: only the host ends a link.
type Link struct {
	ID       LinkID
	Revision uint64 // raised by every change of the row

	Host    string // name of the host
	Session uint64 // of the host, when it was made

	Bucket  string // of the file
	File    FileID
	Version VersionID // that is held, "" for a link that follows the file

	Collection string
	Record     string
	Field      string

	OnDelete OnDelete
	State    LinkState
	Due      bool      // what follows from its end was put off
	Who      string    // key of the principal that it was made for
	At       time.Time // of the last change of State
}

// An OnDelete is the policy of a link. Its values are part of the format.
type OnDelete uint8

const (
	Keep     OnDelete = 0 // nothing follows
	Restrict OnDelete = 1 // the file is not deleted while the link stands
	Cascade  OnDelete = 2 // the file goes to the trash when its last link ends
	SetNull  OnDelete = 3 // the host is told when the file is deleted

	onDeletes = 4
)

// String is the policy as it stands in schemas.
func (p OnDelete) String() string {
	switch p {
	case Keep:
		return "keep"
	case Restrict:
		return "restrict"
	case Cascade:
		return "cascade"
	case SetNull:
		return "set_null"
	}
	return fmt.Sprintf("OnDelete(%d)", uint8(p))
}

// A LinkState is where a link is in its life. Its values are part of the format.
type LinkState uint8

const (
	// LinkPending: the host has not said yet whether its record was written. It
	// holds, and no policy follows from it.
	LinkPending LinkState = 0
	// LinkConfirmed: the record is written.
	LinkConfirmed LinkState = 1
	// LinkReleased: it was confirmed, and the record no longer has it. It holds until
	// its row is dropped, so that a host that loses its last commits loses no file.
	LinkReleased LinkState = 2
	// LinkLetGo: it was never confirmed, and is given up. It holds nothing. A late
	// word of the host may confirm it still.
	LinkLetGo LinkState = 3

	linkStates = 4
)

// String names the state for people.
func (s LinkState) String() string {
	switch s {
	case LinkPending:
		return "pending"
	case LinkConfirmed:
		return "confirmed"
	case LinkReleased:
		return "released"
	case LinkLetGo:
		return "let go"
	}
	return fmt.Sprintf("LinkState(%d)", uint8(s))
}

// IsListed reports whether a link is in the lists of its file and its host: it stands,
// or something is still to follow from its end.
func (l *Link) IsListed() bool { return l.State.Stands() || l.Due }

// Holds reports whether a link in this state keeps its file, and the version that it
// names, from being swept.
func (s LinkState) Holds() bool { return s != LinkLetGo }

// Stands reports whether a record has, or may have, a link in this state.
func (s LinkState) Stands() bool { return s == LinkPending || s == LinkConfirmed }

// LinkSums count the links of a file, or of a version, by state and policy.
type LinkSums [linkStates][onDeletes]int64

// Count returns the number of links in a state.
func (s *LinkSums) Count(state LinkState) (n int64) {
	for _, m := range s[state] {
		n += m
	}
	return n
}

// Holds returns the number of links that hold.
func (s *LinkSums) Holds() int64 {
	return s.Count(LinkPending) + s.Count(LinkConfirmed) + s.Count(LinkReleased)
}

// Standing returns the number of links that stand.
func (s *LinkSums) Standing() int64 { return s.Count(LinkPending) + s.Count(LinkConfirmed) }

// Add adds a link to the sums, or subtracts it if sign is -1.
func (s *LinkSums) Add(l *Link, sign int64) { s[l.State][l.OnDelete] += sign }

// IsZero reports whether there are no links.
func (s *LinkSums) IsZero() bool { return *s == LinkSums{} }

// A RecordKey names a record of a host.
type RecordKey struct{ Host, Collection, Record string }

// Key names the record of the link.
func (l *Link) Key() RecordKey { return RecordKey{l.Host, l.Collection, l.Record} }

// Links are the read methods for links and hosts, of a Store and of a Tx. A missing
// row is fs.ErrNotExist.
type Links interface {
	Link(ctx context.Context, id LinkID) (*Link, error)

	// FileLinkSums and VersionLinkSums return the sums of each file, and of each
	// version that links name.
	FileLinkSums(ctx context.Context, ids []FileID) ([]LinkSums, error)
	VersionLinkSums(ctx context.Context, ids []VersionID) ([]LinkSums, error)

	// FileLinks returns links of a file that stand or are Due, in order of IDs, at most
	// limit whose IDs are higher than after.
	FileLinks(ctx context.Context, file FileID, after LinkID, limit int) ([]*Link, error)
	// RecordLinks returns the confirmed links of a record, in order of IDs.
	RecordLinks(ctx context.Context, key RecordKey) ([]*Link, error)
	// HostLinks is FileLinks for the links of a host.
	HostLinks(ctx context.Context, host string, after LinkID, limit int) ([]*Link, error)
	// EndedLinks returns links of a bucket that ended, were released or let go,
	// before a time and are not Due, the earliest first, at most limit.
	EndedLinks(ctx context.Context, bucket string, before time.Time, limit int) ([]*Link, error)
	// PendingLinks counts the pending links that were made for a principal.
	PendingLinks(ctx context.Context, who string) (int64, error)

	// LinkEvents returns files that were deleted and whose hosts are to be told, in
	// order of IDs, at most limit whose IDs are higher than after.
	LinkEvents(ctx context.Context, after FileID, limit int) ([]FileID, error)

	// Host returns the row of a host, Hosts all, in order of names.
	Host(ctx context.Context, name string) (*Host, error)
	Hosts(ctx context.Context) ([]*Host, error)
}

// LinkChanges are the write methods for links and hosts, of a Tx.
type LinkChanges interface {
	// PutLink raises l.Revision and writes the row of l. It updates the sums, and
	// makes a record for the packs of the transaction's domain. ID, Host, Bucket,
	// File, Version and the record of a link never change.
	PutLink(ctx context.Context, l *Link) error
	// DropLinks removes the rows of links that have ended, and fails if one stands.
	// It makes no record: a rebuild may bring back a link that has ended, as one that
	// has.
	DropLinks(ctx context.Context, ids []LinkID) error

	// PutLinkEvent notes that the hosts of a file are to be told that it was
	// deleted. DropLinkEvent takes that back. Doing so twice is no error.
	PutLinkEvent(ctx context.Context, file FileID) error
	DropLinkEvent(ctx context.Context, file FileID) error

	// PutHost writes the row of a host, DropHost removes it. They make no records.
	PutHost(ctx context.Context, h *Host) error
	DropHost(ctx context.Context, name string) error
}

// AllLinks is the method of a Store, and of a View, that yields every link.
type AllLinks interface {
	// AllLinks yields the links of a bucket, "" means all, in order of IDs, as they
	// were at one moment.
	AllLinks(ctx context.Context, bucket string) iter.Seq2[*Link, error]
}

// AppendBinary appends the canonical encoding of the row.
func (l *Link) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagLink, "link", l) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (l *Link) UnmarshalBinary(p []byte) error {
	*l = Link{}
	return parseRow(p, tagLink, "link", 15, l)
}

func (l *Link) codeFields(c *codec) {
	idField(c, 1, &l.ID, linkPrefix)
	c.number(2, &l.Revision)
	c.text(3, &l.Host)
	c.number(4, &l.Session)
	c.text(5, &l.Bucket)
	c.fileID(6, &l.File)
	c.versionID(7, &l.Version)
	c.text(8, &l.Collection)
	c.text(9, &l.Record)
	c.text(10, &l.Field)
	enumField(c, 11, &l.OnDelete, onDeletes, "policy")
	enumField(c, 12, &l.State, linkStates, "state")
	c.flag(13, &l.Due)
	c.text(14, &l.Who)
	c.time(15, &l.At)
	c.must(l.ID != "" && l.File != "" && l.Host != "" && l.Bucket != "")
}
