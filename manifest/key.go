package manifest

import (
	"context"
	"time"
)

// An APIKey lets a service in without a user.
type APIKey struct {
	ID        string
	Name      string
	Buckets   []string
	Ops       []string
	Operator  bool
	Hash      [32]byte // of the secret
	CreatedAt time.Time
	ExpiresAt time.Time // zero is never
}

// A SignKey signs grants.
type SignKey struct {
	ID        string
	Secret    []byte
	CreatedAt time.Time
}

// Keys are the ways to find API keys and signing keys, of a Store and of a
// Tx. There are few of both.
type Keys interface {
	// APIKey returns an API key, or fs.ErrNotExist.
	APIKey(ctx context.Context, id string) (*APIKey, error)

	// APIKeys returns all API keys, in order of IDs.
	APIKeys(ctx context.Context) ([]*APIKey, error)

	// SignKeys returns all signing keys, in order of IDs.
	SignKeys(ctx context.Context) ([]*SignKey, error)
}

// KeyChanges are what a Tx does to keys. To drop what is not there is not an
// error.
type KeyChanges interface {
	PutAPIKey(ctx context.Context, k *APIKey) error
	DropAPIKey(ctx context.Context, id string) error
	PutSignKey(ctx context.Context, k *SignKey) error
	DropSignKey(ctx context.Context, id string) error
}

// Tags of an API key.
const (
	kID = 1 + iota
	kName
	kBuckets
	kOps
	kOperator
	kHash
	kCreatedAt
	kExpiresAt

	kLast = kExpiresAt
)

// AppendBinary appends the row's canonical encoding.
func (k *APIKey) AppendBinary(b []byte) ([]byte, error) {
	e := encoder{bad: k.ID == ""}
	e.str(kID, k.ID)
	e.str(kName, k.Name)
	e.list(kBuckets, k.Buckets)
	e.list(kOps, k.Ops)
	e.flag(kOperator, k.Operator)
	e.bytes(kHash, k.Hash[:])
	e.time(kCreatedAt, k.CreatedAt)
	e.time(kExpiresAt, k.ExpiresAt)
	return e.end(b, tagAPIKey, "API key")
}

// UnmarshalBinary reads what AppendBinary wrote.
func (k *APIKey) UnmarshalBinary(p []byte) error {
	d := newDecoder(p, tagAPIKey, "API key", kLast)
	*k = APIKey{ID: d.str(kID), Name: d.str(kName), Buckets: d.list(kBuckets), Ops: d.list(kOps),
		Operator: d.flag(kOperator), Hash: d.sum32(kHash), CreatedAt: d.time(kCreatedAt), ExpiresAt: d.time(kExpiresAt)}
	if k.ID == "" {
		d.fail()
	}
	return d.end()
}

// Tags of a signing key.
const (
	yID = 1 + iota
	ySecret
	yCreatedAt

	yLast = yCreatedAt
)

// AppendBinary appends the row's canonical encoding.
func (k *SignKey) AppendBinary(b []byte) ([]byte, error) {
	e := encoder{bad: k.ID == ""}
	e.str(yID, k.ID)
	e.bytes(ySecret, k.Secret)
	e.time(yCreatedAt, k.CreatedAt)
	return e.end(b, tagSignKey, "signing key")
}

// UnmarshalBinary reads what AppendBinary wrote.
func (k *SignKey) UnmarshalBinary(p []byte) error {
	d := newDecoder(p, tagSignKey, "signing key", yLast)
	*k = SignKey{ID: d.str(yID), Secret: d.bytes(ySecret), CreatedAt: d.time(yCreatedAt)}
	if k.ID == "" {
		d.fail()
	}
	return d.end()
}
