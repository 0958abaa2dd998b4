package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// An outbox counts which commits of the metadata store are in the packs. A commit
// may rest on all that were decided before it, so its caller is answered only
// when those are in the packs too: a rebuild always finds everything up to some
// moment.
type outbox struct {
	// mu guards what follows, up to failed.
	mu sync.Mutex
	// cond is broadcast when low or failed rises.
	cond sync.Cond
	// low: every commit up to this number is in the packs.
	low uint64
	// done holds the numbers of commits beyond low that are in the packs, by the
	// number of the commit before each.
	done map[uint64]uint64
	// failed is the highest number of a commit that could not be written to the
	// packs. While it is above low, only catchUp can raise low past it.
	failed uint64

	// catching lets one goroutine at a time catch up.
	catching sync.Mutex
}

func newOutbox(low uint64) *outbox {
	o := &outbox{low: low, done: make(map[uint64]uint64)}
	o.cond.L = &o.mu
	return o
}

// markWritten notes that the records of a commit are in the packs.
func (o *outbox) markWritten(c *manifest.Commit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.Prev > o.low {
		o.done[c.Prev] = c.Seq
		return
	}
	o.raiseLow(c.Seq)
}

// markAll notes that every commit up to seq is in the packs.
func (o *outbox) markAll(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.raiseLow(seq)
}

// raiseLow raises low to seq, and on while the next commit is in done. Not every
// number is a commit's. The caller holds mu.
func (o *outbox) raiseLow(seq uint64) {
	o.low = max(o.low, seq)
	for more := true; more; {
		more = false
		for prev, seq := range o.done {
			if prev <= o.low {
				delete(o.done, prev)
				o.low = max(o.low, seq)
				more = true
			}
		}
	}
	o.cond.Broadcast()
}

// markFailed notes that a commit could not be written to the packs.
func (o *outbox) markFailed(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = max(o.failed, seq)
	o.cond.Broadcast()
}

// awaitSettled waits until all commits up to seq are in the packs, and returns
// true, or until one could not be written, and returns false.
func (o *outbox) awaitSettled(seq uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.low < seq && o.failed <= o.low {
		o.cond.Wait()
	}
	return o.low >= seq
}

// errUnsettled reports a transaction that wrote nothing, and may have read a commit
// that could not be written to the packs yet. settleEarlier brings it there, and
// so does a transaction that writes.
var errUnsettled = errors.New("earlier changes are still to be made durable")

// updateRows runs a transaction and makes its records durable in the packs of a
// domain: the metadata store decides, then the records are appended, then
// updateRows returns.
func (s *Store) updateRows(ctx context.Context, domain func() string, fn func(tx manifest.Tx) error) error {
	if err := s.checkWritable(ctx); err != nil {
		return err
	}
	return s.updateRowsUnchecked(ctx, domain, fn)
}

// updateRowsUnchecked is updateRows without checkWritable, for opening and moves.
func (s *Store) updateRowsUnchecked(ctx context.Context, domain func() string, fn func(tx manifest.Tx) error) error {
	if err := s.life.Enter(); err != nil {
		return err
	}
	defer s.life.Leave()
	s.moving.RLock()
	c, err := s.meta.Update(ctx, domain(), s.audited(ctx, fn)) // the domain does not change under moving
	s.feed.add(c, err)
	s.moving.RUnlock()
	s.audit.notice()
	if c == nil {
		if err == nil {
			err = s.awaitEarlier(ctx)
		}
		return WrapSpace(err)
	}
	return s.bringToPacks(ctx, c, err)
}

// awaitEarlier waits until all commits that a transaction may have read are in
// the packs. It is for transactions that wrote nothing.
func (s *Store) awaitEarlier(ctx context.Context) error {
	last, err := s.meta.LastCommit(ctx)
	if err == nil && !s.outbox.awaitSettled(last) {
		err = errUnsettled // what it has read may still be lost
	}
	return err
}

// settleEarlier returns when all commits made so far are in the packs. It writes
// those whose own callers could not.
func (s *Store) settleEarlier(ctx context.Context) error {
	last, err := s.meta.LastCommit(ctx)
	for err == nil && !s.outbox.awaitSettled(last) {
		err = s.catchUp(ctx, last)
	}
	return WrapSpace(err)
}

