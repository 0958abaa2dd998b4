package pebblestore

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// receiptTimes returns the times when receipts expire, in milliseconds, 0 for no
// receipt.
func (s rows) receiptTimes(prefix []byte, ds []cas.Digest) ([]uint64, error) {
	times := make([]uint64, len(ds))
	err := s.findValues(prefix, digestKeys(ds), func(i int, v []byte) error {
		if len(v) != 8 {
			return fmt.Errorf("damaged receipt of %s: %x", ds[i], v)
		}
		times[i] = binary.BigEndian.Uint64(v)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pebblestore: receipts: %w", err)
	}
	return times, nil
}

func scopeKey(s manifest.Scope) []byte { return append([]byte{keyReceipt}, s[:]...) }

// HaveReceipts implements manifest.Receipts.
func (s rows) HaveReceipts(ctx context.Context, scope manifest.Scope, ds []cas.Digest, at time.Time) ([]bool, error) {
	times, err := s.receiptTimes(scopeKey(scope), ds)
	if err != nil {
		return nil, err
	}
	has := make([]bool, len(ds))
	for i, n := range times {
		has[i] = n > millis(at)
	}
	return has, ctx.Err()
}

// PutReceipts implements manifest.ReceiptChanges.
func (t *tx) PutReceipts(ctx context.Context, scope manifest.Scope, ds []cas.Digest, expires time.Time) error {
	prefix := scopeKey(scope)
	times, err := t.receiptTimes(prefix, ds)
	if err != nil {
		return err
	}
	v := binary.BigEndian.AppendUint64(nil, millis(expires))
	for i, d := range ds {
		key := append(prefix[:len(prefix):len(prefix)], d[:]...)
		if old := times[i]; old != 0 {
			t.b.Delete(expiryKey(keyReceipt, nil, time.UnixMilli(int64(old)), key[1:]), nil)
		}
		t.b.Set(expiryKey(keyReceipt, nil, expires, key[1:]), nil, nil)
		if err := t.b.Set(key, v, nil); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// SweepReceipts implements manifest.ReceiptChanges.
func (t *tx) SweepReceipts(ctx context.Context, before time.Time, limit int) (int, error) {
	return t.sweepRows(keyReceipt, before, limit)
}
