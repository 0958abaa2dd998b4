package buckets

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/manifest"
)

func (v *Versions) keepsEverything() bool { return !v.Off && v.Keep == 0 && v.KeepFor == 0 }

// prune removes for good the versions of f that the policy does not keep, oldest
// first, beginning behind the number above: calls before have seen to those up to
// it. It changes f, which the caller writes, and returns the highest number that
// it has removed. more reports that there may be others.
func (v *Versions) prune(ctx context.Context, tx manifest.Tx, f *manifest.File, above uint64, now time.Time) (last uint64, more bool, err error) {
	keep := uint64(v.Keep)
	if v.Off {
		keep = 1
	}
	excess := uint64(0)
	if keep > 0 && f.Versions > keep {
		excess = f.Versions - keep
	}
	last = above
	if v.keepsEverything() || f.Versions < 2 || excess == 0 && v.KeepFor == 0 {
		return last, false, nil
	}
	const page = 100
	for n := 0; ; {
		ms, err := tx.OldVersions(ctx, f.ID, last, page+1) // each with the one that replaced it
		if err != nil {
			return last, false, err
		}
		var drop []manifest.VersionID
		end := len(ms) <= page
		for i := range len(ms) - 1 {
			old := excess > 0 || v.KeepFor > 0 && now.Sub(ms[i+1].CreatedAt) > v.KeepFor
			if !old || n == maxSwept {
				end, more = true, old
				break
			}
			drop = append(drop, ms[i].ID)
			dropVersion(f, ms[i])
			last, n, excess = ms[i].Version, n+1, max(excess, 1)-1
		}
		if err := tx.DropManifests(ctx, drop, now); err != nil || end {
			return last, more, err
		}
	}
}

// Swept counts what Sweep removed.
type Swept struct {
	Files    int64 // files whose time in the trash was over
	Versions int64 // versions that were replaced long enough ago
	Uploads  int64 // uploads that were not ended in time
}

// Sweep removes what is kept no longer: files in the trash and old versions
// whose time is over by their buckets' policies, and what has expired of
// grants and keys. It also ends moves that broke off. It removes nothing, and fails
// with ErrClock, while the clock stands far beyond the latest time that the store
// has seen: see TrustClock.
func (s *Store) Sweep(ctx context.Context) (Swept, error) {
	var done Swept
	if err := s.checkWritable(ctx); err != nil {
		return done, err
	}
	// What a broken move has left refuses uploads, whatever the clock says.
	for _, name := range s.Buckets() {
		if err := s.retargetUploads(ctx, name, s.updateLocal); err != nil {
			return done, fmt.Errorf("end the move of bucket %q: %w", name, err)
		}
	}
	if err := s.seeTime(ctx); err != nil {
		return done, err
	}
	for _, name := range s.Buckets() {
		b, err := s.Bucket(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a schema without the bucket was applied meanwhile
		}
		if err == nil {
			err = b.sweepTrash(ctx, &done)
		}
		if err == nil {
			err = b.sweepVersions(ctx, &done)
		}
		if err == nil {
			err = b.sweepUploads(ctx, &done)
		}
		if err != nil {
			return done, fmt.Errorf("sweep bucket %q: %w", name, err)
		}
	}
	at := s.removalTime()
	if err := s.sweepAll(ctx, func(tx manifest.Tx, limit int) (int, error) { return tx.SweepGrants(ctx, at, limit) }); err != nil {
		return done, fmt.Errorf("sweep grants: %w", err)
	}
	if err := s.sweepAll(ctx, func(tx manifest.Tx, limit int) (int, error) { return tx.SweepReceipts(ctx, at, limit) }); err != nil {
		return done, fmt.Errorf("sweep receipts: %w", err)
	}
	if err := s.sweepAll(ctx, func(tx manifest.Tx, limit int) (int, error) { return tx.SweepOnces(ctx, at, limit) }); err != nil {
		return done, fmt.Errorf("sweep idempotency keys: %w", err)
	}
	return done, nil
}

