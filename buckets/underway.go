package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"

	"github.com/cairn-store/cairn/buckets/names"
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

// listEntry is what a chunk in a list takes, and one that was sent for it.
const listEntry = 36

// heldBytes is how many bytes an upload keeps: those that have come, and what is
// known of it. Of an upload by chunk list those have come that its principal had
// not sent before. What is joined of others is theirs.
func heldBytes(row *manifest.Upload) int64 {
	n := int64(len(row.Header) + len(row.Metadata))
	for _, t := range row.Tags {
		n += int64(len(t))
	}
	switch {
	case row.Listed:
		n += row.Received + listEntry*(row.Chunks+row.SentRefs)
	case len(row.Joins) == 0:
		n += row.Offset
	}
	return n
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
	return cmp.Or(b.checkUnderWay(ctx, row.ID), ErrNoUpload) // it has ended meanwhile
}

// checkUnderWay fails if an upload has ended, with what it was given up for.
func (b *Bucket) checkUnderWay(ctx context.Context, id manifest.UploadID) error {
	now, err := b.uploadRow(ctx, b.s.meta, id)
	if err == nil && now.Expired {
		err = GoneError(now)
	}
	return err
}

// An excess is by how many bytes files and uploads under way are more than a bucket
// may hold, and than those of one owner may; and by how many they are more together
// with leftovers.
type excess struct{ total, owner, totalLeft, ownerLeft int64 }

func (e excess) most() int64 { return max(e.total, e.owner) }

// isLeft reports whether leftovers must be collected first.
func (e excess) isLeft() bool { return max(e.totalLeft, e.ownerLeft) > 0 }

// findExcess sums up what the bucket, and its principal as an owner, would hold
// with n bytes more. Without a limit there is no excess.
func (b *Bucket) findExcess(ctx context.Context, tx manifest.Tx, n int64) (e excess, err error) {
	l := &b.b.Limits
	e = excess{math.MinInt64, math.MinInt64, math.MinInt64, math.MinInt64}
	if l.MaxTotalSize <= 0 && l.MaxOwnerSize <= 0 {
		return e, nil
	}
	all, own, err := tx.LeftoverBytes(ctx, b.b.name, b.whoKey())
	if err != nil {
		return e, err
	}
	if l.MaxTotalSize > 0 {
		u, err := tx.Usage(ctx, b.b.name)
		if err != nil {
			return e, err
		}
		held, err := tx.HeldBytes(ctx, b.b.name)
		if err != nil {
			return e, err
		}
		e.total = u.Charged() + held + n - l.MaxTotalSize
		e.totalLeft = u.Charged() + held + n + all - mostWithLeftovers(l.MaxTotalSize)
	}
	if l.MaxOwnerSize > 0 && b.whoID() != "" {
		u, err := tx.OwnerUsage(ctx, b.b.name, b.whoID())
		if err != nil {
			return e, err
		}
		h, err := tx.UploadsHeld(ctx, b.b.name, b.whoKey())
		if err != nil {
			return e, err
		}
		e.owner = u.Charged() + h.Bytes + n - l.MaxOwnerSize
		e.ownerLeft = u.Charged() + h.Bytes + n + own - mostWithLeftovers(l.MaxOwnerSize)
	}
	return e, nil
}

// quotaError says which limit is exceeded.
func (b *Bucket) quotaError(e excess) error {
	if e.owner > 0 {
		return fmt.Errorf("the files and unfinished uploads of one owner may take %d bytes in all: %w", b.b.Limits.MaxOwnerSize, ErrQuota)
	}
	return fmt.Errorf("bucket %q takes %d bytes in all: %w", b.b.name, b.b.Limits.MaxTotalSize, ErrQuota)
}

// makeRoom ends other uploads of row's principal, those idle longest first, until
// what files and uploads hold is within the limits. So uploads that are begun and
// never ended cannot fill the store. If it reports more, the caller must commit
// without row, and call again in another transaction.
func (b *Bucket) makeRoom(ctx context.Context, tx manifest.Tx, row *manifest.Upload) (more bool, err error) {
	if l := &b.b.Limits; !row.UnderWay() || l.MaxOwnerSize <= 0 && l.MaxTotalSize <= 0 {
		return false, nil
	}
	was, err := b.uploadRow(ctx, tx, row.ID) // among those summed up
	if errors.Is(err, ErrNoUpload) {
		was, err = &manifest.Upload{}, nil // it begins
	}
	if err != nil {
		return false, err
	}
	instead, err := b.replacedBytes(ctx, tx, row)
	if err != nil {
		return false, err
	}
	grows := heldBytes(row) - was.Held
	if grows <= 0 {
		return false, nil
	}
	return b.endOthers(ctx, tx, row.ID, was.Held, grows-instead)
}

