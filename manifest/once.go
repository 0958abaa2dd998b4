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

// Tags of a Once.
const (
	oBucket = 1 + iota
	oKey
	oRequest
	oManifest
	oExpiresAt

	oLast = oExpiresAt
)

// AppendBinary appends the row's canonical encoding.
func (o *Once) AppendBinary(b []byte) ([]byte, error) {
	e := encoder{}
	e.str(oBucket, o.Bucket)
	e.bytes(oKey, o.Key[:])
	e.str(oRequest, o.Request)
	e.id(oManifest, string(o.Manifest), versionPrefix)
	e.time(oExpiresAt, o.ExpiresAt)
	return e.end(b, tagOnce, "idempotency key")
}

// UnmarshalBinary reads what AppendBinary wrote.
func (o *Once) UnmarshalBinary(p []byte) error {
	d := newDecoder(p, tagOnce, "idempotency key", oLast)
	*o = Once{Bucket: d.str(oBucket), Key: d.sum32(oKey), Request: d.str(oRequest),
		Manifest: VersionID(d.id(oManifest, versionPrefix)), ExpiresAt: d.time(oExpiresAt)}
	return d.end()
}
