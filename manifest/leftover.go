package manifest

import "context"

// A Leftover is what uploads of a principal that ended without becoming a file
// have left in the packs of a domain, whether others had stored the same or not.
// It counts against the principal until a collection whose floor is above its epoch
// has completed.
type Leftover struct {
	Domain string
	Epoch  uint64 // of the domain, when they ended
	Bucket string
	Who    string // the principal
	Bytes  int64
}

// Leftovers are the read methods for leftovers, of a Store and of a Tx.
type Leftovers interface {
	// LeftoverBytes sums up the leftovers of a bucket, and those of a principal in
	// it.
	LeftoverBytes(ctx context.Context, bucket, who string) (all, own int64, err error)
	// HasLeftovers reports whether there are any in a domain.
	HasLeftovers(ctx context.Context, domain string) (bool, error)
	// LeftoversOf sums up the leftovers of a domain by bucket, in order of buckets.
	// Epoch is the lowest of a bucket, Who is empty.
	LeftoversOf(ctx context.Context, domain string) ([]Leftover, error)
}

// LeftoverChanges are the write methods for leftovers, of a Tx.
type LeftoverChanges interface {
	// AddLeftover adds to the bytes of a leftover, which may be new.
	AddLeftover(ctx context.Context, l *Leftover) error
	// DropLeftovers removes leftovers of a domain whose epochs are lower than
	// before, at most limit, and returns how many. While that is limit, more may be
	// left.
	DropLeftovers(ctx context.Context, domain string, before uint64, limit int) (int, error)
}
