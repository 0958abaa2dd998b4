package manifest

import (
	"context"
	"iter"
	"time"

	"github.com/cairn-store/cairn/cas"
)

// A Root is what one row keeps alive: a segment with all that it refers to, or
// chunks.
type Root struct {
	Version VersionID  // the version of the row, or
	Upload  UploadID   // the upload of the part
	Top     cas.Digest // the top of a tree, or zero
	Chunks  []cas.Ref
}

// Roots finds everything that collection must keep.
type Roots interface {
	// Roots yields the roots of a domain as of one moment: the versions of files
	// of all buckets in the domain, also in the trash, the parts of uploads in
	// it, and of listed ones the chunks that were sent for them. A bucket that
	// is being moved is in both domains. A bucket without a home is in all.
	Roots(ctx context.Context, domain string) iter.Seq2[*Root, error]
}

// Epochs are the counters of domains, and the writers that depend on them.
type Epochs interface {
	// Epoch returns the epoch of a domain, from 0. NextEpoch raises it by one,
	// durably, and returns it. The chunk index stamps entries with the epoch.
	Epoch(ctx context.Context, domain string) (uint64, error)
	NextEpoch(ctx context.Context, domain string) (uint64, error)

	// Floor returns the floor of a domain, from 0. A collector drops only entries
	// whose stamps are lower. It never falls.
	Floor(ctx context.Context, domain string) (uint64, error)

	// Removals counts the changes that made stored chunks of a domain unusable.
	// It becomes visible together with the change. While it is the same, a chunk
	// that was found stored is still stored.
	Removals(ctx context.Context, domain string) (uint64, error)

	// Register adds a writer that begins in the present epoch. Unregister
	// removes it, and is no error if it was removed before. Writers returns the
	// registered ones, in the order of their begin. They survive a restart of
	// the process, unless nobody else can have the store open: then those of
	// earlier processes are removed when it is opened.
	Register(ctx context.Context, domain string) (Writer, error)
	Unregister(ctx context.Context, domain string, id WriterID) error
	Writers(ctx context.Context, domain string) ([]Writer, error)
}

// A Writer is an upload, edit, copy or move under way. Chunks that it found
// stored are not collected while the floor is not above its begin.
type Writer struct {
	ID    WriterID
	Begin uint64    // the epoch at the call of Register
	At    time.Time // when it was registered, by the clock of the database
}

// A WriterID is random.
type WriterID [16]byte
