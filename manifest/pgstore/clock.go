package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
)

// LatestTime implements manifest.Clock.
func (d *DB) LatestTime(ctx context.Context) (time.Time, error) {
	ms, err := queryOne(ctx, d.alone(), "", pgx.RowTo[int64], `SELECT latest FROM cairn_clock`)
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("pgstore: latest time: %w", err)
	}
	return time.UnixMilli(ms).UTC(), nil
}

// SetLatestTime implements manifest.Clock.
func (d *DB) SetLatestTime(ctx context.Context, t time.Time) error {
	_, err := d.alone().exec(ctx, "pgstore: set latest time", `INSERT INTO cairn_clock VALUES (1, $1) ON CONFLICT (id) DO UPDATE SET latest = excluded.latest`,
		t.UnixMilli())
	return err
}
