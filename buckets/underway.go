package buckets

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/manifest"
)

// ErrTooManyUploads reports a principal with as many uploads under way as the
// bucket lets one have.
var ErrTooManyUploads = errors.New("too many uploads under way: end or cancel some")

const (
	kindUnderWay = "uploading" // bytes held by uploads that have neither ended nor expired, by whose they are

	defaultMaxUploads = 1000
)

// underWayKey is the key of an upload among those of its principal.
func (b *Bucket) underWayKey(who, id string) string {
	sum := sha256.Sum256([]byte(who))
	return b.b.name + "/" + hex.EncodeToString(sum[:16]) + "/" + id
}

// roomForUpload refuses an upload to those who have too many. Uploads that
// begin at the same time may pass together.
func (b *Bucket) roomForUpload(ctx context.Context) error {
	if b.who == nil {
		return nil
	}
	n := 0
	for _, err := range b.s.meta.Values(ctx, kindUnderWay, b.underWayKey(b.whoKey(), "")) {
		if err != nil {
			return err
		}
		if n++; n >= b.b.MaxUploads {
			return fmt.Errorf("%d in bucket %q: %w", n, b.b.name, ErrTooManyUploads)
		}
	}
	return nil
}

// beginUpload keeps the row of a new upload, and what leads to it.
func (b *Bucket) beginUpload(ctx context.Context, tx manifest.Tx, row *uploadRow) error {
	for _, part := range row.Joins {
		if err := tx.PutValue(ctx, kindJoin, b.joinKey(part, row.ID), nil); err != nil {
			return err
		}
	}
	if err := tx.PutValue(ctx, kindUnderWay, b.underWayKey(row.Who, row.ID), nil); err != nil {
		return err
	}
	return b.putUpload(ctx, tx, row)
}

// held is how many bytes the upload has brought and keeps. What is joined of
// others is theirs.
func (row *uploadRow) held() int64 {
	switch {
	case row.Listed:
		return row.Received
	case len(row.Joins) > 0:
		return 0
	}
	return row.Offset
}

// holdMore notes what an upload under way has come to hold. All those of an
// owner may hold as much as the files of one may take, beside them: who begins
// again and again, and ends nothing, fills no more of the store than that.
func (b *Bucket) holdMore(ctx context.Context, tx manifest.Tx, row *uploadRow) error {
	if row.Manifest != "" || row.Expired {
		return nil // and holds nothing
	}
	key := b.underWayKey(row.Who, row.ID)
	if most := b.b.Limits.MaxOwnerSize; most > 0 && b.whoID() != "" {
		left := most - row.held()
		for v, err := range b.s.meta.Values(ctx, kindUnderWay, b.underWayKey(row.Who, "")) {
			if err != nil {
				return err
			}
			if n, _ := binary.Uvarint(v.Value); v.Key != key {
				left -= int64(n)
			}
		}
		if left < 0 {
			return fmt.Errorf("the uploads under way of one owner may hold %d bytes in all, end or cancel some: %w", most, ErrQuota)
		}
	}
	return tx.PutValue(ctx, kindUnderWay, key, binary.AppendUvarint(nil, uint64(row.held())))
}

// endUpload takes out of the transaction's store what only an upload under way
// needs: its parts, and its place among those of its principal.
func (b *Bucket) endUpload(ctx context.Context, tx manifest.Tx, row *uploadRow) error {
	for n := range row.Parts {
		if err := tx.DropValue(ctx, kindPart, b.partKey(row.ID, n)); err != nil {
			return err
		}
	}
	for _, part := range row.Joins {
		if err := tx.DropValue(ctx, kindJoin, b.joinKey(part, row.ID)); err != nil {
			return err
		}
	}
	if err := tx.DropValue(ctx, kindUnderWay, b.underWayKey(row.Who, row.ID)); err != nil {
		return err
	}
	return tx.DropValue(ctx, kindRest, b.uploadKey(row.ID))
}
