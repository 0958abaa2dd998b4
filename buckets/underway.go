package buckets

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/manifest"
)

// ErrTooManyUploads reports a principal with as many uploads under way as the
// bucket lets one have.
var ErrTooManyUploads = errors.New("too many uploads under way: end or cancel some")

const defaultMaxUploads = 1000

// roomForUpload refuses an upload to those who have too many. Uploads that
// begin at the same time may pass together.
func (b *Bucket) roomForUpload(ctx context.Context) error {
	if b.who == nil {
		return nil
	}
	h, err := b.s.meta.UploadsHeld(ctx, b.b.name, b.whoKey())
	if err == nil && h.Uploads >= b.b.MaxUploads {
		err = fmt.Errorf("%d in bucket %q: %w", h.Uploads, b.b.name, ErrTooManyUploads)
	}
	return err
}

// held is how many bytes the upload keeps: that came, or that it lists. What is
// joined of others is theirs.
func (row *uploadRow) held() int64 {
	if len(row.Joins) > 0 {
		return 0
	}
	return row.Offset
}

// makeRoom ends other uploads of row's principal where row and they would hold
// more bytes than the files of one owner may take, those idle longest first.
// Who begins again and again, and ends nothing, fills no more of the store than
// that. It reports whether there may be more to end, in another transaction:
// row must not be written before.
func (b *Bucket) makeRoom(ctx context.Context, tx manifest.Tx, row *uploadRow) (more bool, err error) {
	most := b.b.Limits.MaxOwnerSize
	if !row.UnderWay() || most <= 0 || b.whoID() == "" {
		return false, nil
	}
	if row.held() > most {
		return false, fmt.Errorf("the files of one owner may take %d bytes in all: %w", most, ErrQuota)
	}
	h, err := tx.UploadsHeld(ctx, b.b.name, row.Who)
	if err != nil {
		return false, err
	}
	was, err := b.getUpload(ctx, tx, row.ID) // among those summed up
	if err != nil {
		return false, err
	}
	excess := h.Bytes - was.Held + row.held() - most
	if excess <= 0 {
		return false, nil
	}
	others, err := tx.UploadsOf(ctx, b.b.name, row.Who, maxEnded)
	if err != nil {
		return false, err
	}
	ended := 0
	for _, u := range others {
		if u.ID == row.ID {
			continue
		}
		u.Evicted = true
		n, err := b.endUpload(ctx, tx, &uploadRow{*u}, maxEnded-ended)
		if ended += n; err != nil || ended == maxEnded {
			return true, err
		}
		if excess -= u.Held; excess <= 0 {
			return false, nil
		}
	}
	return ended > 0, nil // else there are no others
}

// gone is why there is no such upload any more.
func (row *uploadRow) gone() error {
	if row.Evicted {
		return ErrEvicted
	}
	return ErrUploadExpired
}

// maxEnded is how many uploads one transaction ends at most, and how many rows
// of uploads are listed at a time: each may name maxConcat others.
const maxEnded = 16

// endUpload ends an upload and those that wait for it, at most limit in all, and
// returns how many. The upload itself comes last: where it returns limit, it may
// have to be called again. The row stays, to tell that there was an upload. Of
// the parts, what one transaction cannot drop is left to the sweep.
func (b *Bucket) endUpload(ctx context.Context, tx manifest.Tx, row *uploadRow, limit int) (ended int, err error) {
	if row.Partial {
		if ended, err = b.endWaiting(ctx, tx, row.ID, limit); err != nil || ended == limit {
			return ended, err
		}
	}
	row.Expired, row.Joins, row.Sums = true, nil, nil
	if at := b.s.now(); row.ExpiresAt.After(at) {
		row.ExpiresAt = at
	}
	if _, err := tx.DropParts(ctx, row.ID, maxSwept); err != nil {
		return ended, err
	}
	return ended + 1, b.putUpload(ctx, tx, row)
}

// endWaiting ends uploads that wait for a part, at most limit, and returns how
// many.
func (b *Bucket) endWaiting(ctx context.Context, tx manifest.Tx, part manifest.UploadID, limit int) (int, error) {
	waiting, err := tx.UploadsWaiting(ctx, b.b.name, part, "", limit)
	if err != nil {
		return 0, err
	}
	for _, u := range waiting {
		if _, err := b.endUpload(ctx, tx, &uploadRow{*u}, 1); err != nil {
			return 0, err
		}
	}
	return len(waiting), nil
}
