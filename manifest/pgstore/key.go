package pgstore

import (
	"context"
	"fmt"

	"github.com/cairn-store/cairn/manifest"
)

// APIKey implements manifest.Keys, and so do the methods below.
func (s rows) APIKey(ctx context.Context, id string) (*manifest.APIKey, error) {
	k, err := one(ctx, s.c, decode[manifest.APIKey], `SELECT row FROM cairn_api_keys WHERE id = $1`, toBytes(id))
	if err != nil {
		return nil, fmt.Errorf("API key %q: %w", id, err)
	}
	return k, nil
}

func (s rows) APIKeys(ctx context.Context) ([]*manifest.APIKey, error) {
	return collect(ctx, s.c, decode[manifest.APIKey], `SELECT row FROM cairn_api_keys ORDER BY id`)
}

func (s rows) SignKeys(ctx context.Context) ([]*manifest.SignKey, error) {
	return collect(ctx, s.c, decode[manifest.SignKey], `SELECT row FROM cairn_sign_keys ORDER BY id`)
}

// PutAPIKey implements manifest.KeyChanges, and so do the methods below.
func (t *tx) PutAPIKey(ctx context.Context, k *manifest.APIKey) error {
	row, err := k.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, err = t.c.exec(ctx, `INSERT INTO cairn_api_keys VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET row = excluded.row`, toBytes(k.ID), row)
	return err
}

func (t *tx) DropAPIKey(ctx context.Context, id string) error {
	_, err := t.c.exec(ctx, `DELETE FROM cairn_api_keys WHERE id = $1`, toBytes(id))
	return err
}

func (t *tx) PutSignKey(ctx context.Context, k *manifest.SignKey) error {
	row, err := k.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, err = t.c.exec(ctx, `INSERT INTO cairn_sign_keys VALUES ($1, $2) ON CONFLICT (id) DO UPDATE SET row = excluded.row`, toBytes(k.ID), row)
	return err
}

func (t *tx) DropSignKey(ctx context.Context, id string) error {
	_, err := t.c.exec(ctx, `DELETE FROM cairn_sign_keys WHERE id = $1`, toBytes(id))
	return err
}
