package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/manifest"
)

// Home implements manifest.Homes.
func (s rows) Home(ctx context.Context, bucket string) (*manifest.Home, error) {
	h, err := queryOne(ctx, s.c, "", decode[manifest.Home], `SELECT row FROM cairn_homes WHERE bucket = $1`, toBytes(bucket))
	if errors.Is(err, fs.ErrNotExist) {
		return &manifest.Home{Bucket: bucket}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("home of bucket %q: %w", bucket, err)
	}
	return h, nil
}

// Homes implements manifest.Homes.
func (s rows) Homes(ctx context.Context) ([]*manifest.Home, error) {
	return queryAll(ctx, s.c, "", decode[manifest.Home], `SELECT row FROM cairn_homes ORDER BY bucket`)
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
	return t.RestoreHome(ctx, h)
}

// RestoreHome implements manifest.HomeChanges.
func (t *tx) RestoreHome(ctx context.Context, h *manifest.Home) error {
	return t.putRow(ctx, "pgstore: put home", h, `INSERT INTO cairn_homes VALUES ($1, $2) ON CONFLICT (bucket) DO UPDATE SET row = excluded.row`,
		toBytes(h.Bucket))
}

// DropHome implements manifest.HomeChanges.
func (t *tx) DropHome(ctx context.Context, bucket string) error {
	return t.drop(ctx, "pgstore: drop home", `DELETE FROM cairn_homes WHERE bucket = $1`, toBytes(bucket))
}
