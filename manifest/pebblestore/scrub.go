package pebblestore

import (
	"context"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

func scrubKey(domain string, id cas.PackID) []byte { return domainKey(keyScrub, domain, id[:]) }

// PutScrubbed implements manifest.Scrubs, and so do the methods below.
func (d *DB) PutScrubbed(ctx context.Context, domain string, ss []manifest.Scrubbed) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		t := &tx{rows: rows{d, b}, b: b}
		for i := range ss {
			if err := t.putRow(scrubKey(domain, ss[i].Pack), &ss[i]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: note scrubbed packs: %w", err)
	}
	return nil
}

func (d *DB) AllScrubbed(ctx context.Context, domain string) iter.Seq2[manifest.Scrubbed, error] {
	return scanPrefix(ctx, d.rows, domainKey(keyScrub, domain, nil), func(k, v []byte) (s manifest.Scrubbed, err error) {
		if err := s.UnmarshalBinary(v); err != nil {
			return s, fmt.Errorf("scrubbed pack %x: %w", k, err)
		}
		return s, nil
	})
}

func (d *DB) DropScrubbed(ctx context.Context, domain string, ids []cas.PackID) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		for _, id := range ids {
			if err := b.Delete(scrubKey(domain, id), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: drop scrubbed packs: %w", err)
	}
	return nil
}
