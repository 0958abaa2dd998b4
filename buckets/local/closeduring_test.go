package local_test

import (
	"context"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/crashfs"
)

// A closingTrial calls something, and closes the store at one of the calls that it makes of
// the database or the packs.
type closingTrial struct {
	name string
	at   int64
	// late lets the store close further before the call goes on.
	late time.Duration
}

// onFS are options of a store on f, whose calls h is told of.
func onFS(f *crashfs.FS, h *hooks) *local.Options {
	o := closingOptions()
	o.DiskFS, o.MetaFS, o.PackSize = f.Disk("store"), f.VFS(), 256<<10
	if h != nil {
		o.DiskFS = &hookedDisk{o.DiskFS, h}
		o.WrapMeta(func(d local.Database) local.Database { return &hookedMeta{d, h} })
	}
	return o
}

// run makes the trial in a store on options that verify opens again. It returns how many calls
// were made.
func (c closingTrial) run(t *testing.T, dir string, h *hooks, opts, verify *local.Options) int64 {
	t.Helper()
	left := checkLeaks(t)
	s, err := local.Open(t.Context(), dir, opts)
	must(t, err)
	in := newClosing(t, s)
	closed := make(chan error, 1)
	h.fn = func() {
		go func() { closed <- s.Close() }()
		awaitClosing(s)
		time.Sleep(c.late)
	}
	h.calls.Store(0)
	h.at.Store(c.at)
	ended := make(chan error, 1)
	go func() { ended <- closingCalls[c.name](context.WithoutCancel(t.Context()), in) }()
	await := func(what string, ch chan error) error {
		select {
		case err := <-ch:
			return err
		case <-time.After(30 * time.Second):
			p := make([]byte, 1<<20)
			t.Fatalf("%s has not ended\n%s", what, p[:runtime.Stack(p, true)])
			return nil
		}
	}
	if err := await("the call", ended); !mayFail(err) && !(c.at == 0 && c.name == "Store.Run") {
		t.Errorf("the call: %v", err)
	}
	n := h.calls.Load()
	h.at.Store(0)
	if c.at > 0 && n >= c.at {
		must(t, await("Close", closed))
	}
	in.object.Close()
	must(t, s.Close())
	left()

	report, err := local.Check(t.Context(), dir, &local.CheckOptions{Options: *verify})
	if err != nil || !report.OK {
		t.Errorf("check: %v, %+v", err, report)
	}
	s, err = local.Open(t.Context(), dir, verify)
	must(t, err)
	defer s.Close()
	for _, holds := range in.expect {
		holds(t, s)
	}
	return n
}

// closingNames are the calls to be closed: all, or those that do most, and some others.
func closingNames(r *rand.Rand, whole bool) []string {
	names := []string{"Bucket.Edit", "Bucket.Put", "Store.Collect", "Store.Run", "Uploads.Commit", "Uploads.ReceiveChunks"}
	all := slices.Sorted(maps.Keys(closingCalls))
	if whole {
		return all
	}
	for range 8 {
		names = append(names, all[r.IntN(len(all))])
	}
	return names
}

// TestCloseDuring closes the store at each call of database and packs that each of closingCalls
// makes, or at some of them. Then nothing panics, no goroutine stays, what was acknowledged is
// there, and check agrees.
func TestCloseDuring(t *testing.T) {
	seed := closingSeed(t)
	r := rand.New(rand.NewPCG(seed, 0))
	whole := os.Getenv("CAIRN_SOAK") != ""
	for _, name := range closingNames(r, whole) {
		t.Run(name, func(t *testing.T) {
			f, h := crashfs.New(), &hooks{}
			n := closingTrial{name: name}.run(t, "store", h, onFS(f, h), onFS(f, nil))
			for k := int64(1); k <= n; k++ {
				if !whole {
					k = 1 + r.Int64N(n)
				}
				c := closingTrial{name, k, time.Duration(r.IntN(3)) * time.Millisecond}
				f, h := crashfs.New(), &hooks{}
				if c.run(t, "store", h, onFS(f, h), onFS(f, nil)); t.Failed() {
					t.Fatalf("closed at call %d of %d", k, n)
				}
				if !whole {
					break
				}
			}
		})
	}
}

func TestCloseDuringOnPostgres(t *testing.T) {
	seed := closingSeed(t)
	r := rand.New(rand.NewPCG(seed, 1))
	names := closingNames(r, true)
	onPostgres := postgres(t)
	for range soak(4) {
		c := closingTrial{name: names[r.IntN(len(names))], at: 1 + r.Int64N(60)}
		h := &hooks{}
		options := func() *local.Options {
			o := onPostgres()
			o.Buckets = closingOptions().Buckets
			return o
		}
		opts := options()
		opts.WrapMeta(func(d local.Database) local.Database { return &hookedMeta{d, h} })
		if c.run(t, t.TempDir(), h, opts, options()); t.Failed() {
			t.Fatalf("%s, closed at call %d", c.name, c.at)
		}
	}
}

func closingSeed(t *testing.T) uint64 {
	seed, err := strconv.ParseUint(os.Getenv("CAIRN_SEED"), 10, 64)
	if err != nil {
		seed = rand.Uint64()
	}
	t.Logf("CAIRN_SEED=%d", seed)
	return seed
}
