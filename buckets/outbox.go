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

// An outbox follows the commits that the metadata store has decided on their
// way into the packs. A commit may rest on all that were decided before it,
// so it is answered only when the packs hold those too: what a rebuild finds
// is always all up to some moment.
type outbox struct {
	mu     sync.Mutex
	cond   sync.Cond         // told when low or failed rises
	low    uint64            // every commit up to here is in the packs
	done   map[uint64]uint64 // commits beyond low that are, by the number of the commit before
	failed uint64            // the highest that did not get there: until low is there too, catchUp must bring some

	catching sync.Mutex // held by who catches up
}

func newOutbox(low uint64) *outbox {
	o := &outbox{low: low, done: make(map[uint64]uint64)}
	o.cond.L = &o.mu
	return o
}

// markWritten notes that a commit is in the packs.
func (o *outbox) markWritten(c *manifest.Commit) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c.Prev > o.low {
		o.done[c.Prev] = c.Seq
		return
	}
	o.raiseLow(c.Seq)
}

// markAll notes that all commits up to seq that there are are in the packs.
func (o *outbox) markAll(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.raiseLow(seq)
}

// raiseLow raises low to seq, and beyond where the commits that follow are done.
// Not every number is a commit's. It is called with mu held.
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

// markFailed notes that a commit did not get to the packs.
func (o *outbox) markFailed(seq uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.failed = max(o.failed, seq)
	o.cond.Broadcast()
}

// awaitSettled waits until all commits up to seq are in the packs, or it is known
// that one is not.
func (o *outbox) awaitSettled(seq uint64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.low < seq && o.failed <= o.low {
		o.cond.Wait()
	}
	return o.low >= seq
}

// errBehind says that a transaction wrote nothing, and that some commit that
// it may have seen has not got to the packs: one that writes brings it there.
var errBehind = errors.New("earlier changes are still to be made durable")

// updateRows runs a transaction and makes its records durable in the packs: the
// metadata store decides, then the packs learn, then the caller may answer.
func (s *Store) updateRows(ctx context.Context, domain func() string, fn func(tx manifest.Tx) error) error {
	if err := s.checkWritable(ctx); err != nil {
		return err
	}
	return s.applyRows(ctx, domain, fn)
}

// applyRows is update without a look at the gate.
func (s *Store) applyRows(ctx context.Context, domain func() string, fn func(tx manifest.Tx) error) error {
	s.moving.RLock()
	c, err := s.meta.Update(ctx, domain(), fn) // where nothing is moved meanwhile
	s.feed.add(c, err)
	s.moving.RUnlock()
	if c == nil {
		if err == nil {
			err = s.awaitEarlier(ctx)
		}
		return wrapSpace(err)
	}
	return s.bringToPacks(ctx, c, err)
}

// awaitEarlier waits for all that a transaction which wrote nothing may have seen.
func (s *Store) awaitEarlier(ctx context.Context) error {
	last, err := s.meta.LastCommit(ctx)
	if err == nil && !s.outbox.awaitSettled(last) {
		err = errBehind // what it saw may be lost yet
	}
	return err
}

// bringToPacks brings a commit, which may have failed with err, to the packs.
func (s *Store) bringToPacks(ctx context.Context, c *manifest.Commit, err error) error {
	settled := false
	defer func() {
		if !settled {
			s.outbox.markFailed(c.Seq)
		}
	}()
	if err != nil {
		return wrapSpace(err)
	}
	ctx = context.WithoutCancel(ctx) // it is decided
	if err := s.writeRecords(ctx, c); err != nil {
		return wrapSpace(err)
	}
	settled = true
	for !s.outbox.awaitSettled(c.Seq) {
		if err := s.catchUp(ctx, c.Seq); err != nil {
			return wrapSpace(err)
		}
	}
	return nil
}

// keepValues runs a transaction that writes values and no rows. It says nothing of
// rows, so it need not wait for what others have still to bring to the packs.
func (s *Store) keepValues(ctx context.Context, fn func(tx manifest.Tx) error) error {
	if err := s.checkWritable(ctx); err != nil {
		return err
	}
	return s.applyValues(ctx, fn)
}

// applyValues is keep without a look at the gate.
func (s *Store) applyValues(ctx context.Context, fn func(tx manifest.Tx) error) error {
	s.moving.RLock()
	defer s.moving.RUnlock()
	_, err := s.meta.Update(ctx, "", fn)
	return wrapSpace(err)
}

// writeRecords brings the records of a commit to the packs.
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

// appendRecords makes records that no transaction has decided durable in the
// packs of a domain, under numbers of their own.
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
	catchUpCommits = 64                     // brought to the packs side by side
	catchUpBytes   = 2 * manifest.MaxCommit // that they have together
)

// catchUp brings the records of the unwritten commits up to a number to the
// packs. Those on their way already may be brought twice, which changes
// nothing; those beyond may not be durable in the metadata store yet.
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
			break // one has failed
		}
		g.Go(func() error {
			defer size.Release(n)
			return s.writeRecords(gctx, c)
		})
	}
	if err := cmp.Or(g.Wait(), ctx.Err()); err != nil {
		return err // some were perhaps not begun
	}
	o.markAll(seq)
	return nil
}