// bringToPacks writes the records of a commit to the packs, and waits until those
// of earlier commits are there. err is the error of the transaction: with one the
// commit may not have been made, and counts as not written.
func (s *Store) bringToPacks(ctx context.Context, c *manifest.Commit, err error) error {
	settled := false
	defer func() {
		if !settled {
			s.outbox.markFailed(c.Seq)
		}
	}()
	if err != nil {
		return WrapSpace(err)
	}
	ctx = context.WithoutCancel(ctx) // the commit is decided
	if err := s.writeRecords(ctx, c); err != nil {
		return WrapSpace(err)
	}
	settled = true
	for !s.outbox.awaitSettled(c.Seq) {
		if err := s.catchUp(ctx, c.Seq); err != nil {
			return WrapSpace(err)
		}
	}
	return nil
}

// updateLocal runs a transaction that makes no records: of uploads, grants, keys,
// homes. It does not wait for the packs, and a rebuild from packs does not find
// what it wrote.
func (s *Store) updateLocal(ctx context.Context, fn func(tx manifest.Tx) error) error {
	if err := s.checkWritable(ctx); err != nil {
		return err
	}
	return s.updateLocalUnchecked(ctx, fn)
}

// updateLocalUnchecked is updateLocal without checkWritable, for opening and moves.
func (s *Store) updateLocalUnchecked(ctx context.Context, fn func(tx manifest.Tx) error) error {
	if err := s.life.Enter(); err != nil {
		return err
	}
	defer s.life.Leave()
	s.moving.RLock()
	defer s.moving.RUnlock()
	_, err := s.meta.Update(ctx, "", s.audited(ctx, fn))
	s.audit.notice()
	return WrapSpace(err)
}

// writeRecords appends the records of a commit to the packs of its domain.
func (s *Store) writeRecords(ctx context.Context, c *manifest.Commit) error {
	chunks := s.chunks[c.Domain]
	if chunks == nil {
		return fmt.Errorf("no backend is called %q any more, and it has not been told of all changes", c.Domain)
	}
	if err := chunks.AppendRecords(ctx, &cas.Records{Commit: c.Seq, Slots: c.Slots}); err != nil {
		return err
	}
	if err := s.meta.Written(ctx, c.Seq); err != nil {
		return err
	}
	s.outbox.markWritten(c)
	return nil
}

// appendRecords appends records that no transaction has made to the packs of a
// domain, under commit numbers of their own.
func (s *Store) appendRecords(ctx context.Context, domain string, rs []manifest.Record) error {
	for len(rs) > 0 {
		seq, err := s.meta.TakeNumber(ctx)
		if err != nil {
			return err
		}
		slots, n, err := manifest.EncodeSome(seq, rs)
		if err != nil {
			return err
		}
		if err := s.chunks[domain].AppendRecords(ctx, &cas.Records{Commit: seq, Slots: slots}); err != nil {
			return err
		}
		rs = rs[n:]
	}
	return nil
}

const (
	// catchUpCommits is how many commits catchUp writes side by side, and
	// catchUpBytes how many bytes of records they have together.
	catchUpCommits = 64
	catchUpBytes   = 2 * manifest.MaxCommit
)

// catchUp writes the records of the unwritten commits up to a number to the
// packs. Some of them may be written by others at the same time: a record that
// is there twice changes nothing. Later commits may not be durable in the
// metadata store yet.
func (s *Store) catchUp(ctx context.Context, seq uint64) error {
	o := s.outbox
	o.catching.Lock()
	defer o.catching.Unlock()
	size := semaphore.NewWeighted(catchUpBytes)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(catchUpCommits)
	for c, err := range s.meta.Unwritten(ctx) {
		if err != nil {
			return errors.Join(err, g.Wait())
		}
		if c.Seq > seq {
			break
		}
		n := min(int64(c.Size()), catchUpBytes)
		if size.Acquire(gctx, n) != nil {
			break // a write has failed
		}
		g.Go(func() error {
			defer size.Release(n)
			return s.writeRecords(gctx, c)
		})
	}
	if err := cmp.Or(g.Wait(), ctx.Err()); err != nil {
		return err // some may not have been begun
	}
	o.markAll(seq)
	return nil
}
