package manifest

import (
	"context"
	"slices"
)

// A Home says in which domain the files of a bucket are. As a record, it is in
// the packs of that domain. A bucket that was never moved has no record. Of
// several homes of a bucket the one with the highest Move is valid.
type Home struct {
	Bucket string
	Move   uint64   // counts the moves of the bucket
	From   string   // the domain before the last move
	Domain string   // the domain of the files; "" if the bucket is no longer declared
	Been   []string // other domains whose packs hold rows of the bucket
	// To is the domain that a move copies to, also after one that failed, or "".
	// When it is Domain, the move has switched, and uploads under way may not all
	// have followed yet.
	To string
}

// In reports whether files of the bucket may be in a domain.
func (h *Home) In(domain string) bool { return domain == h.Domain || h.To != "" && domain == h.To }

// Leave sets the domain of the files to another one.
func (h *Home) Leave(to string) {
	if h.Domain != "" && !slices.Contains(h.Been, h.Domain) {
		h.Been = append(h.Been, h.Domain)
	}
	h.From, h.Domain, h.To = h.Domain, to, ""
}

// Homes are the read methods for homes, of a Store and of a Tx.
type Homes interface {
	// Home returns the home of a bucket. If it has none, only the Bucket of the
	// result is set.
	Home(ctx context.Context, bucket string) (*Home, error)

	// Homes returns all homes, in order of buckets.
	Homes(ctx context.Context) ([]*Home, error)
}

// HomeChanges are the write methods for homes, of a Tx.
type HomeChanges interface {
	// PutHome writes a home. If it raises Move, it also makes a record for the
	// packs of h.Domain.
	PutHome(ctx context.Context, h *Home) error

	// RestoreHome writes a home that was found in packs. It makes no record.
	RestoreHome(ctx context.Context, h *Home) error

	// DropHome removes the home of a bucket. It is no error if there is none.
	DropHome(ctx context.Context, bucket string) error
}

// AppendBinary appends the canonical encoding of the row.
func (h *Home) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagHome, "home", h) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (h *Home) UnmarshalBinary(p []byte) error {
	*h = Home{}
	return parseRow(p, tagHome, "home", 6, h)
}

func (h *Home) codeFields(c *codec) {
	c.text(1, &h.Bucket)
	c.number(2, &h.Move)
	c.text(3, &h.From)
	c.text(4, &h.Domain)
	c.list(5, &h.Been)
	c.text(6, &h.To)
	c.must(h.Bucket != "")
}
