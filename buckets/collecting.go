package buckets

import (
	"cmp"
	"context"
	"errors"
	"sync"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/manifest"
)

// A Collection says how a store collects by itself. The zero value is the
// default.
type Collection struct {
	Off      bool          // only Collect collects
	Interval time.Duration // from the end of a collection to the next; 0 is an hour
	Rate     int64         // bytes a second that packs are rewritten with; 0 is 32 MiB
	MaxWait  time.Duration // how long uploads under way keep what they may use; 0 is a day
}

const (
	collectInterval = time.Hour
	collectRate     = 32 << 20
	// collectStart is the time that a store is left to its users when it was opened,
	// unless the interval is shorter.
	collectStart = time.Minute
	// collectRetry is the time between two attempts while another process collects.
	collectRetry = time.Second
)

// collecting is what of collection is under way in this process.
type collecting struct {
	policy    Collection
	store     *collect.Store
	collector *collect.Collector
	turn      chan struct{} // holds a token while a collection is under way
	wanted    chan struct{} // holds a token while one should come soon

	mu     sync.Mutex
	paused bool
	giveUp context.CancelFunc // of the collection that the store began by itself
	now    *collect.Progress  // nil while none is under way
	last   *collect.Report    // of the last one that was no dry run
}

func newCollecting(s *Store, policy Collection) *collecting {
	policy.Interval = cmp.Or(policy.Interval, collectInterval)
	policy.Rate = cmp.Or(policy.Rate, collectRate)
	c := &collecting{policy: policy, turn: make(chan struct{}, 1), wanted: make(chan struct{}, 1)}
	c.store = &collect.Store{Meta: s.meta, Chunks: s.chunks, Now: s.now, Log: s.log, Settle: s.settleEarlier,
		Update: func(ctx context.Context, domain string, fn func(tx manifest.Tx) error) error {
			return s.updateRows(ctx, func() string { return domain }, fn)
		}, IsOverdue: s.isOverdue}
	c.collector = collect.NewCollector(c.store)
	return c
}

// CollectStatus says what of collection is under way in this process.
type CollectStatus struct {
	Paused  bool
	Running *collect.Progress // nil while none is under way
	Last    *collect.Report   // of the last one that was no dry run; nil before the first
}

// CollectStatus returns what of collection is under way in this process.
func (s *Store) CollectStatus() CollectStatus {
	c := s.collecting
	c.mu.Lock()
	defer c.mu.Unlock()
	return CollectStatus{Paused: c.paused, Running: c.now, Last: c.last}
}

// PauseCollect keeps Run from collecting, or lets it again. What Run has begun is
// given up; Collect goes on.
func (s *Store) PauseCollect(paused bool) {
	c := s.collecting
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.paused = paused; paused && c.giveUp != nil {
		c.giveUp()
	}
}

// Collect gives back the space of what nothing needs any more, once. While
// another collection is under way, in this process or in another one on the same
// metadata, it waits for its end. To give it up harms nothing. A store that takes
// no changes is not collected.
func (s *Store) Collect(ctx context.Context, opts *collect.Options) (_ *collect.Report, err error) {
	ctx, end := s.untilClosed(ctx)
	defer end(&err)
	var o collect.Options
	if opts != nil {
		o = *opts
	}
	tell := o.Progress
	if tell == nil {
		tell = func(collect.Progress) {}
	}
	tell(collect.Progress{Phase: "waiting"})
	c := s.collecting
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { <-c.turn }()
	// A database that is older than its packs does not know what is needed; and
	// each number that it takes makes it look younger.
	if err := s.checkWritable(ctx); errors.Is(err, ErrReadOnly) && !o.DryRun {
		return nil, err
	}
	if err := s.dropLeft(ctx); err != nil {
		return nil, WrapSpace(err)
	}
	note := func(p *collect.Progress) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.now = p
	}
	defer note(nil)
	o.Progress = func(p collect.Progress) { note(&p); tell(p) }
	for {
		r, err := c.collector.Run(ctx, &o)
		if !errors.Is(err, collect.ErrRunning) {
			if err == nil && !o.DryRun {
				c.keepLast(r)
			}
			return r, WrapSpace(err)
		}
		o.Progress(collect.Progress{Phase: "waiting"})
		select {
		case <-time.After(collectRetry):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (c *collecting) keepLast(r *collect.Report) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = r
}

// runCollect collects when it is due, until ctx is done. At most half of the time
// goes to it.
func (s *Store) runCollect(ctx context.Context) error {
	policy := &s.collecting.policy
	if policy.Off {
		return nil
	}
	wait := min(policy.Interval, collectStart)
	var rest time.Duration // before one that is wanted
	for {
		due := time.After(wait)
		select {
		case <-time.After(rest):
		case <-ctx.Done():
			return nil
		}
		select {
		case <-due:
		case <-s.collecting.wanted:
		case <-ctx.Done():
			return nil
		}
		began := time.Now()
		s.collectDue(ctx)
		rest = time.Since(began)
		wait = max(policy.Interval, rest)
	}
}

// wantCollection makes Run collect before it is due.
func (s *Store) wantCollection() {
	select {
	case s.collecting.wanted <- struct{}{}:
	default:
	}
}

// wrapSpace is WrapSpace for content that was not taken: a collection may make room
// for the next.
func (s *Store) wrapSpace(err error) error {
	if err = WrapSpace(err); errors.Is(err, ErrNoSpace) {
		s.wantCollection()
	}
	return err
}

// collectDue collects, unless that is paused, and logs what came of it.
func (s *Store) collectDue(ctx context.Context) {
	c := s.collecting
	ctx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	c.mu.Lock()
	paused := c.paused
	c.giveUp = giveUp
	c.mu.Unlock()
	if paused || s.checkWritable(ctx) != nil { // which was logged
		return
	}
	r, err := s.Collect(ctx, &collect.Options{Rate: c.policy.Rate, MaxWriterAge: c.policy.MaxWait})
	switch {
	case ctx.Err() != nil, errors.Is(err, ErrReadOnly):
	case err != nil:
		s.log.Error("collection failed; it is tried again", "after", c.policy.Interval, "error", err)
	default:
		s.logCollected(r)
	}
}

// logCollected logs what a collection has changed.
func (s *Store) logCollected(r *collect.Report) {
	for i := range r.Domains {
		if d := &r.Domains[i]; d.DroppedChunks+d.DeletedPacks+d.RewrittenPacks > 0 {
			s.log.Info("collected", "backend", d.Domain, "dropped_chunks", d.DroppedChunks, "deleted_packs", d.DeletedPacks, "freed_bytes", d.FreedBytes,
				"rewritten_packs", d.RewrittenPacks, "copied_bytes", d.CopiedBytes, "waiting_chunks", d.WaitingChunks, "dead_bytes", d.DeadBytes,
				"took", r.Ended.Sub(r.Started))
		}
	}
}
