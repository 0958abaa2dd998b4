package cas_test

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/internal/race"
)

// A gcWorld is a store whose chunks come and go, beside a plain model of what
// lives in it.
type gcWorld struct {
	*world
	r      *rand.Rand
	src    *rand.ChaCha8
	opts   cas.Options
	faulty *backendtest.FaultyBackend
	ix     *shaky
	token  uint64
	copies map[cas.Digest]bool // chunks that were made from others

	mu   sync.Mutex // guards live
	live map[cas.Digest][]byte

	reading sync.RWMutex // held for reading by readers: what they read is not dropped
}

// A shaky index fails to make some changes, or makes them and says that it did
// not.
type shaky struct {
	*castest.MemIndex
	mu    sync.Mutex
	nth   int // the change that fails, counted down; 0 is none
	after bool
}

// failNth makes the nth change from now on fail, 0 none.
func (x *shaky) failNth(nth int, after bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.nth, x.after = nth, after
}

func (x *shaky) hasFailed() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.nth == 0
}

func (x *shaky) Apply(ctx context.Context, c *cas.Change) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	fails := x.nth == 1
	x.nth = max(x.nth-1, 0)
	if fails && !x.after {
		return errBoom
	}
	err := x.MemIndex.Apply(ctx, c)
	if fails && err == nil {
		err = errBoom
	}
	return err
}

func newGCWorld(t *testing.T, opts cas.Options, whole bool) *gcWorld {
	src := seeded(t)
	mem := membackend.New(&membackend.Options{Referee: t, WholeOnly: whole, LateReads: true})
	w := &gcWorld{world: &world{mem: mem, ix: castest.NewMemIndex()}, r: rand.New(src), src: src, opts: opts,
		faulty: backendtest.Faulty(mem), copies: make(map[cas.Digest]bool), live: make(map[cas.Digest][]byte)}
	w.world.b = w.faulty
	w.ix = &shaky{MemIndex: w.world.ix}
	w.opts.Exclusive = true
	w.opts.Codecs = map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}
	w.token = w.world.ix.TakeLease()
	return w
}

