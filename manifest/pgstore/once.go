package pgstore

import (
	"context"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// Once implements manifest.Onces.
func (s rows) Once(ctx context.Context, bucket string, key [32]byte) (*manifest.Once, error) {
	return queryOne(ctx, s.c, "idempotency key", decode[manifest.Once], `SELECT row FROM cairn_onces WHERE bucket = $1 AND key = $2`, toBytes(bucket), key[:])
}

// PutOnce implements manifest.OnceChanges.
func (t *tx) PutOnce(ctx context.Context, o *manifest.Once) error {
	return t.putRow(ctx, "pgstore: put idempotency key", o, `INSERT INTO cairn_onces (bucket, key, expires, row) VALUES ($1, $2, $3, $4)
		ON CONFLICT (bucket, key) DO UPDATE SET expires = excluded.expires, row = excluded.row`,
		toBytes(o.Bucket), o.Key[:], millis(o.ExpiresAt))
}

// SweepOnces implements manifest.OnceChanges.
func (t *tx) SweepOnces(ctx context.Context, before time.Time, limit int) (int, error) {
	return t.dropSome(ctx, "cairn_onces", "bucket, key", "expires < $1 ORDER BY expires", millis(before), limit)
}
