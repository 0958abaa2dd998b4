// Package links joins the records of a host, a program with a database of its own, to
// the files of a store. A record holds a file, or one version of it, by a link.
//
// The records lie in the host's database and the links in the store's, so no
// transaction covers both. A host changes a record in three steps: Host.Prepare checks
// the new values and makes pending links, which hold already; the host commits its
// change; Host.Confirm says so. If the host changes its mind it calls Host.Cancel. A
// crash between two steps leaves pending links: when the host opens the store again,
// Host.Reconcile compares links with records.
//
// The host's commit must be durable when Confirm is called. SQLite in WAL mode does
// that with synchronous=FULL only; with NORMAL a power cut may undo it.
//
// Start with Open. prepare.go and confirm.go are the two steps, release.go what follows
// from the end of a link, reconcile.go compares, resolve.go reads a page of records'
// files, event.go tells of files that were deleted.
package links

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/manifest"
)

// Errors of links, beside those of package buckets.
var (
	// ErrHostDatabase reports a host whose database is not the one that the store
	// knows: a new and empty one, since its path is wrong, or another one.
	ErrHostDatabase = errors.New("the host's database is not the one that the store knows")
	// ErrSession reports a session of a host that has not begun or has ended.
	ErrSession = errors.New("the host's session has not begun, or has ended: open the host again")
	// ErrLinkLost reports links that cannot be made good: their files are gone, or
	// nothing is known of the links any more. The records may refer to nothing.
	// Reconcile tells.
	ErrLinkLost = errors.New("links of records are lost")
	// ErrValue reports a value that the field of a record does not take.
	ErrValue = errors.New("the field does not take this value")
	// ErrField reports a field that the host has not declared.
	ErrField = fmt.Errorf("no such file field%w", hidden(fs.ErrNotExist))
	// ErrToken reports what is not a token of this host.
	ErrToken = errors.New("not a token of this host")
	// ErrTooManyPending reports a principal for whom too many links are pending.
	ErrTooManyPending = errors.New("too many links are pending: confirm or cancel them first")
	// ErrTooManyDrops reports a Reconcile that would let go more links than its
	// bound. It has dropped nothing.
	ErrTooManyDrops = errors.New("more links would be let go than one run may; look at a dry run, then force it")
)

// hidden wraps an error that errors.Is finds and nobody reads.
func hidden(err error) error { return hiddenError{err} }

type hiddenError struct{ err error }

func (hiddenError) Error() string   { return "" }
func (e hiddenError) Unwrap() error { return e.err }

// A LostError is an ErrLinkLost that names the links.
type LostError struct{ Links []manifest.LinkID }

func (e *LostError) Error() string { return fmt.Sprintf("%d %v", len(e.Links), ErrLinkLost) }
func (e *LostError) Unwrap() error { return ErrLinkLost }

// policyOf returns the policy of the links of a field.
func policyOf(f *schema.Field) manifest.OnDelete {
	switch f.OnDelete {
	case schema.OnDeleteRestrict:
		return manifest.Restrict
	case schema.OnDeleteCascade:
		return manifest.Cascade
	case schema.OnDeleteSetNull:
		return manifest.SetNull
	}
	return manifest.Keep
}

// Bounds.
const (
	// maxNames is how many bytes the name of a host, collection, record or field may
	// have.
	maxNames = 255
	// maxValues is how many values one Prepare takes, of at most maxChanges records.
	maxValues  = 1000
	maxChanges = 100
	// maxReleases is how many links one Prepare replaces, so that its token fits into a
	// request.
	maxReleases = 10000
	// maxSession is above the number of each session. Numbers below are exact in all
	// clients, and can rise.
	maxSession = 1 << 53
	// maxPending is how many pending links there may be for one principal.
	maxPending = 1000
	// maxLive is how many sessions of a host there may be that have not ended.
	maxLive = 1000
	// pageSize is how many links are read, or changed in one transaction, at a time.
	pageSize = 500
	// maxEventLinks is how many links, of all hosts, a page of events looks at, or a few
	// more.
	maxEventLinks = 10000
)
