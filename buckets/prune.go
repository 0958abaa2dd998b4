package buckets

import (
	"context"
	"errors"
	"io/fs"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

func (v *Versions) keepsEverything() bool { return !v.Off && v.Keep == 0 && v.KeepFor == 0 }

const (
	// prunePage is how many versions are looked at together.
	prunePage = 100
	// pruneAhead is how many versions that came later tell when one was replaced.
	pruneAhead = 32
)

// A prunePlace is how far the pruning of a file has come.
type prunePlace struct {
	above uint64 // the highest number of a version that was looked at
	held  int    // how many up to there were left, since links hold them
}

// dueVersions returns the oldest versions of f that the policy does not keep, at
// most n of them, from those behind a place: it is for the caller to know that
// those before it are seen to.
func (v *Versions) dueVersions(ctx context.Context, rows manifest.Files, f *manifest.File, from prunePlace, n int, now time.Time) ([]*manifest.Manifest, error) {
	excess := 0 // versions that go because there are too many
	switch left := int(f.Versions) - from.held; {
	case v.Off:
		excess = left - 1
	case v.Keep > 0:
		excess = max(left-v.Keep, 0)
	}
	if excess == 0 && v.KeepFor == 0 || f.Versions < 2 || len(f.Held) > 0 { // the newest need not be the current one
		return nil, nil
	}
	ahead := pruneAhead
	if v.KeepFor == 0 {
		n, ahead = min(n, excess), 1 // the current version is not looked at
	}
	ms, err := rows.OldVersions(ctx, f.ID, from.above, n+ahead)
	if err != nil {
		return nil, err
	}
	for i := range min(n, max(len(ms)-1, 0)) {
		if i >= excess && now.Sub(replacedAt(ms[i+1:])) <= v.KeepFor {
			return ms[:i], nil
		}
	}
	return ms[:min(n, max(len(ms)-1, 0))], nil
}

// isDueVersion reports whether the policy does not keep m, a version of f. It reads as
// many versions as the policy keeps.
func (v *Versions) isDueVersion(ctx context.Context, rows manifest.Files, f *manifest.File, m *manifest.Manifest, now time.Time) (bool, error) {
	if v.keepsEverything() || m.ID == f.Current || len(f.Held) > 0 {
		return false, nil
	}
	if v.Off {
		return true, nil
	}
	for newer, above := 0, m.Version; ; {
		later, err := rows.OldVersions(ctx, f.ID, above, prunePage)
		if err != nil || len(later) == 0 {
			return false, err
		}
		if newer == 0 && v.KeepFor > 0 && now.Sub(replacedAt(later)) > v.KeepFor {
			return true, nil
		}
		if newer += len(later); v.Keep > 0 && newer >= v.Keep {
			return true, nil
		}
		if v.Keep == 0 || len(later) < prunePage {
			return false, nil
		}
		above = later[len(later)-1].Version
	}
}

// replacedAt returns when the version before later ones was replaced: no later
// than any of them was made. The next alone would not do: made while the clock was
// years ahead, it would keep all before it for as long.
func replacedAt(later []*manifest.Manifest) time.Time {
	at := later[0].CreatedAt
	for _, m := range later[:min(len(later), pruneAhead)] {
		if m.CreatedAt.Before(at) {
			at = m.CreatedAt
		}
	}
	return at
}

// prune removes for good the versions of f that the policy does not keep and no link
// holds, oldest first, beginning behind a place: calls before have seen to those
// before it. It changes f, which the caller writes, and returns how far it has come.
// It looks at no more than room; more reports that there may be others. It removes
// nothing while it is not known what links hold.
func (v *Versions) prune(ctx context.Context, tx manifest.Tx, f *manifest.File, from prunePlace, room int, now time.Time) (at prunePlace, more bool, err error) {
	at = from
	for n := room; n > 0; {
		due, err := v.dueVersions(ctx, tx, f, at, min(n, prunePage), now)
		if err != nil || len(due) == 0 {
			return at, false, err
		}
		if n == room {
			if waits, err := isUnreconciled(ctx, tx, f.Bucket); err != nil || waits {
				return at, false, err
			}
		}
		free, err := notHeld(ctx, tx, due)
		if err != nil {
			return at, false, err
		}
		if err := removeVersions(ctx, tx, f, free, now); err != nil {
			return at, false, err
		}
		at.above, at.held, n = due[len(due)-1].Version, at.held+len(due)-len(free), n-len(due)
	}
	return at, true, nil
}

// removeVersions removes versions of f for good. It changes f, which the caller
// writes.
func removeVersions(ctx context.Context, tx manifest.Tx, f *manifest.File, ms []*manifest.Manifest, at time.Time) error {
	ids := make([]manifest.VersionID, len(ms))
	for i, m := range ms {
		ids[i] = m.ID
		dropVersion(f, m)
	}
	return tx.DropManifests(ctx, ids, at)
}

// hasDueVersions reports whether versions of f may have to go, without a
// transaction.
func (b *Bucket) hasDueVersions(ctx context.Context, f *manifest.File) (bool, error) {
	due, err := b.newest().Versions.dueVersions(ctx, b.s.meta, f, prunePlace{}, 1, b.s.removalTime())
	return len(due) > 0, err
}

// A pruned counts versions that were pruned, and those that links hold.
type pruned struct{ dropped, held int64 }

// pruneSome prunes a file as the bucket says now, from a place on. It looks at no
// more versions than room, and returns how far it has come.
func (b *Bucket) pruneSome(ctx context.Context, tx manifest.Tx, id manifest.FileID, from prunePlace, room int) (at prunePlace, n pruned, more bool, err error) {
	f, err := tx.File(ctx, id)
	if err != nil {
		return from, n, false, ignoreGone(err)
	}
	before := f.Versions
	at, more, err = b.newest().Versions.prune(ctx, tx, f, from, room, b.s.removalTime())
	n = pruned{int64(before - f.Versions), int64(at.held - from.held)}
	if err == nil && n.dropped > 0 {
		err = tx.PutFile(ctx, f)
	}
	return at, n, more, err
}

// pruneTogether prunes files in one transaction. Those that come after the first
// that has more versions to lose than room is left, and that one, are left.
func (b *Bucket) pruneTogether(ctx context.Context, files []*manifest.File) (sum pruned, left []*manifest.File, err error) {
	err = b.updateRows(ctx, func(tx manifest.Tx) error {
		sum, left = pruned{}, nil
		for room, i := maxSwept, 0; i < len(files); i++ {
			_, n, more, err := b.pruneSome(ctx, tx, files[i].ID, prunePlace{}, room)
			if err != nil {
				return err
			}
			sum.dropped += n.dropped
			if more {
				left = files[i:]
				return nil
			}
			sum.held += n.held
			room -= int(n.dropped + n.held)
		}
		return nil
	})
	return sum, left, err
}

// pruneFile prunes a file in as many transactions as it takes.
func (b *Bucket) pruneFile(ctx context.Context, id manifest.FileID) (sum pruned, err error) {
	at := prunePlace{}
	for more := true; more; {
		var next prunePlace
		var n pruned
		err := b.updateRows(ctx, func(tx manifest.Tx) (err error) {
			next, n, more, err = b.pruneSome(ctx, tx, id, at, maxSwept)
			return err
		})
		if err != nil {
			return sum, err
		}
		at, sum = next, pruned{sum.dropped + n.dropped, sum.held + n.held}
	}
	return sum, nil
}

// trashedBefore returns the moment before which a file must have been moved to the
// trash to be removed by now. It reports whether files in the trash go at all. Those
// that the end of a link has moved there stay for a while also where there is no
// trash: see isDue.
func (b *Bucket) trashedBefore() (before time.Time, ends bool) {
	t := b.newest().Trash
	switch {
	case t.Off: // what was trashed while there was one
		return b.s.removalTime(), true
	case t.KeepFor > 0:
		return b.s.removalTime().Add(-t.KeepFor), true
	}
	return time.Time{}, false
}

// isDue reports whether a file's time in the trash is over as the bucket says now.
func (b *Bucket) isDue(f *manifest.File) bool {
	before, ends := b.trashedBefore()
	if f.Cascaded && b.newest().Trash.Off {
		before = b.s.removalTime().Add(-b.newest().linkWindow())
	}
	return f.State == manifest.Trashed && ends && f.DeletedAt.Before(before)
}

// purgeTogether purges those of some files whose time in the trash is over as the
// bucket says now, in one transaction, and returns how many, and how many links hold.
func (b *Bucket) purgeTogether(ctx context.Context, files []*manifest.File) (purged, held int64, err error) {
	err = b.updateRows(ctx, func(tx manifest.Tx) error {
		purged, held = 0, 0
		for room, i := uint64(maxSwept), 0; i < len(files); i++ {
			f, err := tx.File(ctx, files[i].ID)
			if ignoreGone(err) != nil {
				return err
			}
			// One that has more versions than were listed waits for the next sweep.
			if err != nil || !b.isDue(f) || f.Versions > room {
				continue
			}
			holds, err := isHeld(ctx, tx, f)
			if err != nil {
				return err
			}
			if holds {
				held++
				continue
			}
			if err := tx.Purge(ctx, f.ID, b.s.now()); err != nil {
				return err
			}
			purged, room = purged+1, room-f.Versions
		}
		return nil
	})
	return purged, held, err
}

// purgeTrashed purges a file whose time in the trash is over as the bucket says
// now, in as many transactions as it takes. It reports whether links hold it.
func (b *Bucket) purgeTrashed(ctx context.Context, id manifest.FileID) (purged, held bool, err error) {
	for above, more := uint64(0), true; more; {
		var last uint64
		err = b.updateRows(ctx, func(tx manifest.Tx) error {
			more, purged, held = false, false, false
			f, err := tx.File(ctx, id)
			if err != nil {
				return ignoreGone(err)
			}
			if !b.isDue(f) {
				return nil // it was taken out, or is kept for longer, meanwhile
			}
			if held, err = isHeld(ctx, tx, f); err != nil || held {
				return err
			}
			last, more, err = b.purgeSome(ctx, tx, f, above)
			purged = !more
			return err
		})
		if err != nil {
			return false, false, err
		}
		above = last
	}
	return purged, held, nil
}

// purgeSome removes f for good or, if it has more versions than one transaction
// removes, the oldest of them: then more is left to do, behind the number last. The
// versions up to the number above are gone.
func (b *Bucket) purgeSome(ctx context.Context, tx manifest.Tx, f *manifest.File, above uint64) (last uint64, more bool, err error) {
	if f.Versions <= maxSwept {
		return above, false, tx.Purge(ctx, f.ID, b.s.now())
	}
	ms, err := tx.OldVersions(ctx, f.ID, above, maxSwept)
	if err != nil {
		return above, false, err
	}
	if len(ms) == 0 { // the row counts versions that are not there
		return above, false, tx.Purge(ctx, f.ID, b.s.now())
	}
	if err := removeVersions(ctx, tx, f, ms, b.s.now()); err != nil {
		return above, false, err
	}
	return ms[len(ms)-1].Version, true, tx.PutFile(ctx, f)
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
