package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

// dayKey comes before all keys of points of a day.
func dayKey(day time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyPoint}, uint64(max(day.UnixMilli(), 0)))
}

// PutPoint implements manifest.Points, and so do the methods below.
func (d *DB) PutPoint(ctx context.Context, p *manifest.Point) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		t := &tx{rows: rows{d, b}, b: b}
		return t.putRow(append(dayKey(p.Day), p.Domain...), p)
	})
	if err != nil {
		return fmt.Errorf("pebblestore: put point: %w", err)
	}
	return nil
}

func (d *DB) Points(ctx context.Context, since time.Time) iter.Seq2[*manifest.Point, error] {
	return scanFrom(ctx, d.rows, []byte{keyPoint}, dayKey(since), rowParser[manifest.Point]("point", 1))
}

func (d *DB) DropPoints(ctx context.Context, before time.Time) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		return b.DeleteRange([]byte{keyPoint}, dayKey(before), nil)
	})
	if err != nil {
		return fmt.Errorf("pebblestore: drop points: %w", err)
	}
	return nil
}