// endOthers ends uploads of the principal but one, which holds own bytes, until n
// bytes more are within the limits. It refuses n bytes, and ends none, if that
// would not do.
func (b *Bucket) endOthers(ctx context.Context, tx manifest.Tx, but manifest.UploadID, own, n int64) (more bool, err error) {
	e, err := b.findExcess(ctx, tx, n)
	if err != nil || e.most() <= 0 && !e.isLeft() {
		return false, err
	}
	if b.whoID() == "" && e.most() > 0 {
		return false, b.quotaError(e) // others may use the same name
	}
	h, err := tx.UploadsHeld(ctx, b.b.name, b.whoKey())
	if err != nil {
		return false, err
	}
	if e.most() > max(h.Bytes-own, 0) {
		return false, b.quotaError(e)
	}
	if e.isLeft() { // what would be ended would be left too
		b.s.wantCollection()
		return false, ErrUncollected
	}
	others, err := tx.UploadsOf(ctx, b.b.name, b.whoKey(), maxEnded)
	if err != nil {
		return false, err
	}
	left, ended := e.most(), 0
	for _, u := range others {
		if u.ID == but {
			continue
		}
		held := u.Held
		u.Evicted = true
		n, err := b.endUpload(ctx, tx, u, maxEnded-ended)
		if ended += n; err != nil || ended == maxEnded {
			return true, err
		}
		if left -= held; left <= 0 {
			return false, nil
		}
	}
	return ended > 0, nil // else there are no others
}

// replacedBytes is how many bytes of a file go when an upload becomes its next
// version, 0 if it is to be a new file or all versions stay.
func (b *Bucket) replacedBytes(ctx context.Context, rows manifest.Found, row *manifest.Upload) (int64, error) {
	if b.b.Versions.keepsEverything() || row.Partial || row.OnConflict == string(ConflictNew) && row.Target == "" {
		return 0, nil
	}
	f, err := rows.File(ctx, row.Target)
	if row.Target == "" {
		f, err = rows.FileByPath(ctx, b.b.name, names.Join(row.Folder, row.Name))
	}
	if err != nil {
		return 0, ignoreGone(err)
	}
	return f.TotalSize, nil
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
	if err := leaveUpload(ctx, tx, row); err != nil {
		return ended, err
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
		return n == maxEnded || row.Parts+row.Sent > maxSwept, err
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
		if err := leaveUpload(ctx, tx, row); err != nil {
			return false, err
		}
		if more, err = tx.DropParts(ctx, id, maxSwept); err != nil || !more {
			return false, cmp.Or(err, tx.DropUpload(ctx, b.b.name, id))
		}
		row.Expired = true // it lacks parts from now on
		return true, putUpload(ctx, tx, row)
	})
}

// sweepUploads gives up the bucket's uploads whose time is over, and forgets
// them when as much time has passed again. It returns how many it has given up.
func (b *Bucket) sweepUploads(ctx context.Context) (ended int64, err error) {
	before := b.s.removalTime().Add(-b.b.UploadExpiry)
	err = b.s.sweepAll(ctx, func(tx manifest.Tx, limit int) (int, error) {
		return tx.SweepUploads(ctx, b.b.name, before, limit)
	})
	if err != nil {
		return 0, err
	}
	for n := maxEnded; n == maxEnded; {
		over, err := b.s.meta.UploadsOver(ctx, b.b.name, b.s.removalTime(), maxEnded)
		if err != nil {
			return ended, err
		}
		for _, u := range over {
			if err := b.expireUpload(ctx, u.ID); err != nil {
				return ended, fmt.Errorf("upload %s: %w", u.ID, err)
			}
			ended++
		}
		n = len(over)
	}
	return ended, nil
}
