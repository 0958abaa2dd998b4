package manifest

import (
	"context"
	"time"
)

// A Once says what came of a request that is to have an effect only once.
type Once struct {
	Bucket    string
	Key       [32]byte // of whose request it is, and of its idempotency key
	Request   string   // what the key was used for
	Manifest  VersionID
	ExpiresAt time.Time
}

// Onces are the ways to find what came of requests, of a Store and of a Tx.
type Onces interface {
	// Once returns what came of the request with a key, or fs.ErrNotExist.
	Once(ctx context.Context, bucket string, key [32]byte) (*Once, error)
}

// OnceChanges are what a Tx does to them.
type OnceChanges interface {
	PutOnce(ctx context.Context, o *Once) error

	// SweepOnces removes those that have expired before a moment, at most
	// limit, and returns how many.
	SweepOnces(ctx context.Context, before time.Time, limit int) (int, error)
}
