package manifest

import (
	"context"
	"iter"

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
	// of all buckets in the domain, also in the trash, and the parts of uploads
	// in it, except listed ones. A bucket that is being moved is in both
	// domains. A bucket without a home is in all.
	Roots(ctx context.Context, domain string) iter.Seq2[*Root, error]
}

// Epochs are the counters of domains, and the writers that depend on them.
type Epochs interface {
	// Epoch returns the epoch of a domain, from 0. NextEpoch raises it by one,
	// durably, and returns it. The chunk index stamps entries with the epoch.
	Epoch(ctx context.Context, domain string) (uint64, error)
	NextEpoch(ctx context.Context, domain string) (uint64, error)

	// Removals counts the changes that made stored chunks of a domain unusable.
	// It becomes visible together with the change. While it is the same, a chunk
	// that was found stored is still stored.
	Removals(ctx context.Context, domain string) (uint64, error)

	// Register adds a writer that begins in the present epoch. Unregister
	// removes it, and is no error if it was removed before. Writers returns the
	// registered ones, in the order of their begin. They survive a restart of
	// the process.
	Register(ctx context.Context, domain string) (Writer, error)
	Unregister(ctx context.Context, domain string, id WriterID) error
	Writers(ctx context.Context, domain string) ([]Writer, error)
}

// A Writer is an upload, edit, copy or move under way. Chunks that it found
// stored must not be collected until it ends. Nothing is collected yet, and
// nothing registers yet.
type Writer struct {
	ID    WriterID
	Begin uint64 // the epoch at the call of Register
}

// A WriterID is random.
type WriterID [16]byte
