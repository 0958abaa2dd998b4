package collect_test

import (
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/internal/race"
)

// littered is a store with something for every step of a cycle: files, purged
// ones, what an upload has left, a writer under way, a pack that is mostly dead.
func littered(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	for i := range 6 {
		w.put(fmt.Sprint("file", i), random(uint64(i), 150<<10+i*70<<10))
	}
	w.store(random(20, 300<<10)).end()
	w.put("late", random(30, 100<<10))
	w.purge("file1", "file2", "file4")
	w.close()
	return w
}

// eachStep calls try with every n-th call of a cycle, in order, and whether the call
// is made before it fails. Few of them are tried without CAIRN_SOAK.
func eachStep(t *testing.T, w *world, try func(c *world, at int, after bool)) {
	t.Helper()
	c := w.copyWorld()
	c.open()
	c.collect(&collect.Options{Full: true})
	total := c.steps.n
	c.close()
	stride := 29
	if os.Getenv("CAIRN_SOAK") != "" {
		stride = 1
	}
	for at := 1; at <= total; at += stride {
		for _, after := range []bool{false, true} {
			c := w.copyWorld()
			c.open()
			c.steps.at, c.steps.after = c.steps.n+at, after
			try(c, at, after)
			c.close()
		}
	}
}

// A collector that is killed at any call loses nothing, and the next one ends its
// work: as much is freed as without the kill, and the ledger tells of all of it.
func TestKilledAnywhere(t *testing.T) {
	race.LeaveOut(t)
	w := littered(t)
	c := w.copyWorld()
	c.open()
	before := c.size()
	for range 2 {
		c.collect(&collect.Options{Full: true})
	}
	want := before - c.size()
	c.close()
	eachStep(t, w, func(c *world, at int, after bool) {
		_, err := c.collector().Run(t.Context(), &collect.Options{Full: true})
		if c.steps.killed != nil && err != nil && !errors.Is(err, errKilled) {
			t.Fatalf("at %d: %v", at, err)
		}
		what := c.steps.killed
		c.reopen()
		c.check()
		for range 2 {
			c.collect(&collect.Options{Full: true})
		}
		c.check()
		if freed := before - c.size(); freed < want-16<<10 {
			t.Errorf("%v (made %v): %d bytes were freed in the end, want %d", what, after, freed, want)
		}
		c.checkSums(fmt.Sprint(what))
	})
}

// A call that fails once fails the cycle or is passed by, and loses nothing. The
// next cycle in the same process ends the work.
func TestFailsAnywhere(t *testing.T) {
	race.LeaveOut(t)
	w := littered(t)
	eachStep(t, w, func(c *world, at int, after bool) {
		c.steps.once = true
		_, err := c.collector().Run(t.Context(), &collect.Options{Full: true})
		if err != nil && !errors.Is(err, errKilled) {
			t.Fatalf("at %d: %v", at, err)
		}
		c.steps.at = 0
		c.check()
		if l, err := c.meta.TakeLease(t.Context(), domain, time.Minute); errors.Is(err, collect.ErrRunning) {
			c.reopen() // the lease was taken, or not given back, by the call that failed: it is waited for
		} else {
			must(t, c.meta.ReleaseLease(t.Context(), l))
		}
		for range 2 {
			c.collect(&collect.Options{Full: true})
		}
		c.check()
		if n := c.graves(); n > 0 {
			t.Errorf("%v: %d graves are left", c.steps.killed, n)
		}
	})
}

// checkSums checks that no pack stands in the ledger twice, or with more than it
// had.
func (w *world) checkSums(what string) {
	w.t.Helper()
	sums := make(map[string]int64)
	for e, err := range w.meta.Ledger(w.t.Context()) {
		must(w.t, err)
		if e.Bytes <= 0 {
			w.t.Errorf("%s: the ledger has an entry of %d bytes", what, e.Bytes)
		}
		sums[e.Pack.String()] += e.Bytes
	}
	for p, err := range w.chunks.Packs(w.t.Context()) {
		must(w.t, err)
		if sums[p.ID.String()] != 0 {
			w.t.Errorf("%s: the ledger has a pack that is there", what)
		}
	}
	for c, err := range w.meta.AllCharges(w.t.Context(), domain) {
		must(w.t, err)
		if sums[c.Pack.String()] != 0 {
			w.t.Errorf("%s: the ledger has a pack of which something waits", what)
		}
	}
}
