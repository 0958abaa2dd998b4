package manifest

import (
	"context"
	"time"
)

// A Once is the result of a request that must take effect only once. Its key is
// the idempotency key.
type Once struct {
	Bucket    string
	Key       [32]byte // hash of the principal and the idempotency key
	Request   string   // the request that used the key
	Manifest  VersionID
	Answer    []byte // to the request, as its writer encodes it
	ExpiresAt time.Time
}

// Onces are the read methods for results of requests, of a Store and of a Tx.
type Onces interface {
	// Once returns the result of the request with a key, or fs.ErrNotExist.
	Once(ctx context.Context, bucket string, key [32]byte) (*Once, error)
}

// OnceChanges are the write methods for results of requests, of a Tx.
type OnceChanges interface {
	PutOnce(ctx context.Context, o *Once) error

	// SweepOnces removes at most limit results that expired before a time, and
	// returns how many.
	SweepOnces(ctx context.Context, before time.Time, limit int) (int, error)
}

// AppendBinary appends the canonical encoding of the row.
func (o *Once) AppendBinary(b []byte) ([]byte, error) {
	return appendRow(b, tagOnce, "idempotency key", o)
}

// UnmarshalBinary decodes what AppendBinary wrote.
func (o *Once) UnmarshalBinary(p []byte) error {
	*o = Once{}
	return parseRow(p, tagOnce, "idempotency key", 6, o)
}

func (o *Once) codeFields(c *codec) {
	c.text(1, &o.Bucket)
	c.sum(2, &o.Key)
	c.text(3, &o.Request)
	c.versionID(4, &o.Manifest)
	c.time(5, &o.ExpiresAt)
	c.bytes(6, &o.Answer)
}
