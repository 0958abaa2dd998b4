package collect_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

func (w *world) waiting() *collect.Waiting {
	w.t.Helper()
	out, err := collect.FindWaiting(w.t.Context(), w.collectStore(), domain, nil)
	must(w.t, err)
	return out
}

// buried are the digests that graves held, with the newest grave of each.
func (w *world) buried() map[cas.Digest]manifest.GraveID {
	w.t.Helper()
	out := make(map[cas.Digest]manifest.GraveID)
	for g, err := range w.meta.Graves(w.t.Context(), domain) { // the newest first
		must(w.t, err)
		c := manifest.Content{Top: g.Top, Inline: g.Chunks, Size: g.Size}
		note := func(d cas.Digest) {
			if _, ok := out[d]; !ok {
				out[d] = g.ID
			}
		}
		walk := manifest.TreeWalk{Segments: w.meta.Segments(domain), Absent: func(cas.Digest) error { return nil },
			Visit: func(d cas.Digest) (bool, error) { note(d); return true, nil },
			Chunk: func(r cas.Ref) error { note(r.Digest); return nil }}
		for _, r := range c.Inline {
			note(r.Digest)
		}
		if !c.Top.IsZero() {
			must(w.t, walk.Walk(w.t.Context(), []cas.Digest{c.Top}))
		}
	}
	return out
}

// recountWaiting finds out from all entries what nothing needs, and what that waits
// for, without a log or a count of the index.
func (w *world) recountWaiting() (sums map[collect.Reason]collect.WaitingSum, dead map[cas.PackID]int64) {
	w.t.Helper()
	ctx, ix := w.t.Context(), w.db.Index(domain)
	needed := w.needs(func(*manifest.File, *manifest.Manifest) bool { return true })
	epoch, err := w.meta.Epoch(ctx, domain)
	must(w.t, err)
	floor := epoch + 1
	writers, err := w.meta.Writers(ctx, domain)
	must(w.t, err)
	for _, r := range writers {
		floor = min(floor, r.Begin)
	}
	frames := make(map[cas.FrameID]cas.FrameEntry)
	for f, err := range ix.AllFrames(ctx) {
		must(w.t, err)
		frames[f.ID] = f
	}
	graves := w.buried()
	waits := make(map[manifest.GraveID]bool) // that hold a chunk which a writer keeps
	var all []cas.ChunkEntry
	for e, err := range ix.AllChunks(ctx) {
		must(w.t, err)
		all = append(all, e)
		if id, ok := graves[e.Digest]; ok && !needed[e.Digest] && e.Stamp >= floor {
			waits[id] = true
		}
	}
	sums = make(map[collect.Reason]collect.WaitingSum)
	plain := make(map[cas.FrameID]map[collect.Reason]int64)
	live := make(map[cas.FrameID]int64)
	for _, e := range all {
		live[e.Frame] += int64(e.Length)
		if needed[e.Digest] {
			continue
		}
		why := collect.ForCollection
		if id, ok := graves[e.Digest]; e.Stamp >= floor {
			why = collect.ForWriter
		} else if ok && waits[id] && frames[e.Frame].Kind == cas.KindSegment {
			why = collect.ForGrave
		}
		s := sums[why]
		s.Count++
		sums[why] = s
		if plain[e.Frame] == nil {
			plain[e.Frame] = make(map[collect.Reason]int64)
		}
		plain[e.Frame][why] += int64(e.Length)
	}
	part := func(f *cas.FrameEntry, n int64) int64 {
		if n >= int64(f.PlainLen) {
			return int64(f.HeaderLen) + int64(f.StoredLen)
		}
		return (int64(f.HeaderLen) + int64(f.StoredLen)) * n / int64(f.PlainLen)
	}
	used, headers, count := make(map[cas.PackID]int64), make(map[cas.PackID]int64), make(map[cas.PackID]int64)
	for id, f := range frames {
		used[f.Pack] += part(&f, live[id])
		headers[f.Pack] += int64(f.HeaderLen)
		count[f.Pack]++
		left := live[id]
		for _, why := range collect.WaitReasons() {
			s, ok := sums[why]
			if n := plain[id][why]; ok {
				s.Bytes += part(&f, left) - part(&f, left-n)
				left -= n
				sums[why] = s
			}
		}
	}
	dead = make(map[cas.PackID]int64)
	base, err := w.meta.Checkpoint(ctx, domain)
	must(w.t, err)
	for p, err := range ix.AllPacks(ctx) {
		must(w.t, err)
		rest := used[p.ID]
		if p.LastCommit > base {
			rest += 2 * p.Records
		}
		if rest > 0 {
			rest += cas.SealedOverhead(count[p.ID], headers[p.ID])
		}
		if n := p.Size - rest; n > 0 {
			dead[p.ID] = n
		}
	}
	return sums, dead
}

