package buckets

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// ErrClock reports that the clock stands far beyond the latest time that the
// store has seen. Until an operator says that it is right, nothing is swept.
var ErrClock = errors.New("the clock has jumped ahead: nothing is removed until an operator confirms the time (serve --trust-clock), or the clock goes back")

// maxClockGap is how far the clock may stand beyond the latest time seen. A
// store that was closed longer waits for an operator's word before it removes
// what has expired; all else goes on.
const maxClockGap = 7 * 24 * time.Hour

// A clock gives the time that rows are stamped with, and the time that they are
// removed by. The two differ where the machine's clock may be wrong: stamps never
// go back behind a time seen before, and nothing is removed by a time that has
// jumped ahead.
type clock struct {
	machine func() time.Time

	// mu guards what follows.
	mu sync.Mutex
	// seen is the latest time that was taken for right, zero while unknown. kept
	// is that of it which is durable: at most a minute older.
	seen, kept time.Time
	// held says that the machine's clock is more than maxClockGap beyond seen.
	held bool
}

func (c *clock) read() time.Time { return c.machine().UTC().Truncate(time.Millisecond) }

// now is the time that rows are stamped with, as rows keep it. It does not go
// back behind what was seen, so that rows made under a clock that is slow are
// not taken for old ones later.
func (s *Store) now() time.Time {
	t := s.clock.read()
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	if t.Before(s.clock.seen) {
		return s.clock.seen
	}
	return t
}

// removalTime is the time by which rows are removed: the machine's or, where that
// has jumped ahead, the latest that was seen.
func (s *Store) removalTime() time.Time {
	t, c := s.clock.read(), &s.clock
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.Before(c.seen) || c.seen.IsZero() || t.Sub(c.seen) > maxClockGap {
		return c.seen
	}
	return t
}

// seeTime reads the clock and keeps the time as the latest seen, or fails with
// ErrClock.
func (s *Store) seeTime(ctx context.Context) error {
	c := &s.clock
	t := c.read()
	c.mu.Lock()
	seen, kept := c.seen, c.kept
	c.mu.Unlock()
	if seen.IsZero() {
		var err error
		if seen, err = s.newestRow(ctx); err != nil {
			return err
		}
		// A row may have been stamped by a clock that ran ahead, so its time
		// counts only up to the machine's.
		if seen.After(t) {
			seen = t
		}
	}
	if !seen.IsZero() && t.Sub(seen) > maxClockGap {
		c.mu.Lock()
		first := !c.held
		c.held, c.seen = true, seen
		c.mu.Unlock()
		err := fmt.Errorf("it is %s, and the latest time seen is %s: %w", t.Format(time.RFC3339), seen.Format(time.RFC3339), ErrClock)
		if first {
			s.log.Error("nothing is swept", "error", err)
		}
		return err
	}
	if t.Before(seen) {
		t = seen
	}
	return s.setSeen(ctx, t, kept)
}

// setSeen notes a time as the latest seen, unless another sweep has seen a later
// one meanwhile. It is made durable once a minute.
func (s *Store) setSeen(ctx context.Context, t, kept time.Time) error {
	s.clock.mu.Lock()
	if t.Before(s.clock.seen) {
		t = s.clock.seen
	}
	s.clock.mu.Unlock()
	if t.Sub(kept) >= time.Minute {
		if err := s.meta.SetLatestTime(ctx, t); err != nil {
			return WrapSpace(err)
		}
		kept = t
	}
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	s.clock.held = false
	if t.After(s.clock.seen) {
		s.clock.seen = t
	}
	if kept.After(s.clock.kept) {
		s.clock.kept = kept
	}
	return nil
}

// loadClock reads the latest time seen. It writes nothing, so that a store on a
// full disk opens. Each sweep keeps the time.
func (s *Store) loadClock(ctx context.Context) error {
	c := &s.clock
	seen, err := s.meta.LatestTime(ctx)
	if err != nil {
		return err
	}
	if seen.IsZero() {
		known, err := s.meta.Buckets(ctx)
		if err == nil && len(known) == 0 {
			c.seen = c.read() // a new store
		}
		return err // else one made anew from its packs: the first sweep looks at its rows
	}
	c.seen, c.kept = seen, seen
	if c.held = c.read().Sub(c.seen) > maxClockGap; c.held {
		s.log.Error("nothing is swept", "seen", c.seen, "error", ErrClock)
	}
	return nil
}

// newestRow is when the latest change to a file was made, zero without files.
func (s *Store) newestRow(ctx context.Context) (newest time.Time, err error) {
	for f, err := range s.meta.AllFiles(ctx) {
		if err != nil {
			return newest, err
		}
		if f.UpdatedAt.After(newest) {
			newest = f.UpdatedAt
		}
	}
	return newest, nil
}

// TrustClock says that the clock is right, however far it stands beyond the
// latest time seen: what has expired by it is removed from now on.
func (s *Store) TrustClock(ctx context.Context) error {
	return s.setSeen(ctx, s.now(), time.Time{})
}

// ClockError is ErrClock while nothing is removed because of the clock.
func (s *Store) ClockError() error {
	s.clock.mu.Lock()
	defer s.clock.mu.Unlock()
	if s.clock.held {
		return ErrClock
	}
	return nil
}
