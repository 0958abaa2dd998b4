package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

// Swept counts what Sweep removed.
type Swept struct {
	Files    int64 // files whose time in the trash was over
	Versions int64 // versions that were replaced long enough ago
	Uploads  int64 // uploads that were not ended in time
	Links    int64 // rows of links that ended long enough ago
	// Held are files and versions whose time is over and that stay, since records have
	// links to them, or it is not known whether they have.
	Held int64
}

func (n *Swept) add(m Swept) {
	n.Files += m.Files
	n.Versions += m.Versions
	n.Uploads += m.Uploads
	n.Links += m.Links
	n.Held += m.Held
}

// Sweep removes what is kept no longer: files in the trash and old versions
// whose time is over by their buckets' policies, and what has expired of
// grants and keys. It also ends moves that broke off. It removes nothing, and fails
// with ErrClock, while the clock stands far beyond the latest time that the store
// has seen: see TrustClock.
//
// Each transaction removes a bounded number of rows, and others come between any
// two. What cannot be swept keeps nothing else from being swept; the error names
// it. The store's log says of each bucket what was removed.
func (s *Store) Sweep(ctx context.Context) (done Swept, err error) {
	ctx, end := s.untilClosed(ctx)
	defer end(&err)
	if err := s.checkWritable(ctx); err != nil {
		return done, err
	}
	var errs []error
	// What a broken move has left refuses uploads, whatever the clock says.
	for _, name := range s.Buckets() {
		if err := s.retargetUploads(ctx, name, s.updateLocal); err != nil {
			errs = append(errs, fmt.Errorf("end the move of bucket %q: %w", name, err))
		}
	}
	if err := s.seeTime(ctx); err != nil {
		return done, errors.Join(append(errs, err)...)
	}
	for _, name := range s.Buckets() {
		b, err := s.Bucket(name)
		if err != nil {
			continue // a schema without the bucket was applied meanwhile
		}
		n, err := b.sweep(ctx)
		if done.add(n); err != nil {
			errs = append(errs, fmt.Errorf("sweep bucket %q: %w", name, err))
		}
	}
	if err := s.warnOfHosts(ctx); err != nil {
		errs = append(errs, err)
	}
	at := s.removalTime()
	for _, rows := range []struct {
		what  string
		sweep func(tx manifest.Tx, limit int) (int, error)
	}{
		{"grants", func(tx manifest.Tx, limit int) (int, error) { return tx.SweepGrants(ctx, at, limit) }},
		{"receipts", func(tx manifest.Tx, limit int) (int, error) { return tx.SweepReceipts(ctx, at, limit) }},
		{"idempotency keys", func(tx manifest.Tx, limit int) (int, error) { return tx.SweepOnces(ctx, at, limit) }},
	} {
		if err := s.sweepAll(ctx, rows.sweep); err != nil {
			errs = append(errs, fmt.Errorf("sweep %s: %w", rows.what, err))
		}
	}
	return done, errors.Join(errs...)
}

// maxSweepErrors is how many files of a bucket in a row a sweep passes over because
// it cannot sweep them, and how many it names. One that is damaged must not keep
// those behind it; where all fail, the next will.
const maxSweepErrors = 10

// A bucketSweep is the sweep of a bucket under way.
type bucketSweep struct {
	*Bucket
	done  Swept
	errs  []error // the first
	more  int     // errors after those
	inRow int     // the latest errors, with no success between them
}

// sweep removes what the bucket keeps no longer.
func (b *Bucket) sweep(ctx context.Context) (Swept, error) {
	begun := time.Now()
	w := &bucketSweep{Bucket: b}
	links, err := b.sweepLinks(ctx)
	w.done.Links = links
	w.addError("links", err)
	w.sweepTrash(ctx)
	w.sweepVersions(ctx, manifest.Active)
	w.sweepVersions(ctx, manifest.Trashed)
	n, err := b.sweepUploads(ctx)
	w.done.Uploads = n
	w.addError("uploads", err)
	if w.done != (Swept{Held: w.done.Held}) {
		b.s.log.Info("swept", "bucket", b.b.name, "files", w.done.Files, "versions", w.done.Versions, "uploads", w.done.Uploads,
			"links", w.done.Links, "held", w.done.Held,
			"took", time.Since(begun).Round(time.Millisecond))
	}
	if w.more > 0 {
		w.errs = append(w.errs, fmt.Errorf("%d more", w.more))
	}
	return w.done, errors.Join(w.errs...)
}

// addError notes how sweeping something went. It reports whether to go on behind it.
func (w *bucketSweep) addError(what string, err error) bool {
	if err == nil {
		w.inRow = 0
		return true
	}
	w.inRow++
	if len(w.errs) < maxSweepErrors {
		w.errs = append(w.errs, fmt.Errorf("%s: %w", what, err))
	} else {
		w.more++
	}
	return w.inRow < maxSweepErrors
}

// sweepTrash purges the files that have been in the trash for longer than the
// bucket keeps them.
func (w *bucketSweep) sweepTrash(ctx context.Context) {
	for after, n := manifest.FileID(""), sweepPage; n == sweepPage && ctx.Err() == nil; {
		before, ends := w.trashedBefore()
		if !ends {
			return
		}
		due, err := w.s.meta.TrashedBefore(ctx, w.b.name, before, after, sweepPage)
		if err != nil {
			w.addError("trash", err)
			return
		}
		if n = len(due); n > 0 {
			after = due[n-1].ID
		}
		for len(due) > 0 {
			some := countTogether(due)
			if !w.purgeDue(ctx, due[:some]) || ctx.Err() != nil {
				return
			}
			due = due[some:]
		}
	}
}