// What waits is what a recount of all entries finds, and what the next collection
// then does.
func TestWaitingRandom(t *testing.T) {
	race.LeaveOut(t)
	rounds := 12
	if os.Getenv("CAIRN_SOAK") != "" {
		rounds = 400
	}
	onDatabases(t, nil, func(t *testing.T, w *world) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		seen := make(map[collect.Reason]int64)
		for n := range rounds {
			for range 1 + rnd.IntN(5) {
				w.disturb(rnd)
			}
			for _, r := range w.writers() { // of uploads that died with their process
				must(t, w.meta.Unregister(t.Context(), domain, r.ID))
			}
			var under []*write
			if rnd.IntN(2) == 0 {
				names := slices.Sorted(maps.Keys(w.files))
				if len(names) > 0 { // an upload of what is removed meanwhile
					name := names[rnd.IntN(len(names))]
					p := w.files[name]
					under = append(under, w.store(p[:len(p)/(1+rnd.IntN(2))]))
					w.purge(name)
				}
				under = append(under, w.store(random(rnd.Uint64(), 200<<10)))
			}
			if rnd.IntN(2) == 0 {
				must(t, w.chunks.SealOpen(t.Context()))
			}
			w.checkWaiting(fmt.Sprint("round ", n), seen)
			for _, u := range under {
				u.end()
			}
			if rnd.IntN(4) == 0 {
				w.collect(&collect.Options{Full: true})
			}
		}
		t.Logf("bytes seen: %v", seen)
	})
}

func (w *world) writers() []manifest.Writer {
	w.t.Helper()
	rs, err := w.meta.Writers(w.t.Context(), domain)
	must(w.t, err)
	return rs
}

// checkWaiting compares what waits with a recount, and with what a collection does.
func (w *world) checkWaiting(when string, seen map[collect.Reason]int64) {
	w.t.Helper()
	got := w.waiting()
	sums, dead := w.recountWaiting()
	for _, s := range got.Sums[:4] {
		want := sums[s.Reason]
		want.Reason = s.Reason
		if s != want {
			w.t.Fatalf("%s: %+v waits, want %+v", when, s, want)
		}
	}
	bytes, reasons := make(map[cas.PackID]int64), make(map[cas.PackID]collect.Reason)
	beside := make(map[collect.Reason]collect.WaitingSum)
	for _, p := range got.Packs {
		bytes[p.Pack], reasons[p.Pack] = p.Dead, p.Reason
		s := beside[p.Reason]
		beside[p.Reason] = collect.WaitingSum{Reason: p.Reason, Count: s.Count + 1, Bytes: s.Bytes + p.Dead}
	}
	if !maps.Equal(bytes, dead) {
		w.t.Fatalf("%s: dead bytes of packs %v, want %v", when, bytes, dead)
	}
	for _, s := range got.Sums[4:] {
		if want := beside[s.Reason]; want.Count > 0 && s != want || want.Count == 0 && s.Bytes+s.Count != 0 {
			w.t.Fatalf("%s: %+v waits, want %+v", when, s, want)
		}
	}
	for _, s := range got.Sums {
		seen[s.Reason] += s.Bytes
	}
	r := w.collect(nil)
	if drops, held := got.Sums[0], got.Sums[1].Count+got.Sums[2].Count+got.Sums[3].Count; r.DroppedChunks != drops.Count || r.DroppedStored != drops.Bytes || r.WaitingChunks != held {
		w.t.Fatalf("%s: the collection dropped %d chunks, %d bytes, and left %d; foreseen were %+v and %d", when, r.DroppedChunks, r.DroppedStored, r.WaitingChunks, drops, held)
	}
	left := make(map[cas.PackID]bool)
	for p, err := range w.db.Index(domain).AllPacks(w.t.Context()) {
		must(w.t, err)
		left[p.ID] = true
	}
	for id, why := range reasons {
		goes := why == collect.ForDeletion || why == collect.ForRewrite || why == collect.ForGone
		if why != collect.ForAppends && left[id] == goes {
			w.t.Fatalf("%s: pack %s waits for %s, and is left: %t", when, id, why, left[id])
		}
	}
}

