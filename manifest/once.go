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

// AppendBinary appends the canonical encoding of the row.
func (o *Once) AppendBinary(b []byte) ([]byte, error) {
	return appendRow(b, tagOnce, "idempotency key", o)
}

// UnmarshalBinary decodes what AppendBinary wrote.
func (o *Once) UnmarshalBinary(p []byte) error {
	*o = Once{}
	return parseRow(p, tagOnce, "idempotency key", 5, o)
}

func (o *Once) codeFields(c *codec) {
	c.text(1, &o.Bucket)
	c.sum(2, &o.Key)
	c.text(3, &o.Request)
	c.versionID(4, &o.Manifest)
	c.time(5, &o.ExpiresAt)
}
