package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

func onceKey(bucket string, key [32]byte) []byte { return bucketKey(keyOnce, bucket, string(key[:])) }

// Once implements manifest.Onces.
func (s rows) Once(ctx context.Context, bucket string, key [32]byte) (*manifest.Once, error) {
	o := new(manifest.Once)
	if err := s.decode(onceKey(bucket, key), o); err != nil {
		return nil, fmt.Errorf("idempotency key: %w", err)
	}
	return o, ctx.Err()
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
	return t.sweepExpired(keyOnce, nil, before, limit, func(rest []byte) error {
		return t.b.Delete(append([]byte{keyOnce}, rest...), nil)
	})
}
