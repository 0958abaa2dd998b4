package collect

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// A cycle is the collection of one domain.
type cycle struct {
	*Store
	collector *Collector
	opts      *Options
	domain    string
	chunks    *cas.Store
	index     cas.Index
	lease     manifest.Lease
	limit     *rate.Limiter // of what is copied

	report DomainReport
	freed  tally
	marks  *marks // nil while nothing is marked

	// dying are the plain bytes of frames that a dry run would have dropped; nil if
	// it is none.
	dying *digests.Log
	held  *heldChunks // nil unless it is told what keeps dead chunks
}

func newCycle(s *Store, domain string, opts *Options) *cycle {
	chunks := s.Chunks[domain]
	return &cycle{Store: s, opts: opts, domain: domain, chunks: chunks, index: chunks.Index(), freed: make(tally), report: DomainReport{Domain: domain}}
}

// leaseLength is how long another collector waits for one that died. The lease is
// renewed three times in that time.
const leaseLength = 90 * time.Second

// runCycle makes the cycle: it raises the epoch and the floor, marks, drops, and gives
// packs back.
func (d *cycle) runCycle(ctx context.Context) error {
	if d.opts.DryRun {
		return d.planCycle(ctx)
	}
	var err error
	if d.lease, err = d.Meta.TakeLease(ctx, d.domain, leaseLength); err != nil {
		return err
	}
	ctx, end := d.holdLease(ctx)
	defer end()
	if err := d.runSteps(ctx); err != nil {
		return cmp.Or(context.Cause(ctx), err)
	}
	return nil
}

// holdLease renews the lease until end is called, which gives it back. The context
// ends when the lease is lost.
func (d *cycle) holdLease(ctx context.Context) (held context.Context, end func()) {
	held, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(leaseLength / 3)
		defer tick.Stop()
		for {
			select {
			case <-held.Done():
				return
			case <-tick.C:
			}
			err := d.Meta.RenewLease(held, d.lease, leaseLength)
			if errors.Is(err, cas.ErrFenced) {
				cancel(err)
				return
			} // any other may pass, and changes are checked
		}
	})
	return held, func() {
		cancel(nil)
		wg.Wait()
		if err := d.Meta.ReleaseLease(context.WithoutCancel(ctx), d.lease); err != nil {
			d.Log.Warn("the lease of a collection was not given back: the next one waits for its end", "backend", d.domain, "error", err)
		}
	}
}

func (d *cycle) runSteps(ctx context.Context) error {
	if err := d.chunks.SealOpen(ctx); err != nil {
		d.noteProblem("the open pack cannot be sealed", err)
	}
	before, err := d.readSight(ctx)
	if err != nil {
		return err
	}
	if last, ok := d.collector.quiet[d.domain]; ok && last.sight == before && !before.leftovers {
		d.report = last.report
		d.report.Unchanged = true
		return d.giveBack(ctx)
	}
	delete(d.collector.quiet, d.domain)
	defer d.closeMarks()
	if err := d.dropDead(ctx); err != nil {
		return err
	}
	if err := d.giveBack(ctx); err != nil {
		return err
	}
	if err := d.dropLeftovers(ctx); err != nil {
		return fmt.Errorf("drop leftovers: %w", err)
	}
	return d.keepQuiet(ctx, before)
}

// leftoverBatch is how many leftovers one transaction removes.
const leftoverBatch = 1000

