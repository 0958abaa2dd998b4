package buckets

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/scrub"
	"github.com/cairn-store/cairn/cas"
)

// A Scrubbing says how a store scrubs by itself. The zero value is the default.
type Scrubbing struct {
	Off      bool          // only Scrub scrubs
	Interval time.Duration // from the end of a scrub to the next; 0 is a day
	MaxAge   time.Duration // the age of a result after which a pack is read again; 0 is 30 days
	Rate     int64         // bytes a second that are read; 0 is 16 MiB
}

const (
	scrubInterval = 24 * time.Hour
	scrubRate     = 16 << 20
	// scrubStart is the time that a store is left to its users when it was opened,
	// unless the interval is shorter.
	scrubStart = 10 * time.Minute
)

// scrubbing is what of scrubs is under way in this process. Those of other processes
// do no harm: whoever marks a chunk compares first.
type scrubbing struct {
	policy Scrubbing
	turn   chan struct{} // holds a token while a scrub is under way

	mu     sync.Mutex
	asked  int                // calls of Scrub that are under way
	giveUp context.CancelFunc // of the scrub that the store began by itself
	now    *scrub.Progress    // nil while none is under way
	last   *scrub.Report
}

func newScrubbing(policy Scrubbing) *scrubbing {
	policy.Interval = cmp.Or(policy.Interval, scrubInterval)
	policy.MaxAge = cmp.Or(policy.MaxAge, scrub.DefaultMaxAge)
	policy.Rate = cmp.Or(policy.Rate, scrubRate)
	return &scrubbing{policy: policy, turn: make(chan struct{}, 1)}
}

// ScrubStatus says what of scrubs is under way in this process, and how old the
// results are.
type ScrubStatus struct {
	Running *scrub.Progress // nil while none is under way
	Last    *scrub.Report   // of the last one in this process; nil before the first
	Domains []scrub.State
}

// ScrubStatus returns what of scrubs is under way.
func (s *Store) ScrubStatus(ctx context.Context) (ScrubStatus, error) {
	domains, err := scrub.Look(ctx, s.scrubStore())
	c := s.scrubbing
	c.mu.Lock()
	defer c.mu.Unlock()
	return ScrubStatus{Running: c.now, Last: c.last, Domains: domains}, err
}

func (s *Store) scrubStore() *scrub.Store {
	return &scrub.Store{Meta: s.meta, Chunks: s.chunks, Holders: s.findHurt, Now: s.now, Log: s.log}
}

// Scrub reads stored bytes again and verifies them: those of packs that were not
// read for opts.MaxAge, or of all. What Run has begun is given up for it; while
// another call is under way in this process, it waits for its end. To give it up
// harms nothing: the next one goes on where it was. A store that takes no changes is
// read, and nothing is marked or noted.
func (s *Store) Scrub(ctx context.Context, opts *scrub.Options) (_ *scrub.Report, err error) {
	ctx, end := s.untilClosed(ctx)
	defer end(&err)
	var o scrub.Options
	if opts != nil {
		o = *opts
	}
	defer s.scrubbing.ask()()
	return s.scrubOnce(ctx, &o)
}

// ask gives up what Run has begun, and keeps it from beginning anew until the
// function that it returns is called.
func (c *scrubbing) ask() (end func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.asked++; c.giveUp != nil {
		c.giveUp()
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asked--
	}
}

// scrubOnce scrubs when it is its turn. It changes opts.
func (s *Store) scrubOnce(ctx context.Context, opts *scrub.Options) (*scrub.Report, error) {
	tell := opts.Progress
	if tell == nil {
		tell = func(scrub.Progress) {}
	}
	tell(scrub.Progress{Phase: "waiting"})
	c := s.scrubbing
	select {
	case c.turn <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-c.turn }()
	opts.ReadOnly = opts.ReadOnly || s.checkWritable(ctx) != nil
	opts.Progress = func(p scrub.Progress) { c.noteProgress(&p); tell(p) }
	defer c.noteProgress(nil)
	r, err := scrub.Run(ctx, s.scrubStore(), opts)
	if err != nil {
		return r, WrapSpace(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.last = r
	return r, nil
}

func (c *scrubbing) noteProgress(p *scrub.Progress) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = p
}

// findHurt finds the versions and uploads that need one of the digests.
func (s *Store) findHurt(ctx context.Context, domain string, wanted func(cas.Digest) bool, fn func(*scrub.Hurt) error) error {
	unread, err := collect.FindHolders(ctx, s.collecting.store, domain, wanted, func(h *collect.Holder) error {
		return fn(&scrub.Hurt{Bucket: h.Bucket, Path: h.Path, File: h.File, Version: h.Version, Upload: h.Upload})
	})
	if unread > 0 {
		s.log.Error("parts of chunk lists cannot be read: files that need damaged chunks may be missing in the report", "backend", domain, "segments", unread)
	}
	return err
}

// runScrub scrubs when it is due, until ctx is done.
func (s *Store) runScrub(ctx context.Context) error {
	policy := &s.scrubbing.policy
	if policy.Off {
		return nil
	}
	soon := min(policy.Interval, scrubStart)
	for wait := soon; ; {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil
		}
		wait = policy.Interval
		if !s.scrubDue(ctx) {
			wait = soon
		}
	}
}

// scrubDue scrubs and logs what came of it. It returns false if it gave way to a
// call of Scrub.
func (s *Store) scrubDue(ctx context.Context) bool {
	c := s.scrubbing
	own, giveUp := context.WithCancel(ctx)
	defer giveUp()
	c.mu.Lock()
	asked := c.asked > 0
	c.giveUp = giveUp
	c.mu.Unlock()
	if asked {
		return false
	}
	r, err := s.scrubOnce(own, &scrub.Options{MaxAge: c.policy.MaxAge, Rate: c.policy.Rate})
	switch {
	case ctx.Err() != nil:
	case own.Err() != nil:
		return false
	case err != nil:
		s.log.Error("scrub failed; it goes on later", "after", c.policy.Interval, "error", err)
	default:
		s.logScrubbed(r)
	}
	return true
}

// logScrubbed logs what a scrub has read. What is damaged was logged as it was found.
func (s *Store) logScrubbed(r *scrub.Report) {
	for i := range r.Domains {
		if d := &r.Domains[i]; d.Packs > 0 || d.FailedPacks > 0 {
			s.log.Info("scrubbed", "backend", d.Domain, "packs", d.Packs, "bytes", d.Bytes, "bad_chunks", d.BadChunks, "failed_packs", d.FailedPacks,
				"hurt", d.HurtVersions, "took", r.Ended.Sub(r.Started))
		}
	}
}
