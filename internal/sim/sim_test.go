package sim

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
)

// runSeed runs one seed, and returns its world.
func runSeed(t *testing.T, seed uint64, steps int) (*world, error) {
	t.Helper()
	runtime.GC()
	cryptotest.SetGlobalRandom(t, seed)
	w := newWorld(planOf(seed, steps))
	err := w.run(context.Background())
	if err != nil {
		err = fmt.Errorf("seed %d (%+v), step %d:\n%w\n%s", seed, w.plan, w.s.steps.Load(), err, strings.Join(w.s.last, "\n"))
	}
	return w, err
}

// alone gives the scheduler what it needs: one processor, and no collection of
// garbage while goroutines are watched.
func alone(t *testing.T) {
	n, gc := runtime.GOMAXPROCS(1), debug.SetGCPercent(-1)
	t.Cleanup(func() {
		runtime.GOMAXPROCS(n)
		debug.SetGCPercent(gc)
	})
}

func readNumber(t *testing.T, name string, otherwise int) int {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.Atoi(v)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSimulation runs seeds. CAIRN_SEED and CAIRN_SEEDS=1 run one again that has
// failed; a second or third time may be needed, see TestReplay.
func TestSimulation(t *testing.T) {
	alone(t)
	steps, first := readNumber(t, "CAIRN_STEPS", 400), uint64(readNumber(t, "CAIRN_SEED", 1))
	seeds := readNumber(t, "CAIRN_SEEDS", 3*readNumber(t, "CAIRN_SOAK", 1))
	total := int64(0)
	for i := range uint64(seeds) {
		w, err := runSeed(t, first+i, steps)
		if err != nil {
			t.Fatal(err)
		}
		total += w.s.steps.Load()
		if i%100 == 99 || i == uint64(seeds)-1 {
			t.Logf("%d seeds, %d steps", i+1, total)
		}
	}
}

// The same seed does the same steps. What the runtime decides by chance (which
// case of a select, which key of a map comes first) the scheduler cannot: a few
// seeds go another way now and then, and are run again.
func TestReplay(t *testing.T) {
	if os.Getenv("CAIRN_SOAK") == "" {
		t.Skip("beside other work more seeds go another way: it runs with CAIRN_SOAK, alone")
	}
	alone(t)
	seeds, others := 10, 0
	for seed := range uint64(seeds) {
		var hash uint64
		for i := range 2 {
			w, err := runSeed(t, seed, 300)
			if err != nil {
				t.Fatal(err)
			}
			if i > 0 && w.s.hash != hash {
				others++
			}
			hash = w.s.hash
		}
	}
	t.Logf("%d of %d seeds did other steps the second time", others, seeds)
	if others > seeds/2 {
		t.Error("a failing seed cannot be replayed")
	}
}
