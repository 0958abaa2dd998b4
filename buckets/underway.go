package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

const defaultMaxUploads = 1000

// uploadRow returns the row of an upload, or ErrNoUpload.
func (b *Bucket) uploadRow(ctx context.Context, in manifest.Uploads, id manifest.UploadID) (*manifest.Upload, error) {
	u, err := in.Upload(ctx, b.b.name, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNoUpload
	}
	return u, err
}

func putUpload(ctx context.Context, tx manifest.Tx, row *manifest.Upload) error {
	row.Held = heldBytes(row)
	return tx.PutUpload(ctx, row)
}

// heldBytes is how many bytes an upload keeps: that have come, or that it lists.
// What is joined of others is theirs.
func heldBytes(row *manifest.Upload) int64 {
	if len(row.Joins) > 0 {
		return 0
	}
	return row.Offset
}

// GoneError is why an upload that has expired is gone.
func GoneError(row *manifest.Upload) error {
	switch {
	case row.Evicted:
		return ErrEvicted
	case row.Invalid:
		return ErrUploadInvalid
	}
	return ErrUploadExpired
}

// eachPart calls fn with the chunks of an upload, a part at a time from one on.
func (b *Bucket) eachPart(ctx context.Context, row *manifest.Upload, from uint64, fn func([]cas.Ref) error) error {
	if from >= row.Parts {
		return nil
	}
	for refs, err := range b.s.meta.UploadParts(ctx, row.ID, from) {
		if err == nil {
			err = fn(refs)
		}
		if from++; err != nil || from == row.Parts {
			return err
		}
	}
	now, err := b.uploadRow(ctx, b.s.meta, row.ID)
	if err == nil && now.Expired {
		err = GoneError(now)
	}
	return cmp.Or(err, ErrNoUpload) // it has ended meanwhile
}

// makeRoom ends other uploads of row's principal, those idle longest first, until
// they and row hold no more bytes than the files of one owner may take. So uploads
// that are begun and never ended cannot fill the store. If it reports more, the
// caller must commit without row, and call again in another transaction.
func (b *Bucket) makeRoom(ctx context.Context, tx manifest.Tx, row *manifest.Upload) (more bool, err error) {
	most := b.b.Limits.MaxOwnerSize
	if !row.UnderWay() || most <= 0 || b.whoID() == "" {
		return false, nil
	}
	if heldBytes(row) > most {
		return false, fmt.Errorf("the files of one owner may take %d bytes in all: %w", most, ErrQuota)
	}
	h, err := tx.UploadsHeld(ctx, b.b.name, row.Who)
	if err != nil {
		return false, err
	}
	was, err := b.uploadRow(ctx, tx, row.ID) // among those summed up
	if err != nil {
		return false, err
	}
	excess := h.Bytes - was.Held + heldBytes(row) - most
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
		n, err := b.endUpload(ctx, tx, u, maxEnded-ended)
		if ended += n; err != nil || ended == maxEnded {
			return true, err
		}
		if excess -= u.Held; excess <= 0 {
			return false, nil
		}
	}
	return ended > 0, nil // else there are no others
}

// maxEnded is how many uploads one transaction ends at most, and how many rows
// of uploads are listed at a time: each may name maxConcat others.
const maxEnded = 16

// endUpload ends an upload and those that wait for it, at most limit in all, and
// returns how many. The upload itself comes last: where it returns limit, it may
// have to be called again. The row stays, to tell that there was an upload. Of
// the parts, what one transaction cannot drop is left to the sweep.
func (b *Bucket) endUpload(ctx context.Context, tx manifest.Tx, row *manifest.Upload, limit int) (ended int, err error) {
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
	return ended + 1, putUpload(ctx, tx, row)
}

// endWaiting ends uploads that wait for a part, at most limit, and returns how
// many.
func (b *Bucket) endWaiting(ctx context.Context, tx manifest.Tx, part manifest.UploadID, limit int) (int, error) {
	waiting, err := tx.UploadsWaiting(ctx, b.b.name, part, "", limit)
	if err != nil {
		return 0, err
	}
	for _, u := range waiting {
		if _, err := b.endUpload(ctx, tx, u, 1); err != nil {
			return 0, err
		}
	}
	return len(waiting), nil
}

// expireUpload ends an upload whose time is over, and drops its parts.
func (b *Bucket) expireUpload(ctx context.Context, id manifest.UploadID) error {
	return b.endUploadIf(ctx, id, func(row *manifest.Upload) bool {
		return b.s.removalTime().After(row.ExpiresAt) // else it went on meanwhile
	})
}

// invalidateUpload ends an upload under way that cannot become right any more.
func (b *Bucket) invalidateUpload(ctx context.Context, id manifest.UploadID) error {
	return b.endUploadIf(ctx, id, func(row *manifest.Upload) bool {
		row.Invalid = row.UnderWay()
		return row.Invalid
	})
}

// endUploadIf ends an upload if over says so of its row, and drops its parts.
func (b *Bucket) endUploadIf(ctx context.Context, id manifest.UploadID, over func(*manifest.Upload) bool) error {
	return b.s.updateUntilDone(ctx, func(tx manifest.Tx) (more bool, err error) {
		row, err := b.uploadRow(ctx, tx, id)
		if err != nil {
			return false, ignoreGone(err)
		}
		if row.Expired {
			return tx.DropParts(ctx, id, maxSwept)
		}
		if !over(row) {
			return false, nil
		}
		n, err := b.endUpload(ctx, tx, row, maxEnded)
		return n == maxEnded || row.Parts > maxSwept, err
	})
}

// dropUpload ends an upload and forgets it.
func (b *Bucket) dropUpload(ctx context.Context, id manifest.UploadID) error {
	return b.s.updateUntilDone(ctx, func(tx manifest.Tx) (more bool, err error) {
		row, err := b.uploadRow(ctx, tx, id)
		if err != nil {
			return false, ignoreGone(err)
		}
		if row.Partial && !row.Expired {
			n, err := b.endWaiting(ctx, tx, id, maxEnded)
			if err != nil || n == maxEnded {
				return true, err
			}
		}
		if more, err = tx.DropParts(ctx, id, maxSwept); err != nil || !more {
			return false, cmp.Or(err, tx.DropUpload(ctx, b.b.name, id))
		}
		row.Expired = true // it lacks parts from now on
		return true, putUpload(ctx, tx, row)
	})
}

// sweepUploads gives up the bucket's uploads whose time is over, and forgets
// them when as much time has passed again.
func (b *Bucket) sweepUploads(ctx context.Context, done *Swept) error {
	before := b.s.removalTime().Add(-b.b.UploadExpiry)
	err := b.s.sweepAll(ctx, func(tx manifest.Tx, limit int) (int, error) {
		return tx.SweepUploads(ctx, b.b.name, before, limit)
	})
	if err != nil {
		return err
	}
	for n := maxEnded; n == maxEnded; {
		over, err := b.s.meta.UploadsOver(ctx, b.b.name, b.s.removalTime(), maxEnded)
		if err != nil {
			return err
		}
		for _, u := range over {
			done.Uploads++
			if err := b.expireUpload(ctx, u.ID); err != nil {
				return err
			}
		}
		n = len(over)
	}
	return nil
}
