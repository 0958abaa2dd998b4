package pebblestore

import (
	"context"

	"github.com/cairn-store/cairn/manifest"
)

func apiKeyKey(id string) []byte  { return append([]byte{keyAPIKey}, id...) }
func signKeyKey(id string) []byte { return append([]byte{keySignKey}, id...) }

// APIKey implements manifest.Keys, and so do the methods below.
func (s rows) APIKey(ctx context.Context, id string) (*manifest.APIKey, error) {
	return getRow[manifest.APIKey](ctx, s, apiKeyKey(id), "API key %q", id)
}

func (s rows) APIKeys(ctx context.Context) ([]*manifest.APIKey, error) {
	return allRowsUnder[manifest.APIKey](ctx, s, keyAPIKey, "API key")
}

func (s rows) SignKeys(ctx context.Context) ([]*manifest.SignKey, error) {
	return allRowsUnder[manifest.SignKey](ctx, s, keySignKey, "signing key")
}

// PutAPIKey implements manifest.KeyChanges, and so do the methods below.
func (t *tx) PutAPIKey(ctx context.Context, k *manifest.APIKey) error {
	return t.putRow(apiKeyKey(k.ID), k)
}

func (t *tx) DropAPIKey(ctx context.Context, id string) error { return t.b.Delete(apiKeyKey(id), nil) }

func (t *tx) PutSignKey(ctx context.Context, k *manifest.SignKey) error {
	return t.putRow(signKeyKey(k.ID), k)
}

func (t *tx) DropSignKey(ctx context.Context, id string) error {
	return t.b.Delete(signKeyKey(id), nil)
}
