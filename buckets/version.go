package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"time"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

// Versions yields the versions of the file id (f_…), newest first.
func (b *Bucket) Versions(ctx context.Context, id string) iter.Seq2[*File, error] {
	return b.VersionsBelow(ctx, id, math.MaxUint64)
}

// VersionsBelow is Versions of those whose numbers are lower than below.
func (b *Bucket) VersionsBelow(ctx context.Context, id string, below uint64) iter.Seq2[*File, error] {
	return func(yield func(*File, error) bool) {
		f, m, err := b.findRows(ctx, id, &GetOptions{Trashed: true})
		if err == nil {
			err = b.checkFile(ctx, access.OpRead, f, m)
		}
		if err != nil {
			yield(nil, err)
			return
		}
		for m, err := range b.s.meta.VersionsBelow(ctx, f.ID, below) {
			if err == nil && f.IsHeld(m.ID) {
				err = b.checkFile(ctx, access.OpRead, f, m)
				if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
					continue
				}
			}
			if err == nil && b.via != nil { // a record may hold one version, and open no other
				err = b.checkFile(ctx, access.OpRead, f, m)
				if errors.Is(err, fs.ErrPermission) || errors.Is(err, fs.ErrNotExist) {
					continue
				}
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if !yield(b.describeFile(f, m), nil) {
				return
			}
		}
	}
}

// versionOf finds version n of f in a transaction.
func versionOf(ctx context.Context, tx manifest.Tx, f *manifest.File, n uint64) (*manifest.Manifest, error) {
	m, err := tx.Version(ctx, f.ID, n)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("version %d: %w", n, ErrNoVersion)
	}
	return m, err
}

// RestoreVersion makes a new version of the file id with the content of
// version n, moving no data.
func (b *Bucket) RestoreVersion(ctx context.Context, id string, n uint64) (*File, error) {
	if err := b.validateRestored(ctx, id, n); err != nil {
		return nil, err
	}
	ctx = withAuditNote(ctx, auditNote{action: "version.restore", fromNumber: n})
	return b.changeFile(ctx, rowChange{id: id, op: access.OpUpdate, patch: &Patch{}, restore: n}, func(tx manifest.Tx, f *manifest.File, _ *manifest.Manifest) error {
		m, err := versionOf(ctx, tx, f, n)
		if err != nil {
			return err
		}
		if f.IsHeld(m.ID) {
			return fmt.Errorf("version %d is in quarantine: %w", n, ErrNoVersion)
		}
		m.CreatedBy = b.whoID()
		return b.addVersion(ctx, tx, f, m, f.Charged(), b.s.now(), false)
	})
}

// DeleteVersion removes version n of the file id for good. When it was the
// current one, the newest that is left becomes current.
func (b *Bucket) DeleteVersion(ctx context.Context, id string, n uint64) error {
	_, err := b.changeFile(ctx, rowChange{id: id, op: access.OpDelete, trashed: true}, func(tx manifest.Tx, f *manifest.File, _ *manifest.Manifest) error {
		m, err := versionOf(ctx, tx, f, n)
		if err != nil {
			return err
		}
		if f.Versions == 1 {
			return ErrLastVersion
		}
		if err := b.checkLinks(ctx, tx, f, m.ID, true); err != nil {
			return err
		}
		if err := tx.DropManifests(ctx, []manifest.VersionID{m.ID}, b.s.now()); err != nil {
			return err
		}
		dropVersion(f, m)
		delete(f.Held, m.ID)
		now := b.s.now()
		at := nextContentTime(f, now)
		if f.UpdatedAt = now; f.Current != m.ID {
			return nil
		}
		for next, err := range tx.Versions(ctx, f.ID) {
			if err != nil {
				return err
			}
			if f.IsHeld(next.ID) {
				continue
			}
			f.Current, f.ContentAt = next.ID, at
			return nil
		}
		return ErrLastVersion
	})
	return err
}

// addVersion makes m the current version of f, which the caller writes, as of at, or one
// that is held in quarantine, and removes the versions that the bucket keeps no longer. What that adds to what f
// was charged before must fit the quotas.
func (b *Bucket) addVersion(ctx context.Context, tx manifest.Tx, f *manifest.File, m *manifest.Manifest, before int64, at time.Time, held bool) error {
	current, contentAt := f.Current, f.ContentAt
	linkVersion(f, m, at)
	if held {
		if f.Held == nil {
			f.Held = make(map[manifest.VersionID]string)
		}
		if f.Held[m.ID] = ""; len(f.Held) > maxHeld {
			return fmt.Errorf("%d versions: %w", maxHeld, ErrQuarantineFull)
		}
		if current == "" {
			f.State = manifest.Quarantined
		} else {
			f.Current, f.ContentAt = current, contentAt
		}
	}
	if err := tx.PutManifest(ctx, m); err != nil {
		return err
	}
	if _, _, err := b.b.Versions.prune(ctx, tx, f, prunePlace{}, maxSwept, b.s.removalTime()); err != nil {
		return err
	}
	return b.b.Limits.checkQuota(ctx, tx, f.Bucket, f.Owner, f.Charged()-before)
}

// linkVersion makes m the current version of f.
func linkVersion(f *manifest.File, m *manifest.Manifest, now time.Time) {
	f.LastVersion++
	m.ID, m.File, m.Version, m.CreatedAt = manifest.NewVersionID(), f.ID, f.LastVersion, now
	if f.ContentAt = nextContentTime(f, now); f.ContentAt.Equal(now) {
		f.ContentAt = time.Time{}
	}
	f.Current, f.UpdatedAt = m.ID, now
	f.Versions++
	f.TotalSize += m.Size
	f.TotalChunks += m.Chunks
}

// nextContentTime returns when a content becomes that of f, if that is now: a
// later second than that of the content before, whatever the clock says.
func nextContentTime(f *manifest.File, now time.Time) time.Time {
	last := f.ContentAt
	if last.IsZero() {
		last = f.UpdatedAt // not before the version's own time, which it stands for
	}
	if next := last.Truncate(time.Second).Add(time.Second); f.Versions > 0 && next.After(now) {
		return next
	}
	return now
}

// dropVersion takes m out of f's sums.
func dropVersion(f *manifest.File, m *manifest.Manifest) {
	f.Versions--
	f.TotalSize -= m.Size
	f.TotalChunks -= m.Chunks
}