// countTogether returns how many of some files, from the first on, have no more
// versions together than one transaction removes, and at least 1.
func countTogether(files []*manifest.File) (n int) {
	versions := uint64(0)
	for _, f := range files {
		if versions += f.Versions; versions > maxSwept && n > 0 {
			break
		}
		n++
	}
	return n
}

// purgeDue purges files whose time in the trash is over, if they still are. Most
// have few versions, and each transaction waits for the disk, so it takes one for
// all of them; if that fails, one for each, since one file must not keep the others.
// It reports whether to go on behind them.
func (w *bucketSweep) purgeDue(ctx context.Context, files []*manifest.File) bool {
	if len(files) > 1 {
		purged, held, err := w.purgeTogether(ctx, files)
		if err == nil {
			w.done.Files += purged
			w.done.Held += held
			return w.addError("", nil)
		}
	}
	for _, f := range files {
		purged, held, err := w.purgeTrashed(ctx, f.ID)
		switch {
		case purged:
			w.done.Files++
		case held:
			w.done.Held++
		}
		if !w.addError("file "+string(f.ID), err) {
			return false
		}
	}
	return true
}

// sweepVersions removes the versions that the bucket does not keep, of its files
// in a state. Rules for versions hold in the trash too.
func (w *bucketSweep) sweepVersions(ctx context.Context, state manifest.State) {
	for after, more := "", true; more && !w.newest().Versions.keepsEverything() && ctx.Err() == nil; {
		files, last, err := w.versionedFiles(ctx, state, after)
		if err != nil {
			w.addError("versions", err)
			return
		}
		var due []*manifest.File
		for _, f := range files {
			isDue, err := w.hasDueVersions(ctx, f)
			if !w.addError("versions of file "+string(f.ID), err) || ctx.Err() != nil {
				return
			}
			if isDue {
				due = append(due, f)
			}
		}
		if !w.pruneDue(ctx, due) {
			return
		}
		after, more = last, len(files) == sweepPage
	}
}

// pruneDue prunes files, together where they have few versions to lose, as purgeDue
// does. It reports whether to go on behind them.
func (w *bucketSweep) pruneDue(ctx context.Context, files []*manifest.File) bool {
	for len(files) > 0 {
		alone := 1 // how many are pruned by themselves then
		if len(files) > 1 {
			n, left, err := w.pruneTogether(ctx, files)
			if alone = len(files); err == nil {
				w.addError("", nil)
				w.addPruned(n)
				files, alone = left, min(len(left), 1)
			}
		}
		for _, f := range files[:alone] {
			n, err := w.pruneFile(ctx, f.ID)
			w.addPruned(n)
			if !w.addError("versions of file "+string(f.ID), err) || ctx.Err() != nil {
				return false
			}
		}
		files = files[alone:]
	}
	return true
}

func (w *bucketSweep) addPruned(n pruned) {
	w.done.Versions += n.dropped
	w.done.Held += n.held
}

// versionedFiles returns at most sweepPage files of more than one version, behind
// a key of their listing, and the key of the last.
func (b *Bucket) versionedFiles(ctx context.Context, state manifest.State, after string) (files []*manifest.File, last string, err error) {
	for l, err := range b.s.meta.List(ctx, b.b.name, &manifest.Range{State: state, After: after, Versioned: true}) {
		if err != nil {
			return nil, "", err
		}
		files, last = append(files, l.File), l.Key
		if len(files) == sweepPage {
			break
		}
	}
	return files, last, nil
}

// newest returns the policy of the bucket as of now. A sweep may take long, and
// removes nothing that is to be kept since it began.
func (b *Bucket) newest() *bucket {
	if now := b.s.lookup(b.b.name); now != nil {
		return now
	}
	return &bucket{} // it keeps everything
}

// Run does what the store has to do by itself, until ctx is done, or until Close, which
// waits for it: then it returns ErrClosed.
func (s *Store) Run(ctx context.Context) error {
	if err := s.life.Enter(); err != nil {
		return err
	}
	defer s.life.Leave()
	ctx, stop := s.life.Context(ctx)
	defer stop()
	if err := s.auditStart(ctx); err != nil {
		s.log.Error("the audit does not tell of this start", "error", err)
	}
	ctx = access.ActAs(ctx, "sweeper", "")
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.runSend(ctx) })
	g.Go(func() error { return s.runSweep(ctx) })
	g.Go(func() error { return s.runCollect(ctx) })
	g.Go(func() error { return s.runScrub(ctx) })
	g.Go(func() error { return s.runPoints(ctx) })
	g.Go(func() error { return s.runScan(ctx) })
	return cmp.Or(g.Wait(), s.life.Err())
}

const sweepInterval = 10 * time.Minute

func (s *Store) runSweep(ctx context.Context) error {
	tick := time.NewTicker(sweepInterval)
	defer tick.Stop()
	for {
		_, err := s.Sweep(ctx) // what was removed is in the log
		switch {
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, ErrClock), errors.Is(err, ErrReadOnly): // which was logged
		case err != nil:
			s.log.Error("sweep failed", "error", err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil
		}
	}
}
