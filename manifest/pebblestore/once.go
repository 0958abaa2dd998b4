package pebblestore

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

func onceKey(bucket string, key [32]byte) []byte { return bucketKey(keyOnce, bucket, string(key[:])) }

// Once implements manifest.Onces.
func (s rows) Once(ctx context.Context, bucket string, key [32]byte) (*manifest.Once, error) {
	return getRow[manifest.Once](ctx, s, onceKey(bucket, key), "idempotency key")
}

// PutOnce implements manifest.OnceChanges.
func (t *tx) PutOnce(ctx context.Context, o *manifest.Once) error {
	key := onceKey(o.Bucket, o.Key)
	old, err := t.Once(ctx, o.Bucket, o.Key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if old != nil {
		t.b.Delete(expiryKey(keyOnce, nil, old.ExpiresAt, key[1:]), nil)
	}
	t.b.Set(expiryKey(keyOnce, nil, o.ExpiresAt, key[1:]), nil, nil)
	return t.putRow(key, o)
}

// SweepOnces implements manifest.OnceChanges.
func (t *tx) SweepOnces(ctx context.Context, before time.Time, limit int) (int, error) {
	return t.sweepRows(keyOnce, before, limit)
}
