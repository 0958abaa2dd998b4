package buckets

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

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

// held is how many bytes the upload keeps: that came, or that it lists. What is
// joined of others is theirs.
func (row *uploadRow) held() int64 {
	if len(row.Joins) > 0 {
		return 0
	}
	return row.Offset
}

// holdMore notes what an upload under way has come to hold. All those of a
// principal hold no more than the files of an owner may take, beside them: who
// begins again and again, and ends nothing, fills no more of the store than
// that. For one that goes on, those that were idle longest are given up.
func (b *Bucket) holdMore(ctx context.Context, tx manifest.Tx, row *uploadRow) error {
	if row.Manifest != "" || row.Expired {
		return nil // and holds nothing
	}
	if most := b.b.Limits.MaxOwnerSize; most > 0 && b.whoID() != "" {
		if row.held() > most {
			return fmt.Errorf("the files of one owner may take %d bytes in all: %w", most, ErrQuota)
		}
		if err := b.evictIdle(ctx, tx, row, most-row.held()); err != nil {
			return err
		}
	}
	return tx.PutValue(ctx, kindUnderWay, b.underWayKey(row.Who, row.ID), binary.AppendUvarint(nil, uint64(row.held())))
}

// evictIdle makes the other uploads of row's principal hold at most that many
// bytes.
func (b *Bucket) evictIdle(ctx context.Context, tx manifest.Tx, row *uploadRow, most int64) error {
	var held int64
	var ids []string
	prefix := b.underWayKey(row.Who, "")
	for v, err := range tx.Values(ctx, kindUnderWay, prefix) {
		if err != nil {
			return err
		}
		id := strings.TrimPrefix(v.Key, prefix)
		if n, _ := binary.Uvarint(v.Value); n > 0 && id != row.ID {
			held, ids = held+int64(n), append(ids, id)
		}
	}
	if held <= most {
		return nil
	}
	others, err := b.underWay(ctx, tx, ids)
	if err != nil {
		return err
	}
	slices.SortFunc(others, func(x, y *uploadRow) int { return x.ExpiresAt.Compare(y.ExpiresAt) })
	for _, other := range others {
		if held <= most {
			break
		}
		held -= other.held()
		other.Evicted = true
		if err := b.expireNow(ctx, tx, other); err != nil {
			return err
		}
	}
	return nil
}

// gone is why there is no such upload any more.
func (row *uploadRow) gone() error {
	if row.Evicted {
		return ErrEvicted
	}
	return ErrUploadExpired
}

// expireNow keeps no more of an upload than that there was one.
func (b *Bucket) expireNow(ctx context.Context, tx manifest.Tx, row *uploadRow) error {
	if err := b.endUpload(ctx, tx, row); err != nil {
		return err
	}
	row.Expired, row.Parts, row.Joins, row.Sums = true, 0, nil, nil
	if at := b.s.now(); row.ExpiresAt.After(at) {
		row.ExpiresAt = at
	}
	return b.putUpload(ctx, tx, row)
}

// expireWaiting ends the uploads that wait for a part, which is gone.
func (b *Bucket) expireWaiting(ctx context.Context, tx manifest.Tx, part string) error {
	var waiting []string
	prefix := b.joinKey(part, "")
	for v, err := range tx.Values(ctx, kindJoin, prefix) {
		if err != nil {
			return err
		}
		waiting = append(waiting, strings.TrimPrefix(v.Key, prefix))
	}
	rows, err := b.underWay(ctx, tx, waiting)
	if err != nil {
		return err
	}
	for _, row := range rows {
		if err := b.expireNow(ctx, tx, row); err != nil {
			return err
		}
	}
	return nil
}

// underWay returns the rows of those uploads that have not ended.
func (b *Bucket) underWay(ctx context.Context, tx manifest.Tx, ids []string) (rows []*uploadRow, err error) {
	for _, id := range ids {
		v, err := tx.Value(ctx, kindUpload, b.uploadKey(id))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		row, err := parseUpload(id, v)
		if err != nil {
			return nil, err
		}
		if row.Manifest == "" && !row.Expired {
			rows = append(rows, row)
		}
	}
	return rows, nil
}

// endUpload takes out of the transaction's store what only an upload under way
// needs: its parts, and its place among those of its principal.
func (b *Bucket) endUpload(ctx context.Context, tx manifest.Tx, row *uploadRow) error {
	if row.Partial {
		if err := b.expireWaiting(ctx, tx, row.ID); err != nil {
			return err
		}
	}
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