// dropLeftovers lets what ended before the cycle began count against nobody any
// more. What waits for a writer under way still takes space, so it still counts.
func (d *cycle) dropLeftovers(ctx context.Context) error {
	for n := leftoverBatch; n == leftoverBatch; {
		_, err := d.Meta.Update(ctx, "", func(tx manifest.Tx) (err error) {
			n, err = tx.DropLeftovers(ctx, d.domain, d.report.Floor, leftoverBatch)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// dropDead raises epoch and floor, marks what is needed, and drops the rest.
func (d *cycle) dropDead(ctx context.Context) error {
	if err := d.raiseFloor(ctx); err != nil {
		return err
	}
	d.marks = newMarks(d.opts.TempDir)
	// The roots are read only now that the floor is durable.
	if err := d.markAll(ctx, d.marks); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	if err := d.sweepAll(ctx, d.marks); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return nil
}

func (d *cycle) closeMarks() {
	if d.marks == nil {
		return
	}
	if err := d.marks.close(); err != nil {
		d.Log.Warn("temporary files of a collection were not removed", "error", err)
	}
}

// raiseFloor raises the epoch, and then the floor as far as the writers under way
// allow. Who registers after the epoch was raised begins at or above the floor.
func (d *cycle) raiseFloor(ctx context.Context) error {
	epoch, err := d.Meta.NextEpoch(ctx, d.domain)
	if err != nil {
		return fmt.Errorf("raise the epoch: %w", err)
	}
	floor, err := d.findFloor(ctx, epoch)
	if err != nil {
		return err
	}
	if err := d.Meta.RaiseFloor(ctx, d.lease, floor); err != nil {
		return fmt.Errorf("raise the floor: %w", err)
	}
	d.report.Epoch = epoch
	if d.report.Floor, err = d.Meta.Floor(ctx, d.domain); err != nil {
		return fmt.Errorf("read the floor: %w", err)
	}
	return nil
}

// findFloor returns the begin of the oldest writer that is waited for, or epoch. A
// writer that is passed by looks its chunks up again before it commits, so that
// the clock decides about nothing but work.
func (d *cycle) findFloor(ctx context.Context, epoch uint64) (uint64, error) {
	writers, err := d.Meta.Writers(ctx, d.domain)
	if err != nil {
		return 0, fmt.Errorf("list writers: %w", err)
	}
	floor := epoch
	for i := range writers {
		if d.waitsFor(&writers[i]) {
			floor = min(floor, writers[i].Begin)
		}
	}
	return floor, nil
}

// waitsFor reports whether a writer is young enough to be waited for.
func (d *cycle) waitsFor(w *manifest.Writer) bool { return time.Since(w.At) < d.opts.MaxWriterAge }

// planCycle finds out what a cycle would do, and changes nothing.
func (d *cycle) planCycle(ctx context.Context) error {
	return d.markDead(ctx, func() error { return d.planPacks(ctx) })
}

// markDead finds out what a cycle would drop, and calls then with that. It changes
// nothing.
func (d *cycle) markDead(ctx context.Context, then func() error) error {
	epoch, err := d.Meta.Epoch(ctx, d.domain)
	if err != nil {
		return err
	}
	// A cycle would raise the epoch first.
	d.report.Epoch = epoch + 1
	if d.report.Floor, err = d.findFloor(ctx, epoch+1); err != nil {
		return err
	}
	d.dying = digests.NewLog(d.opts.TempDir, digests.Sum)
	defer d.dying.Close()
	d.marks = newMarks(d.opts.TempDir)
	defer d.closeMarks()
	if err := d.markAll(ctx, d.marks); err != nil {
		return fmt.Errorf("mark: %w", err)
	}
	if err := d.sweepAll(ctx, d.marks); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	return then()
}

// noteProblem keeps for the report what went wrong, where the rest can go on.
func (d *cycle) noteProblem(what string, err error) {
	d.report.Problems = append(d.report.Problems, fmt.Sprintf("%s: %v", what, err))
}

// A sight is what tells whether anything can have died in a domain since a cycle
// that found nothing to do: a purge makes a commit, and an upload that leaves
// something behind has written to packs.
type sight struct {
	commit uint64 // the last one
	packs  int64
	bytes  int64 // of packs
	live   int64

	leftovers bool // a whole cycle ends them
	moves     int  // that stand: what they keep may go without a commit
}

func (d *cycle) readSight(ctx context.Context) (s sight, err error) {
	if s.commit, err = d.Meta.LastCommit(ctx); err != nil {
		return s, err
	}
	homes, err := d.Meta.Homes(ctx)
	if err != nil {
		return s, err
	}
	for _, h := range homes {
		if h.To != "" {
			s.moves++
		}
	}
	if s.leftovers, err = d.Meta.HasLeftovers(ctx, d.domain); err != nil {
		return s, err
	}
	for p, err := range d.index.AllPacks(ctx) {
		if err != nil {
			return s, err
		}
		s.packs++
		s.bytes += p.Size
		s.live += p.Live
	}
	return s, nil
}

// A quiet is what a cycle that found nothing to do has seen.
type quiet struct {
	sight
	report DomainReport
}

// keepQuiet notes a cycle in which nothing happened, so that the next one need not
// mark, if nothing happens until then. Parts of uploads are roots that go without
// a trace, and what waits becomes free without one.
func (d *cycle) keepQuiet(ctx context.Context, before sight) error {
	after, err := d.readSight(ctx)
	if err != nil {
		return err
	}
	if after == before && d.marks != nil && d.marks.uploads == 0 && d.report.WaitingChunks == 0 {
		d.collector.quiet[d.domain] = quiet{after, d.report}
	}
	return nil
}
