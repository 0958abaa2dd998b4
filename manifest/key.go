package manifest

import (
	"context"
	"time"
)

// An APIKey authenticates a service, which is no user.
type APIKey struct {
	ID        string
	Name      string
	Buckets   []string
	Ops       []string
	Operator  bool
	Hash      [32]byte // of the secret
	CreatedAt time.Time
	ExpiresAt time.Time // zero: never
}

// A SignKey signs grants.
type SignKey struct {
	ID        string
	Secret    []byte
	CreatedAt time.Time
}

// Keys are the read methods for API keys and signing keys, of a Store and of a
// Tx. There are few of both.
type Keys interface {
	// APIKey returns an API key, or fs.ErrNotExist.
	APIKey(ctx context.Context, id string) (*APIKey, error)

	// APIKeys returns all API keys, in order of IDs.
	APIKeys(ctx context.Context) ([]*APIKey, error)

	// SignKeys returns all signing keys, in order of IDs.
	SignKeys(ctx context.Context) ([]*SignKey, error)
}

// KeyChanges are the write methods for keys, of a Tx. To drop a key that does
// not exist is no error.
type KeyChanges interface {
	PutAPIKey(ctx context.Context, k *APIKey) error
	DropAPIKey(ctx context.Context, id string) error
	PutSignKey(ctx context.Context, k *SignKey) error
	DropSignKey(ctx context.Context, id string) error
}

// AppendBinary appends the canonical encoding of the row.
func (k *APIKey) AppendBinary(b []byte) ([]byte, error) { return appendRow(b, tagAPIKey, "API key", k) }

// UnmarshalBinary decodes what AppendBinary wrote.
func (k *APIKey) UnmarshalBinary(p []byte) error {
	*k = APIKey{}
	return parseRow(p, tagAPIKey, "API key", 8, k)
}

func (k *APIKey) codeFields(c *codec) {
	c.text(1, &k.ID)
	c.text(2, &k.Name)
	c.list(3, &k.Buckets)
	c.list(4, &k.Ops)
	c.flag(5, &k.Operator)
	c.sum(6, &k.Hash)
	c.time(7, &k.CreatedAt)
	c.time(8, &k.ExpiresAt)
	c.must(k.ID != "")
}

// AppendBinary appends the canonical encoding of the row.
func (k *SignKey) AppendBinary(b []byte) ([]byte, error) {
	return appendRow(b, tagSignKey, "signing key", k)
}

// UnmarshalBinary decodes what AppendBinary wrote.
func (k *SignKey) UnmarshalBinary(p []byte) error {
	*k = SignKey{}
	return parseRow(p, tagSignKey, "signing key", 3, k)
}

func (k *SignKey) codeFields(c *codec) {
	c.text(1, &k.ID)
	c.bytes(2, &k.Secret)
	c.time(3, &k.CreatedAt)
	c.must(k.ID != "")
}
