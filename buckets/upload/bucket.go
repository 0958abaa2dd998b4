// Package upload takes files in that are sent in pieces, over many requests and
// lost connections, or by a list of their chunks, of which only those are sent
// that the other side lacks. Its uploads become drafts of package buckets, which
// are committed like any other.
//
// Read upload.go for what an upload is, append.go for how bytes come, session.go
// and lacking.go for lists of chunks, assemble.go for how it becomes a file.
package upload

import (
	"errors"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/internal"
)

// ErrTooMany reports a principal with as many uploads under way as the bucket
// lets one have.
var ErrTooMany = errors.New("too many uploads under way: end or cancel some")

// Uploads are the uploads of a Store's buckets. There must be one for each
// Store: it knows who works on which upload.
type Uploads struct {
	active handover
	bases  *baseSets
}

// New returns Uploads with none under way in this process.
func New() *Uploads { return &Uploads{bases: newBaseSets()} }

// In returns the uploads of b, as b's principal sees them.
func (u *Uploads) In(b *buckets.Bucket) *Bucket {
	return &Bucket{uploads: u, b: b, in: b.Intake(internal.Pass{})}
}

// A Bucket takes uploads into a bucket for one principal. Its methods may run
// concurrently.
type Bucket struct {
	uploads *Uploads
	b       *buckets.Bucket
	in      *buckets.Intake
}

// Name returns the bucket's name.
func (b *Bucket) Name() string { return b.b.Name() }

// Policy is what the bucket was set up to do.
func (b *Bucket) Policy() buckets.Policy { return b.b.Policy() }

func (b *Bucket) limits() *buckets.Limits {
	l := b.b.Policy().Limits
	return &l
}

// pinned returns b for one request: what it stores, it finds again.
func (b *Bucket) pinned() *Bucket {
	return &Bucket{uploads: b.uploads, b: b.b, in: b.in.Pinned()}
}
