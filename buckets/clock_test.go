package buckets_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
)

const day = 24 * time.Hour

// A clocked is a store in a directory, with a clock that a test sets.
type clocked struct {
	t   *testing.T
	dir string
	now time.Time
	s   *buckets.Store
}

// newClocked returns a store that has something of all that expires.
func newClocked(t *testing.T) *clocked {
	c := &clocked{t: t, dir: t.TempDir(), now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	c.open()
	b := bucket(t, c.s, "demo")
	put(t, b, "f", "one", nil)
	put(t, b, "f", "two", nil)
	_, err := b.Delete(t.Context(), put(t, b, "g", "three", nil).ID, nil)
	must(t, err)
	_, err = uploads(b).Begin(t.Context(), "up", nil)
	must(t, err)
	return c
}

func (c *clocked) open() {
	c.t.Helper()
	var err error
	c.s, err = local.Open(c.t.Context(), c.dir, &local.Options{Now: func() time.Time { return c.now }, Buckets: map[string]buckets.Policy{
		"demo": {Domain: "local", Trash: buckets.Trash{KeepFor: 30 * day}, Versions: buckets.Versions{KeepFor: 30 * day}}}})
	must(c.t, err)
}

func (c *clocked) restart() {
	c.t.Helper()
	must(c.t, c.s.Close())
	c.open()
}

// swept sweeps and returns what went, or fails unless the error is want.
func (c *clocked) swept(want error) buckets.Swept {
	c.t.Helper()
	done, err := c.s.Sweep(c.t.Context())
	if !errors.Is(err, want) {
		c.t.Errorf("sweep at %v: %v, want %v", c.now, err, want)
	}
	return done
}

func TestSweepsByAClockThatJumps(t *testing.T) {
	everything := buckets.Swept{Files: 1, Versions: 1, Uploads: 1}
	tests := map[string]struct {
		do   func(c *clocked)
		want buckets.Swept // in the end, with the clock as do leaves it
		err  error
	}{
		"slow drift": {func(c *clocked) {
			for range 40 {
				c.now = c.now.Add(day)
				c.s.Sweep(c.t.Context())
			}
			c.now = c.now.Add(-40 * day) // all of it went on the way
		}, buckets.Swept{}, nil},
		"a month with restarts": {func(c *clocked) {
			for range 5 {
				c.swept(nil)
				c.now = c.now.Add(5 * day)
				c.restart()
			}
			c.swept(nil)
			c.now = c.now.Add(6 * day)
		}, buckets.Swept{Files: 1, Versions: 1}, nil},
		"ten years ahead, while it is open": {func(c *clocked) {
			c.swept(nil)
			c.now = c.now.Add(3650 * day)
		}, buckets.Swept{}, buckets.ErrClock},
		"ten years ahead, at a start": {func(c *clocked) {
			c.swept(nil)
			c.now = c.now.Add(3650 * day)
			c.restart()
		}, buckets.Swept{}, buckets.ErrClock},
		"ten years ahead, at several starts": {func(c *clocked) {
			c.swept(nil)
			c.now = c.now.Add(3650 * day)
			for range 3 {
				c.restart()
				c.swept(buckets.ErrClock)
			}
		}, buckets.Swept{}, buckets.ErrClock},
		"ten years ahead, before any sweep": {func(c *clocked) {
			c.now = c.now.Add(3650 * day)
			c.restart()
		}, buckets.Swept{}, buckets.ErrClock},
		"a row from ten years ahead, and no time seen": {func(c *clocked) {
			c.now = c.now.Add(3650 * day)
			put(c.t, bucket(c.t, c.s, "demo"), "h", "four", nil)
			c.now = c.now.Add(-3650 * day)
			c.restart()
		}, buckets.Swept{}, nil},
		"ahead and back": {func(c *clocked) {
			c.swept(nil)
			c.now = c.now.Add(3650 * day)
			c.swept(buckets.ErrClock)
			c.now = c.now.Add(-3649 * day)
		}, buckets.Swept{}, nil},
		"off for months, and an operator's word": {func(c *clocked) {
			c.swept(nil)
			c.now = c.now.Add(100 * day)
			c.restart()
			c.swept(buckets.ErrClock)
			must(c.t, c.s.TrustClock(c.t.Context()))
		}, everything, nil},
		"what is trashed before the operator's word keeps its time": {func(c *clocked) {
			c.swept(nil)
			c.now = c.now.Add(100 * day)
			c.restart()
			b := bucket(c.t, c.s, "demo")
			_, err := b.Delete(c.t.Context(), put(c.t, b, "h", "four", nil).ID, nil)
			must(c.t, err)
			must(c.t, c.s.TrustClock(c.t.Context()))
		}, everything, nil},
		"ten years back": {func(c *clocked) {
			c.swept(nil)
			c.now = c.now.Add(-3650 * day)
			c.restart()
		}, buckets.Swept{}, nil},
		"trashed while the clock was ten years back": {func(c *clocked) {
			c.swept(nil)
			c.now = c.now.Add(-3650 * day)
			c.restart()
			b := bucket(c.t, c.s, "demo")
			_, err := b.Delete(c.t.Context(), put(c.t, b, "h", "four", nil).ID, nil)
			must(c.t, err)
			c.swept(nil)
			c.now = c.now.Add(3650*day + time.Hour)
			c.restart()
		}, buckets.Swept{}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newClocked(t)
			tt.do(c)
			if got := c.swept(tt.err); got != tt.want {
				t.Errorf("swept %+v, want %+v", got, tt.want)
			}
			if held := c.s.ClockError(); (held != nil) != (tt.err != nil) {
				t.Errorf("ClockError %v", held)
			}
			must(t, c.s.Close())
		})
	}
}

// A commit removes no version by a clock that has jumped.
func TestCommitByAClockThatJumps(t *testing.T) {
	c := newClocked(t)
	c.swept(nil)
	c.now = c.now.Add(3650 * day)
	b := bucket(t, c.s, "demo")
	f, err := b.Put(t.Context(), "f", strings.NewReader("three"), nil)
	must(t, err)
	if f.VersionsCount != 3 {
		t.Errorf("%d versions are left of 3", f.VersionsCount)
	}
	must(t, c.s.Close())
}
