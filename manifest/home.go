package manifest

import (
	"context"
	"slices"
)

// A Home says in which domain the files of a bucket lie: of a record, the one
// whose packs hold it. A bucket that was never moved needs no record. Of the
// homes of a bucket the one of the highest Move counts.
type Home struct {
	Bucket string
	Move   uint64   // how often it was moved, from 1; 0 if never
	From   string   // the domain that the files were moved from last
	Domain string   // where they lie; "" if the bucket is not declared any more
	Been   []string // other domains whose packs hold rows of it
	To     string   // the domain that a move under way copies to
}

// In reports whether the bucket's files may lie in a domain.
func (h *Home) In(domain string) bool { return domain == h.Domain || h.To != "" && domain == h.To }

// Leave notes that the files lie in another domain from now on.
func (h *Home) Leave(to string) {
	if h.Domain != "" && !slices.Contains(h.Been, h.Domain) {
		h.Been = append(h.Been, h.Domain)
	}
	h.From, h.Domain, h.To = h.Domain, to, ""
}

// Homes are the ways to find homes, of a Store and of a Tx.
type Homes interface {
	// Home returns the home of a bucket; of one that has none, one that says
	// nothing.
	Home(ctx context.Context, bucket string) (*Home, error)

	// Homes returns all homes, in order of buckets.
	Homes(ctx context.Context) ([]*Home, error)
}

// HomeChanges are what a Tx does to homes.
type HomeChanges interface {
	// PutHome writes a home. Where it raises Move, that is a record too, for the
	// packs of h.Domain.
	PutHome(ctx context.Context, h *Home) error

	// RestoreHome writes a home that the packs tell of: no record.
	RestoreHome(ctx context.Context, h *Home) error

	// DropHome removes the home of a bucket. One that is not there is not an
	// error.
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
