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

func (v *Versions) keepAll() bool { return !v.Off && v.Keep == 0 && v.KeepFor == 0 }

// prune removes, for good, the versions of f that the policy does not keep.
// It changes f, which the caller writes.
func (v *Versions) prune(ctx context.Context, tx manifest.Tx, f *manifest.File, now time.Time) error {
	if v.keepAll() || f.Versions < 2 {
		return nil
	}
	var drop []*manifest.Manifest
	n := 0
	var replaced time.Time // when the version at hand was
	for m, err := range tx.Versions(ctx, f.ID) {
		if err != nil {
			return err
		}
		n++
		if n > 1 && (v.Off || v.Keep > 0 && n > v.Keep || v.KeepFor > 0 && now.Sub(replaced) > v.KeepFor) {
			drop = append(drop, m)
		}
		replaced = m.CreatedAt
	}
	for _, m := range drop {
		if err := tx.DropManifest(ctx, m.ID); err != nil {
			return err
		}
		dropVersion(f, m)
	}
	return nil
}

// Swept counts what Sweep removed.
type Swept struct {
	Files    int64 // whose time in the trash was over
	Versions int64 // that were replaced long enough ago
	Uploads  int64 // that were not ended in time
}

// Sweep removes what is kept no longer: files in the trash and old versions
// whose time is over by their buckets' policies, and what has expired of
// grants and keys. It removes nothing, and fails with ErrClock, while the clock
// stands far beyond the latest time that the store has seen: see TrustClock.
func (s *Store) Sweep(ctx context.Context) (Swept, error) {
	var done Swept
	if err := s.writable(ctx); err != nil {
		return done, err
	}
	if err := s.seeTime(ctx); err != nil {
		return done, err
	}
	for _, name := range s.Buckets() {
		b, err := s.Bucket(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue // a schema without it came meanwhile
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
	if err := s.keepAll(ctx, func(tx manifest.Tx) (int, error) { return tx.SweepGrants(ctx, at, maxSwept) }); err != nil {
		return done, fmt.Errorf("sweep grants: %w", err)
	}
	if err := s.keepAll(ctx, func(tx manifest.Tx) (int, error) { return tx.SweepReceipts(ctx, at, maxSwept) }); err != nil {
		return done, fmt.Errorf("sweep receipts: %w", err)
	}
	if err := s.keepAll(ctx, func(tx manifest.Tx) (int, error) { return tx.SweepOnces(ctx, at, maxSwept) }); err != nil {
		return done, fmt.Errorf("sweep idempotency keys: %w", err)
	}
	return done, nil
}

func (b *Bucket) sweepTrash(ctx context.Context, done *Swept) error {
	t := b.b.Trash
	if t.KeepFor == 0 {
		return nil
	}
	due := func(f *manifest.File) bool {
		return f.State == manifest.Trashed && b.s.removalTime().Sub(f.DeletedAt) > t.KeepFor
	}
	for f, err := range b.s.meta.Files(ctx, b.b.name, &manifest.Range{State: manifest.Trashed}) {
		if err != nil {
			return err
		}
		if !due(f) {
			continue
		}
		purged := false
		err := b.s.update(ctx, func(tx manifest.Tx) error {
			f, err := tx.File(ctx, f.ID)
			if purged = err == nil && due(f); !purged {
				return notGone(err)
			}
			return tx.Purge(ctx, b.domain(), f.ID)
		})
		if err != nil {
			return err
		}
		if purged {
			done.Files++
		}
	}
	return nil
}

func (b *Bucket) sweepVersions(ctx context.Context, done *Swept) error {
	v := b.b.Versions
	if v.keepAll() {
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
		var dropped uint64
		err := b.s.update(ctx, func(tx manifest.Tx) error {
			f, err := tx.File(ctx, f.ID)
			if err != nil {
				return notGone(err)
			}
			before := f.Versions
			if err := v.prune(ctx, tx, f, b.s.removalTime()); err != nil {
				return err
			}
			if dropped = before - f.Versions; dropped == 0 {
				return nil
			}
			return tx.PutFile(ctx, b.domain(), f)
		})
		if err != nil {
			return err
		}
		done.Versions += int64(dropped)
	}
	return nil
}

func notGone(err error) error {
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
