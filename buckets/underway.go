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

// holdMore makes room for what an upload under way has come to hold. All those of a
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
	return nil
}

// evictIdle makes the other uploads of row's principal hold at most that many
// bytes.
func (b *Bucket) evictIdle(ctx context.Context, tx manifest.Tx, row *uploadRow, most int64) error {
	h, err := tx.UploadsHeld(ctx, b.b.name, row.Who)
	if err != nil {
		return err
	}
	was, err := b.getUpload(ctx, tx, row.ID) // among those summed up
	if err != nil {
		return err
	}
	held := h.Bytes - was.Held
	for held > most {
		others, err := tx.UploadsOf(ctx, b.b.name, row.Who, maxSwept)
		if err != nil {
			return err
		}
		before := held
		for _, u := range others {
			if u.ID == row.ID {
				continue
			}
			if held <= most {
				return nil
			}
			held -= u.Held
			u.Evicted = true
			if err := b.expireNow(ctx, tx, &uploadRow{*u}); err != nil {
				return err
			}
		}
		if held == before {
			return nil // there are no others
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
	if row.Partial {
		if err := b.expireWaiting(ctx, tx, row.ID); err != nil {
			return err
		}
	}
	row.Expired, row.Parts, row.Joins, row.Sums = true, 0, nil, nil
	if at := b.s.now(); row.ExpiresAt.After(at) {
		row.ExpiresAt = at
	}
	return b.putUpload(ctx, tx, row)
}

// expireWaiting ends the uploads that wait for a part, which is gone.
func (b *Bucket) expireWaiting(ctx context.Context, tx manifest.Tx, part manifest.UploadID) error {
	for n := maxSwept; n == maxSwept; {
		waiting, err := tx.UploadsWaiting(ctx, b.b.name, part, "", maxSwept)
		if err != nil {
			return err
		}
		for _, u := range waiting {
			if err := b.expireNow(ctx, tx, &uploadRow{*u}); err != nil {
				return err
			}
		}
		n = len(waiting)
	}
	return nil
}
