package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// LatestTime implements manifest.Clock.
func (d *DB) LatestTime(ctx context.Context) (time.Time, error) {
	v, err := d.getValue(d.db, []byte{keyClock})
	if errors.Is(err, fs.ErrNotExist) {
		return time.Time{}, ctx.Err()
	}
	if err == nil && len(v) != 8 {
		err = fmt.Errorf("damaged entry %x", v)
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("pebblestore: latest time: %w", err)
	}
	return time.UnixMilli(int64(binary.BigEndian.Uint64(v))).UTC(), nil
}

// SetLatestTime implements manifest.Clock.
func (d *DB) SetLatestTime(ctx context.Context, t time.Time) error {
	v := binary.BigEndian.AppendUint64(nil, millis(t))
	err := d.writeBatch(ctx, true, func(b *pebble.Batch) error { return b.Set([]byte{keyClock}, v, nil) })
	if err != nil {
		return fmt.Errorf("pebblestore: set latest time: %w", err)
	}
	return nil
}
