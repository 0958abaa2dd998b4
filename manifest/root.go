package manifest

import (
	"context"
	"iter"

	"github.com/cairn-store/cairn/cas"
)

// A Root is what a row keeps alive: a segment with all that it leads to, or
// chunks.
type Root struct {
	Version VersionID  // whose row it is, or
	Upload  UploadID   // whose part
	Top     cas.Digest // of a tree; zero for none
	Chunks  []cas.Ref
}

// Roots are found by who collects what nobody needs any more.
type Roots interface {
	// Roots yields all that keeps segments and chunks of a domain alive, of one
	// moment: the versions of the files of all buckets that lie there, in the
	// trash or not, and the parts of uploads there, but for listed ones. A
	// bucket that is being moved lies in both domains, one whose home is not
	// known in all.
	Roots(ctx context.Context, domain string) iter.Seq2[*Root, error]
}

// Epochs are the counters of domains, and who relies on them.
type Epochs interface {
	// Epoch returns a domain's epoch, which begins with 0; NextEpoch raises it
	// by one, durably, and returns it. Stamps of the chunk index are taken from it.
	Epoch(ctx context.Context, domain string) (uint64, error)
	NextEpoch(ctx context.Context, domain string) (uint64, error)

	// Removals counts the changes that made stored chunks of a domain unusable.
	// It rises with the change and is visible with it, neither before nor
	// after. While it stays the same, an answer that a chunk is stored stays
	// true.
	Removals(ctx context.Context, domain string) (uint64, error)

	// Register makes a writer that begins in the present epoch; Unregister ends
	// it, and one that has ended is not an error. Writers returns those that
	// have not ended, those that began first first. They outlive the process.
	Register(ctx context.Context, domain string) (Writer, error)
	Unregister(ctx context.Context, domain string, id WriterID) error
	Writers(ctx context.Context, domain string) ([]Writer, error)
}

// A Writer is an upload, an edit, a copy or a move under way: what it was told
// is stored may not be collected yet.
type Writer struct {
	ID    WriterID
	Begin uint64 // epoch
}

// A WriterID is random.
type WriterID [16]byte
