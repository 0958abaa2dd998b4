// Package backend defines the object storage that packs are kept in.
//
// A backend is a flat map from keys to immutable objects. Backend is its
// contract; a driver begins with CheckKey, and backendtest.Run checks it:
//
//	membackend   in memory
//	diskbackend  files of a directory
//	s3backend    a bucket of S3
//	journal      a near backend in front of a far one
//	owner        a backend that one store at a time writes to
package backend

import (
	"context"
	"errors"
	"io"
	"iter"
	"time"
)

// ErrNoSpace reports that the storage behind a backend is full. What was
// stored before stays readable.
var ErrNoSpace = errors.New("no space left in backend")

// ErrUnavailable reports that the storage behind a backend does not serve now:
// it cannot be reached, is overloaded, or refuses the credentials. The driver
// has repeated the request already. What was stored before is unchanged. The
// same call may succeed later, but a failed write may have succeeded as well.
var ErrUnavailable = errors.New("backend is not available")

// ErrOwned reports a backend that another store owns, so that this one must not
// write to it.
var ErrOwned = errors.New("backend belongs to another data directory")

// A Backend stores immutable objects by key. Implementations are safe for
// concurrent use and retry transient failures themselves: an error they
// return is final, but the outcome of a failed write is unknown. A missing
// object is reported by an error satisfying errors.Is(err, fs.ErrNotExist).
//
// A key is one or more elements of [a-z0-9._-]+ joined by '/', at most 255
// bytes in all; no element begins with a dot. Any other key is refused with
// fs.ErrInvalid. Callers never use both a key and that key with '/' and more
// behind it: a driver that keeps objects in folders cannot hold both.
type Backend interface {
	// Create begins an object under key. It fails with fs.ErrExist when an
	// object of that key is already readable; a backend that publishes whole
	// objects only may leave that to Commit, and save a request. Of several
	// Writers begun under one key the first to publish wins; the others' Sync
	// or Commit fails with fs.ErrExist. The Writer stops when ctx is done.
	Create(ctx context.Context, key string) (Writer, error)

	// Append reopens, at its end, an object that was synced but not
	// committed, and returns its present size; the bytes up to there stay
	// as they are. After Commit it fails with fs.ErrExist. A backend that
	// can only publish whole objects returns errors.ErrUnsupported.
	Append(ctx context.Context, key string) (Writer, int64, error)

	// ReadAt fills p from the object, starting at off. It returns no
	// partial result: an object that ends before p is full is
	// io.ErrUnexpectedEOF.
	ReadAt(ctx context.Context, key string, p []byte, off int64) error

	// Stat describes the object under key.
	Stat(ctx context.Context, key string) (Info, error)

	// Delete removes key. A missing key is not an error.
	Delete(ctx context.Context, key string) error

	// List yields the objects whose keys begin with prefix, each once, in any
	// order. It does not yield objects begun but never synced or committed.
	List(ctx context.Context, prefix string) iter.Seq2[Info, error]
}

// A Limited is a Backend that keeps a part of its storage free for what has to be
// written before anything can be deleted.
type Limited interface {
	Backend
	// CheckRoom returns ErrNoSpace if n bytes more would take of that part. Who
	// writes content asks before. Copies, for which more will be deleted than they
	// take, may have half of it; other writes go on until it is used up.
	CheckRoom(n int64, copies bool) error
	// CopyRoom is how many bytes copies may have of it, 0 where nothing is kept free.
	CopyRoom() int64
}

// A Leaver is a Backend that can tell what Writers have left behind.
type Leaver interface {
	Backend
	// Unfinished yields what is stored of objects that were begun and that can be
	// neither read nor continued, but for those of Writers of this Backend that are
	// at work. Keys need not be ones that a Backend takes.
	Unfinished(ctx context.Context) iter.Seq2[Info, error]
}

// A Writer receives the bytes of one new object. Write and Sync may run
// concurrently with each other and with reads of the object; all else is
// for one goroutine at a time. After an error from Write or Sync the Writer
// takes no more bytes: only Abort may follow.
type Writer interface {
	// Write appends p to the object. It does not retain p.
	io.Writer

	// Sync makes everything written before the call durable and readable
	// under the key while the object is still growing. After a crash the
	// object holds at least what the last Sync covered, perhaps more, and
	// what lies beyond is unspecified. A backend that can only publish
	// whole objects returns errors.ErrUnsupported and loses nothing.
	Sync() error

	// Commit makes the object whole, durable and readable. Nothing may
	// follow it.
	Commit() error

	// Abort ends the Writer. An object that was never synced leaves nothing
	// behind; one that was synced stays readable up to there. After Commit,
	// Abort does nothing.
	Abort() error
}

// Info describes a stored object.
type Info struct {
	Key     string
	Size    int64 // bytes
	ModTime time.Time
}

// ValidKey reports whether key has the form that a Backend takes.
func ValidKey(key string) bool {
	if len(key) > 255 {
		return false
	}
	start := true // of an element
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case 'a' <= c && c <= 'z', '0' <= c && c <= '9', (c == '.' || c == '_' || c == '-') && !(start && c == '.'):
			start = false
		case c == '/' && !start:
			start = true
		default:
			return false
		}
	}
	return !start
}