func (b *Bucket) sweepTrash(ctx context.Context, done *Swept) error {
	t := b.b.Trash
	if t.KeepFor == 0 {
		return nil
	}
	before := b.s.removalTime().Add(-t.KeepFor)
	for after, n := manifest.FileID(""), sweepPage; n == sweepPage; {
		due, err := b.s.meta.TrashedBefore(ctx, b.b.name, before, after, sweepPage)
		if err != nil {
			return err
		}
		for _, f := range due {
			after = f.ID
			purged, err := b.purgeTrashed(ctx, f.ID, before)
			if err != nil {
				return err
			}
			if purged {
				done.Files++
			}
		}
		n = len(due)
	}
	return nil
}

// purgeTrashed purges a file that was moved to the trash before a moment, in as
// many transactions as it takes.
func (b *Bucket) purgeTrashed(ctx context.Context, id manifest.FileID, before time.Time) (purged bool, err error) {
	for more := true; more && err == nil; {
		err = b.s.updateRows(ctx, b.domain, func(tx manifest.Tx) error {
			more, purged = false, false
			f, err := tx.File(ctx, id)
			if err != nil || f.State != manifest.Trashed || !f.DeletedAt.Before(before) {
				return ignoreGone(err)
			}
			more, err = b.purgeSome(ctx, tx, f)
			purged = !more
			return err
		})
	}
	return purged, err
}

func (b *Bucket) sweepVersions(ctx context.Context, done *Swept) error {
	v := b.b.Versions
	if v.keepsEverything() {
		return nil
	}
	for l, err := range b.s.meta.List(ctx, b.b.name, &manifest.Range{Versioned: true}) {
		if err != nil {
			return err
		}
		f := l.File
		if f.Versions < 2 || !v.Off && f.Versions <= uint64(v.Keep) && v.KeepFor == 0 {
			continue
		}
		n, err := b.pruneFile(ctx, f.ID)
		if done.Versions += n; err != nil {
			return err
		}
	}
	return nil
}

// pruneFile prunes a file, in as many transactions as it takes.
func (b *Bucket) pruneFile(ctx context.Context, id manifest.FileID) (dropped int64, err error) {
	for above, more := uint64(0), true; more; {
		var last, n uint64
		err := b.s.updateRows(ctx, b.domain, func(tx manifest.Tx) error {
			last, more, n = above, false, 0
			f, err := tx.File(ctx, id)
			if err != nil {
				return ignoreGone(err)
			}
			before := f.Versions
			last, more, err = b.b.Versions.prune(ctx, tx, f, above, b.s.removalTime())
			if n = before - f.Versions; err != nil || n == 0 {
				return err
			}
			return tx.PutFile(ctx, f)
		})
		if err != nil {
			return dropped, err
		}
		above, dropped = last, dropped+int64(n)
	}
	return dropped, nil
}

// purgeSome removes f for good or, if it has more versions than one transaction
// removes, the oldest of them: then more is left to do.
func (b *Bucket) purgeSome(ctx context.Context, tx manifest.Tx, f *manifest.File) (more bool, err error) {
	if f.Versions <= maxSwept {
		return false, tx.Purge(ctx, f.ID, b.s.now())
	}
	ms, err := tx.OldVersions(ctx, f.ID, 0, maxSwept)
	if err != nil {
		return false, err
	}
	ids := make([]manifest.VersionID, len(ms))
	for i, m := range ms {
		ids[i] = m.ID
		dropVersion(f, m)
	}
	if err := tx.DropManifests(ctx, ids, b.s.now()); err != nil {
		return false, err
	}
	return true, tx.PutFile(ctx, f)
}

func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

const sweepInterval = 10 * time.Minute

// Run does what the store has to do by itself, until ctx is done.
func (s *Store) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.runSend(ctx) })
	g.Go(func() error { return s.runSweep(ctx) })
	g.Go(func() error { return s.runCollect(ctx) })
	g.Go(func() error { return s.runScrub(ctx) })
	g.Go(func() error { return s.runPoints(ctx) })
	return g.Wait()
}

func (s *Store) runSweep(ctx context.Context) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		done, err := s.Sweep(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClock), errors.Is(err, ErrReadOnly): // which was logged
		case err != nil:
			s.log.Error("sweep failed", "error", err)
		case done != Swept{}:
			s.log.Info("swept", "files", done.Files, "versions", done.Versions, "uploads", done.Uploads)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