func (w *gcWorld) open(t *testing.T) *cas.Store {
	t.Helper()
	opts := w.opts
	s, err := cas.Open(t.Context(), w.b, w.ix, &opts)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fill puts chunks of all kinds, and records.
func (w *gcWorld) fill(t *testing.T, s *cas.Store, n int) {
	t.Helper()
	for i := 0; i < n; {
		var chunks [][]byte
		for range 1 + w.r.IntN(12) {
			c := noise(w.src, 1+w.r.IntN(8<<10))
			if w.r.IntN(2) == 0 {
				c = append(c, prose(w.src, w.r.IntN(16<<10))...)
			}
			chunks = append(chunks, c)
		}
		i += len(chunks)
		put(t, s, cas.Codec(w.r.IntN(3)), chunks...)
		w.keep(chunks...)
		if w.r.IntN(4) == 0 {
			w.fillSegment(t, s)
		}
	}
}

func (w *gcWorld) fillSegment(t *testing.T, s *cas.Store) {
	t.Helper()
	b := s.NewBatch(t.Context(), nil)
	defer b.Close()
	seg := noise(w.src, 500)
	d, err := b.PutSegment(t.Context(), seg)
	if err == nil {
		err = b.Flush()
	}
	if err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.live[d] = seg
}

func (w *gcWorld) keep(chunks ...[]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range chunks {
		w.live[cas.Sum(c)] = c
	}
}

// digests returns what lives, in an order that a seed repeats.
func (w *gcWorld) digests() []cas.Digest {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.SortedFunc(maps.Keys(w.live), func(a, b cas.Digest) int { return bytes.Compare(a[:], b[:]) })
}

// drop drops about one in n chunks, as a collector does; sources stay.
func (w *gcWorld) drop(t *testing.T, n int) {
	t.Helper()
	w.reading.Lock()
	defer w.reading.Unlock()
	for _, d := range w.digests() {
		if w.r.IntN(n) > 0 {
			continue
		}
		e := make([]cas.ChunkEntry, 1)
		w.mu.Lock()
		old := w.live[d]
		delete(w.live, d) // before, so that no reader wants it
		w.mu.Unlock()
		err := w.ix.Chunks(t.Context(), []cas.Digest{d}, e)
		if err == nil {
			err = w.ix.MemIndex.Apply(t.Context(), &cas.Change{Collector: w.token, Drop: e})
		}
		if err == nil {
			err = w.ix.Chunks(t.Context(), []cas.Digest{d}, e)
		}
		if err != nil {
			t.Fatal(err)
		}
		if e[0].Usable() { // it is a source
			w.mu.Lock()
			w.live[d] = old
			w.mu.Unlock()
		}
	}
}

// sealed returns the packs that can be rewritten.
func (w *gcWorld) sealed(t *testing.T) (out []cas.PackEntry) {
	for _, e := range w.entries(t) {
		if e.Sealed && !e.Doomed {
			out = append(out, e)
		}
	}
	return out
}

// collect rewrites packs and deletes those that nothing is left in.
func (w *gcWorld) collect(t *testing.T, s *cas.Store, packs []cas.PackEntry) (cas.Rewritten, error) {
	opts := &cas.RewriteOptions{Collector: w.token}
	if w.r.IntN(2) == 0 {
		opts.Order = func(_ context.Context, fs []*cas.LiveFrame) error {
			w.r.Shuffle(len(fs), func(i, j int) { fs[i], fs[j] = fs[j], fs[i] })
			return nil
		}
	}
	out, err := s.Rewrite(t.Context(), packs, opts)
	if err != nil {
		return out, err
	}
	for _, p := range packs {
		if slices.Contains(out.Left, p.ID) {
			continue
		}
		w.ix.DoomPack(p.ID)
		if err := s.DeletePack(t.Context(), p.ID); err != nil {
			return out, err
		}
		if err := w.ix.Apply(t.Context(), &cas.Change{Collector: w.token, DropPacks: []cas.PackID{p.ID}}); err != nil {
			return out, err
		}
	}
	return out, nil
}

// readSome reads chunks that live, together.
func (w *gcWorld) readSome(t *testing.T, s *cas.Store, ds []cas.Digest) {
	t.Helper()
	w.reading.RLock()
	defer w.reading.RUnlock()
	var refs []cas.Ref
	var want []byte
	w.mu.Lock()
	for _, d := range ds {
		if c, ok := w.live[d]; ok {
			refs, want = append(refs, cas.Ref{Digest: d, Length: uint32(len(c))}), append(want, c...)
		}
	}
	w.mu.Unlock()
	got := make([]byte, len(want))
	if err := s.Read(context.Background(), refs, got); err != nil {
		t.Errorf("read: %v", err)
	} else if !bytes.Equal(got, want) {
		t.Error("read: not the bytes that were put")
	}
}

// checkClean checks that packs and index agree, and that the packs hold what
// lives and nothing else, but for those in except.
func (w *gcWorld) checkClean(t *testing.T, s *cas.Store, except ...cas.PackID) {
	t.Helper()
	w.readSome(t, s, w.digests())
	for _, e := range w.entries(t) {
		if e.Doomed || slices.Contains(except, e.ID) {
			continue
		}
		info, err := s.Inspect(t.Context(), e)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range info.Frames {
			if f.Entry.Kind != cas.KindData && f.Entry.Kind != cas.KindSegment {
				continue
			}
			now := make([]cas.FrameEntry, 1)
			if err := w.ix.Frames(t.Context(), []cas.FrameID{f.Entry.ID}, now); err != nil {
				t.Fatal(err)
			}
			if !now[0].Equal(&f.Entry) || now[0].Live != now[0].Slots {
				t.Errorf("pack %s at %d: a frame that is not needed, or not all of it: %d of %d, in pack %s", e.ID, f.Entry.Offset, now[0].Live, f.Entry.Slots, now[0].Pack)
			}
		}
	}
	if v, err := s.Survey(t.Context(), nil); err != nil || len(v.Missing)+len(v.Short)+len(v.Unknown) > 0 {
		t.Errorf("survey: %+v, %v", v, err)
	}
}

// addCopies adds packs with frames that are made from chunks.
func (w *gcWorld) addCopies(t *testing.T, n int) {
	for range n {
		var sources [][]byte
		ds := w.digests()
		for _, i := range w.r.Perm(len(ds)) {
			if c := w.live[ds[i]]; len(c) >= 600 && cas.Sum(c) == ds[i] && len(sources) < 2 && !w.copies[ds[i]] {
				sources = append(sources, c)
			}
		}
		if len(sources) == 2 {
			c := addToyTo(t, w.world, w.ix, &w.opts, sources[0], sources[1], noise(w.src, 20))
			w.copies[cas.Sum(c)] = true
			w.keep(c)
		}
	}
}

// settings are the stores that the tests of rewriting go through.
func settings() map[string]struct {
	opts  cas.Options
	whole bool
} {
	type setting = struct {
		opts  cas.Options
		whole bool
	}
	return map[string]setting{
		"disk":   {cas.Options{PackSize: 100 << 10}, false},
		"remote": {cas.Options{PackSize: 100 << 10, Remote: true}, true},
		"sealed": {cas.Options{PackSize: 100 << 10, Sealer: &toySealer{now: 7, keys: []uint64{7}}}, false},
	}
}

// Chunks come and go, packs are rewritten and deleted, and a reader reads all the
// time. All that lives is read, and in the end nothing else is kept.
func TestRewriteRandom(t *testing.T) {
	race.LeaveOut(t)
	for name, c := range settings() {
		t.Run(name, func(t *testing.T) {
			w := newGCWorld(t, c.opts, c.whole)
			s := w.open(t)
			w.fill(t, s, 20)
			done := make(chan struct{})
			var wg sync.WaitGroup
			read := func(s *cas.Store) {
				r := rand.New(rand.NewPCG(1, 2))
				wg.Go(func() {
					for {
						select {
						case <-done:
							return
						default:
						}
						ds := w.digests()
						from := r.IntN(len(ds))
						w.readSome(t, s, ds[from:min(from+1+r.IntN(20), len(ds))])
					}
				})
			}
			read(s)
			var sum cas.Rewritten
			for round := range 6 {
				w.fill(t, s, 30)
				if round%3 == 1 {
					w.addCopies(t, 3)
				}
				w.drop(t, 3)
				must(t, s.SealOpen(t.Context()))
				packs := w.sealed(t)
				if round < 5 {
					packs = packs[:w.r.IntN(len(packs)+1)]
				}
				out, err := w.collect(t, s, packs)
				if err != nil || len(out.Left) > 0 || out.Damaged > 0 {
					t.Fatalf("%+v, %v", out, err)
				}
				sum.Frames, sum.Chunks, sum.Read, sum.Written = sum.Frames+out.Frames, sum.Chunks+out.Chunks, sum.Read+out.Read, sum.Written+out.Written
			}
			if sum.Frames == 0 || sum.Chunks == 0 || sum.Read == 0 || sum.Written == 0 {
				t.Errorf("%+v", sum)
			}
			close(done)
			wg.Wait()
			w.checkClean(t, s)
			closeStore(t, s)
			s = w.open(t)
			w.checkClean(t, s)
			closeStore(t, s)
		})
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Whatever call of the backend or change of the index fails, done or not, and
// wherever the process ends, all that lives is read, and the next run ends with
// nothing else.
func TestRewriteBreaksOff(t *testing.T) {
	race.LeaveOut(t)
	ops := []backendtest.Op{"index", backendtest.OpCreate, backendtest.OpWrite, backendtest.OpSync, backendtest.OpCommit, backendtest.OpRead, backendtest.OpStat, backendtest.OpDelete}
	for name, c := range settings() {
		t.Run(name, func(t *testing.T) {
			for _, op := range ops {
				for _, mode := range []backendtest.Mode{backendtest.Fail, backendtest.FailAfter} {
					for nth, fired := 1, true; fired && nth < 40; nth += 1 + nth/4 {
						w := newGCWorld(t, c.opts, c.whole)
						fired = w.breakOff(t, op, mode, nth)
						if t.Failed() {
							t.Fatalf("%s %d, mode %d", op, nth, mode)
						}
					}
				}
			}
		})
	}
}

// breakOff lets a call fail while packs are rewritten. It reports whether there
// were as many.
func (w *gcWorld) breakOff(t *testing.T, op backendtest.Op, mode backendtest.Mode, nth int) (fired bool) {
	s := w.open(t)
	w.fill(t, s, 25)
	w.addCopies(t, 1)
	w.drop(t, 3)
	must(t, s.SealOpen(t.Context()))
	if op == "index" {
		w.ix.failNth(nth, mode == backendtest.FailAfter)
	} else {
		w.faulty.Add(backendtest.Rule{Op: op, Nth: nth, Mode: mode})
	}
	_, err := w.collect(t, s, w.sealed(t))
	if op == "index" {
		fired = w.ix.hasFailed()
	} else {
		fired = w.faulty.Fired(0) > 0
	}
	if err != nil && !errors.Is(err, backendtest.ErrInjected) && !errors.Is(err, errBoom) {
		t.Errorf("broke off: %v", err)
	}
	w.ix.failNth(0, false)
	w.faulty.Reset()
	w.readSome(t, s, w.digests())
	if w.r.IntN(2) == 0 {
		s.Close() // what has failed was reported
		s = w.open(t)
		w.readSome(t, s, w.digests())
	}
	w.finish(t, s)
	w.checkClean(t, s)
	closeStore(t, s)
	return fired
}

// finish deletes the packs that are doomed, and rewrites the others.
func (w *gcWorld) finish(t *testing.T, s *cas.Store) {
	t.Helper()
	must(t, s.SealOpen(t.Context()))
	for _, e := range w.entries(t) {
		if e.Doomed {
			must(t, s.DeletePack(t.Context(), e.ID))
			must(t, w.ix.Apply(t.Context(), &cas.Change{Collector: w.token, DropPacks: []cas.PackID{e.ID}}))
		}
	}
	out, err := w.collect(t, s, w.sealed(t))
	if err != nil || len(out.Left) > 0 {
		t.Fatalf("%+v, %v", out, err)
	}
}
