package buckets

import (
	"context"
	"errors"
	"math"

	"github.com/cairn-store/cairn/manifest"
)

// ErrUncollected reports that what ended uploads have left takes the room of new
// ones. It is free again after the next collection, which has been asked for.
var ErrUncollected = errors.New("the space of uploads that ended is still to be collected; try again soon")

// What an upload that ends without becoming a file has stored stays in the packs
// until a collection that began after its end has completed, and passed over all
// uploads under way by then, which may count on it. That long it counts as
// a leftover of its principal: beside all that a limit bounds, and up to the same
// limit once more. So who ends uploads to begin others makes the store no larger
// than twice the limit, and one that a closed tab has left keeps nobody out.

// mostWithLeftovers is what a limit bounds together with leftovers.
func mostWithLeftovers(limit int64) int64 {
	if limit > math.MaxInt64/2 {
		return math.MaxInt64
	}
	return 2 * limit
}

// narrowByLeftovers makes room for no more than may come beside leftovers. It asks
// for a collection if that is less than what fits.
func (b *Bucket) narrowByLeftovers(ctx context.Context, rows manifest.Found, room *Room, owner string) error {
	l := &b.b.Limits
	if l.MaxTotalSize <= 0 && l.MaxOwnerSize <= 0 {
		return nil
	}
	all, own, err := rows.LeftoverBytes(ctx, b.b.name, b.whoKey())
	if err != nil || all == 0 {
		return err
	}
	if l.MaxTotalSize > 0 {
		u, err := rows.Usage(ctx, b.b.name)
		if err != nil {
			return err
		}
		room.narrowNow(mostWithLeftovers(l.MaxTotalSize) - u.Charged() - all)
	}
	if l.MaxOwnerSize > 0 && owner != "" {
		u, err := rows.OwnerUsage(ctx, b.b.name, owner)
		if err != nil {
			return err
		}
		room.narrowNow(mostWithLeftovers(l.MaxOwnerSize) - u.Charged() - own)
	}
	if room.now < room.bytes {
		b.s.wantCollection()
	}
	return nil
}

// checkLeftovers fails if nothing more may come for row beside leftovers.
func (b *Bucket) checkLeftovers(ctx context.Context, row *manifest.Upload) error {
	none := NewRoom(math.MaxInt64, nil)
	if err := b.narrowByLeftovers(ctx, b.s.meta, &none, b.whoID()); err != nil || none.now > 0 {
		return err
	}
	room, err := b.findRoom(ctx, row)
	if err != nil {
		return err
	}
	return room.Check(max(row.Length, row.Offset, 1))
}

// findRoom returns how many bytes the content of row may have in all.
func (b *Bucket) findRoom(ctx context.Context, row *manifest.Upload) (Room, error) {
	instead, err := b.replacedBytes(ctx, b.s.meta, row)
	if err != nil {
		return Room{}, err
	}
	room, err := b.b.Limits.findRoom(ctx, b.s.meta, b.b.name, b.whoID())
	if err != nil {
		return Room{}, err
	}
	if err := b.narrowByLeftovers(ctx, b.s.meta, &room, b.whoID()); err != nil {
		return Room{}, err
	}
	room.widen(instead)
	return room, nil
}

// leaveUpload notes what an upload that ends leaves. One that has become a file
// leaves nothing.
func leaveUpload(ctx context.Context, tx manifest.Tx, row *manifest.Upload) error {
	if !row.UnderWay() {
		return nil
	}
	return addLeftover(ctx, tx, &manifest.Leftover{Domain: row.Domain, Bucket: row.Bucket, Who: row.Who, Bytes: row.Held})
}

// addLeftover adds what has ended in the present epoch.
func addLeftover(ctx context.Context, tx manifest.Tx, l *manifest.Leftover) error {
	if l.Bytes <= 0 {
		return nil
	}
	at, err := tx.Barrier(ctx, l.Domain)
	if err != nil {
		return err
	}
	l.Epoch = at.Epoch
	return tx.AddLeftover(ctx, l)
}

// endWriter ends the writer of what becomes a file at once. If it has failed,
// what has come counts as a leftover, where a limit bounds that.
func (b *Bucket) endWriter(ctx context.Context, w *Writer, failed error) {
	if failed != nil {
		b.leaveBehind(ctx, w, w.came)
	}
	w.End(ctx)
}

// leaveBehind notes that w has stored n bytes for nothing. That this fails is no
// reason to fail what is done.
func (b *Bucket) leaveBehind(ctx context.Context, w *Writer, n int64) {
	if l := &b.b.Limits; n <= 0 || l.MaxTotalSize <= 0 && l.MaxOwnerSize <= 0 {
		return
	}
	err := b.s.updateLocal(context.WithoutCancel(ctx), func(tx manifest.Tx) error {
		return addLeftover(ctx, tx, &manifest.Leftover{Domain: w.domain, Bucket: b.b.name, Who: b.whoKey(), Bytes: n})
	})
	if err != nil {
		b.s.log.Warn("what an upload has left is not counted", "bucket", b.b.name, "bytes", n, "error", err)
	}
}
