package pebblestore

import (
	"context"
	"errors"
	"io/fs"

	"github.com/cairn-store/cairn/manifest"
)

func homeKey(bucket string) []byte { return append([]byte{keyHome}, bucket...) }

// Home implements manifest.Homes.
func (s rows) Home(ctx context.Context, bucket string) (*manifest.Home, error) {
	h, err := getRow[manifest.Home](ctx, s, homeKey(bucket), "home of bucket %q", bucket)
	if errors.Is(err, fs.ErrNotExist) {
		return &manifest.Home{Bucket: bucket}, ctx.Err()
	}
	return h, err
}

// Homes implements manifest.Homes.
func (s rows) Homes(ctx context.Context) ([]*manifest.Home, error) {
	return allRowsUnder[manifest.Home](ctx, s, keyHome, "home")
}

// PutHome implements manifest.HomeChanges.
func (t *tx) PutHome(ctx context.Context, h *manifest.Home) error {
	old, err := t.Home(ctx, h.Bucket)
	if err != nil {
		return err
	}
	if h.Move > old.Move {
		row := *h
		t.records = append(t.records, manifest.Record{Home: &row})
	}
	return t.putRow(homeKey(h.Bucket), h)
}

// RestoreHome implements manifest.HomeChanges.
func (t *tx) RestoreHome(ctx context.Context, h *manifest.Home) error {
	return t.putRow(homeKey(h.Bucket), h)
}

// DropHome implements manifest.HomeChanges.
func (t *tx) DropHome(ctx context.Context, bucket string) error {
	return t.b.Delete(homeKey(bucket), nil)
}
