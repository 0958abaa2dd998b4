package pgstore

import (
	"context"
	"fmt"

	"github.com/cairn-store/cairn/manifest"
)

// APIKey implements manifest.Keys, and so do the methods below.
func (s rows) APIKey(ctx context.Context, id string) (*manifest.APIKey, error) {
	return queryOne(ctx, s.c, fmt.Sprintf("API key %q", id), decode[manifest.APIKey], `SELECT row FROM cairn_api_keys WHERE id = $1`, toBytes(id))
}

func (s rows) APIKeys(ctx context.Context) ([]*manifest.APIKey, error) {
	return queryAll(ctx, s.c, "", decode[manifest.APIKey], `SELECT row FROM cairn_api_keys ORDER BY id`)
}

func (s rows) SignKeys(ctx context.Context) ([]*manifest.SignKey, error) {
	return queryAll(ctx, s.c, "", decode[manifest.SignKey], `SELECT row FROM cairn_sign_keys ORDER BY id`)
}

// PutAPIKey implements manifest.KeyChanges, and so do the methods below.
func (t *tx) PutAPIKey(ctx context.Context, k *manifest.APIKey) error {
	return t.putRow(ctx, "pgstore: put API key", k, `INSERT INTO cairn_api_keys VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET row = excluded.row`, toBytes(k.ID))
}

func (t *tx) DropAPIKey(ctx context.Context, id string) error {
	return t.drop(ctx, "pgstore: drop API key", `DELETE FROM cairn_api_keys WHERE id = $1`, toBytes(id))
}

func (t *tx) PutSignKey(ctx context.Context, k *manifest.SignKey) error {
	return t.putRow(ctx, "pgstore: put signing key", k, `INSERT INTO cairn_sign_keys VALUES ($1, $2)
		ON CONFLICT (id) DO UPDATE SET row = excluded.row`, toBytes(k.ID))
}

func (t *tx) DropSignKey(ctx context.Context, id string) error {
	return t.drop(ctx, "pgstore: drop signing key", `DELETE FROM cairn_sign_keys WHERE id = $1`, toBytes(id))
}
