package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// Once implements manifest.Onces.
func (s rows) Once(ctx context.Context, bucket string, key [32]byte) (*manifest.Once, error) {
	o, err := one(ctx, s.c, decode[manifest.Once], `SELECT row FROM cairn_onces WHERE bucket = $1 AND key = $2`, toBytes(bucket), key[:])
	if err != nil {
		return nil, fmt.Errorf("idempotency key: %w", err)
	}
	return o, nil
}

// PutOnce implements manifest.OnceChanges.
func (t *tx) PutOnce(ctx context.Context, o *manifest.Once) error {
	row, err := o.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, err = t.c.exec(ctx, `INSERT INTO cairn_onces (bucket, key, expires, row) VALUES ($1, $2, $3, $4)
		ON CONFLICT (bucket, key) DO UPDATE SET expires = excluded.expires, row = excluded.row`,
		toBytes(o.Bucket), o.Key[:], millis(o.ExpiresAt), row)
	return err
}

// SweepOnces implements manifest.OnceChanges.
func (t *tx) SweepOnces(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.c.exec(ctx, `DELETE FROM cairn_onces WHERE (bucket, key) IN (
		SELECT bucket, key FROM cairn_onces WHERE expires < $1 ORDER BY expires LIMIT $2)`, millis(before), limit)
	return int(n), err
}
