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