// What keeps dead chunks is told: a writer, something made from them, the records of
// a pack, that it has not ended, that too little of it is dead, that its deletion
// failed.
func TestWaitingReasons(t *testing.T) {
	sum := func(w *collect.Waiting, why collect.Reason) collect.WaitingSum {
		for _, s := range w.Sums {
			if s.Reason == why {
				return s
			}
		}
		return collect.WaitingSum{}
	}
	for why, c := range map[collect.Reason]struct {
		make  func(w *world)
		least int64 // bytes
	}{
		collect.ForCollection: {func(w *world) { w.put("a", random(1, 100<<10)); w.purge("a") }, 100 << 10},
		collect.ForWriter: {func(w *world) {
			w.put("a", random(1, 100<<10))
			w.store(random(1, 100<<10)) // and does not end
			w.purge("a")
		}, 95 << 10},
		collect.ForSource: {func(w *world) {
			w.put("a", random(1, 3000))
			w.put("b", random(2, 3000))
			w.putToy("made", random(1, 3000), random(2, 3000))
			w.purge("a")
		}, 3000},
		collect.ForAppends: {func(w *world) {
			w.put("a", random(1, 100<<10))
			w.purge("a")
			w.put("b", random(2, 10<<10))
			must(w.t, w.index().Apply(w.t.Context(), &cas.Change{Drop: w.entries()}))
		}, 1000},
		collect.ForGone: {func(w *world) {
			w.put("a", random(1, 300<<10))
			w.purge("a")
			w.steps.hook = func(what string) {
				if what == "delete" {
					w.steps.at = w.steps.n + 1
				}
			}
			_, err := w.collector().Run(w.t.Context(), &collect.Options{Full: true})
			if err == nil {
				w.t.Fatal("nothing was deleted")
			}
			w.reopen()
		}, 100 << 10},
		collect.ForGrave: {func(w *world) {
			p := random(1, 2<<20)
			w.put("a", p)
			w.collect(nil) // what comes then is of a later epoch
			w.store(p[:100<<10])
			w.purge("a")
		}, 1000},
		collect.ForRecords: {func(w *world) {
			w.put("a", random(1, 200<<10))
			w.put("gone", random(2, 1000))
			w.put("b", random(3, 300<<10))
			w.purge("gone")
			w.collect(nil)
		}, 50},
		collect.ForThreshold: {func(w *world) {
			w.put("a", random(1, 200<<10))
			w.put("gone", random(2, 1000))
			w.put("z", random(3, 300<<10))
			w.put("junk", random(4, 900<<10))
			w.purge("junk")
			w.collect(&collect.Options{Full: true})
			w.purge("gone")
			w.collect(&collect.Options{MinDead: 0.2})
		}, 300},
	} {
		t.Run(string(why), func(t *testing.T) {
			w := newWorld(t)
			c.make(w)
			epoch, size := w.epoch(), w.size()
			got := w.waiting()
			if s := sum(got, why); s.Count == 0 || s.Bytes < c.least {
				t.Errorf("%+v", got)
			}
			if w.epoch() != epoch || w.size() != size {
				t.Error("the report has changed something")
			}
			if held := why == collect.ForWriter || why == collect.ForGrave; held != (len(got.Writers) > 0) {
				t.Errorf("writers %+v", got.Writers)
			}
			w.check()
		})
	}
	t.Run("of whom", func(t *testing.T) {
		w := newWorld(t)
		w.put("a", random(1, 300<<10))
		w.put("b", random(2, 300<<10))
		w.purge("a")
		if got := w.waiting(); got.Graves != 1 || len(got.Charged) > 0 {
			t.Errorf("before a collection: %+v", got)
		}
		w.collect(&collect.Options{MinDead: 1})
		got := w.waiting()
		want := int64(0)
		for c, err := range w.meta.AllCharges(t.Context(), domain) {
			must(t, err)
			want += c.Bytes
		}
		if got.Graves != 0 || got.Charged[bucket] != want {
			t.Errorf("%d bytes wait: %+v", want, got)
		}
	})
}

// index is the index of the world, past all steps.
func (w *world) index() cas.Index { return w.db.Index(domain) }

// entries are the chunks that no file needs.
func (w *world) entries() (out []cas.ChunkEntry) {
	w.t.Helper()
	needed := w.needs(func(*manifest.File, *manifest.Manifest) bool { return true })
	for e, err := range w.index().AllChunks(w.t.Context()) {
		must(w.t, err)
		if !needed[e.Digest] {
			out = append(out, e)
		}
	}
	return out
}
