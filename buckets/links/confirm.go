package links

import (
	"context"
	"errors"
	"io/fs"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/manifest"
)

// Confirm says that the change that a Hold was prepared for is durable in the host's
// database. Its links are confirmed, and the policies of those that they replace
// follow. A link that was cancelled, or let go by Reconcile, is made good again, if
// its file is there; a file that only the end of its last link has put into the
// trash comes out of it. Else Confirm does all the rest and fails with a
// *LostError.
//
// It may be called any number of times, in any order, also by later sessions. When the
// session that has prepared the Hold is over, what the links replace is left to
// Reconcile: the host's database may have been restored since to what was before.
func (h *Host) Confirm(ctx context.Context, token string) error {
	t, err := decodeToken(token)
	if err != nil {
		return wrap("confirm", err)
	}
	lost := make(map[manifest.LinkID]bool) // set anew by each run of a transaction
	err = h.eachBucket(ctx, t.Adds, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
		ok, err := h.confirmLink(ctx, tx, l)
		lost[l.ID] = !ok
		return err
	}, func(id manifest.LinkID) { lost[id] = true })
	if err == nil {
		err = h.eachBucket(ctx, t.Releases, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
			host, err := tx.Host(ctx, h.name)
			if err != nil || !host.IsLive(t.Session) {
				return ignoreAbsence(err)
			}
			return h.release(ctx, tx, l, true)
		}, nil)
	}
	maps.DeleteFunc(lost, func(_ manifest.LinkID, is bool) bool { return !is })
	if err == nil && len(lost) > 0 {
		err = &LostError{slices.Sorted(maps.Keys(lost))}
	}
	return wrap("confirm", err)
}

// Cancel says that the change that a Hold was prepared for was not made and will not
// be. Links that are pending are let go. It may be called any number of times; a
// Confirm, before or after it, counts.
func (h *Host) Cancel(ctx context.Context, token string) error {
	t, err := decodeToken(token)
	if err == nil {
		err = h.letGo(ctx, t.Adds)
	}
	return wrap("cancel", err)
}

// letGo lets pending links go.
func (h *Host) letGo(ctx context.Context, ids []manifest.LinkID) error {
	return h.eachBucket(ctx, ids, func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
		if l.State != manifest.LinkPending {
			return nil
		}
		return h.letLinkGo(ctx, tx, l)
	}, nil)
}

// eachBucket calls fn for links of this host, as they are in transactions, one or
// more for each bucket. absent, if it is not nil, is told which do not exist. A
// transaction may be run several times.
func (h *Host) eachBucket(ctx context.Context, ids []manifest.LinkID, fn func(ctx context.Context, tx manifest.Tx, l *manifest.Link) error, absent func(manifest.LinkID)) error {
	byBucket := make(map[string][]manifest.LinkID)
	var order []string
	for _, id := range ids {
		l, err := h.k.Meta().Link(ctx, id)
		if errors.Is(err, fs.ErrNotExist) {
			if absent != nil {
				absent(id)
			}
			continue
		}
		if err != nil {
			return err
		}
		if l.Host != h.name {
			return ErrToken
		}
		if byBucket[l.Bucket] == nil {
			order = append(order, l.Bucket)
		}
		byBucket[l.Bucket] = append(byBucket[l.Bucket], id)
	}
	for _, bucket := range order {
		for some := range slices.Chunk(byBucket[bucket], pageSize) {
			err := h.k.Update(h.actThrough(ctx), bucket, func(tx manifest.Tx) error {
				for _, id := range some {
					l, err := tx.Link(ctx, id)
					if errors.Is(err, fs.ErrNotExist) { // it was swept meanwhile
						if absent != nil {
							absent(id)
						}
						continue
					}
					if err == nil {
						err = fn(ctx, tx, l)
					}
					if err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// confirmLink confirms a link. It reports whether what the link names is there.
func (h *Host) confirmLink(ctx context.Context, tx manifest.Tx, l *manifest.Link) (ok bool, err error) {
	if l.State == manifest.LinkConfirmed || l.State == manifest.LinkReleased {
		return true, nil
	}
	there, err := hasTarget(ctx, tx, l)
	if err != nil {
		return false, err
	}
	if !there && l.State == manifest.LinkLetGo {
		return false, nil
	}
	if err := h.setConfirmed(ctx, tx, l); err != nil {
		return false, err
	}
	if err := h.reviveTarget(ctx, tx, l); err != nil {
		return false, err
	}
	return there, h.noteDeleted(ctx, tx, l)
}

// reviveTarget takes the file of a link out of the trash if only the end of its last
// link has put it there.
func (h *Host) reviveTarget(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
	f, err := tx.File(ctx, l.File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil || f.State != manifest.Trashed || !f.Cascaded {
		return err
	}
	return h.k.Revive(ctx, tx, f)
}

// noteDeleted notes that the host is to be told if what a link names is deleted and
// the link's policy says so.
func (h *Host) noteDeleted(ctx context.Context, tx manifest.Tx, l *manifest.Link) error {
	if l.OnDelete != manifest.SetNull {
		return nil
	}
	deleted, err := isDeleted(ctx, tx, l)
	if err != nil || !deleted {
		return err
	}
	return tx.PutLinkEvent(ctx, l.File)
}

// isDeleted reports whether what a link names is gone or in the trash.
func isDeleted(ctx context.Context, rows manifest.Files, l *manifest.Link) (bool, error) {
	f, err := rows.File(ctx, l.File)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	if err != nil || f.State == manifest.Trashed || l.Version == "" {
		return err == nil && f.State == manifest.Trashed, err
	}
	_, err = rows.Manifest(ctx, l.Version)
	if errors.Is(err, fs.ErrNotExist) {
		return true, nil
	}
	return false, err
}
