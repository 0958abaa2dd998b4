package collect_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// mixed fills packs with pieces of many small files, and purges some of each.
func mixed(t *testing.T, purge func(i int) bool) (w *world, dead int64) {
	t.Helper()
	w = newWorld(t)
	const size = 20 << 10
	for i := range 80 {
		w.put(fmt.Sprint("file", i), random(uint64(i), size))
	}
	for i := range 80 {
		if purge(i) {
			w.purge(fmt.Sprint("file", i))
			dead += size
		}
	}
	return w, dead
}

// Packs that are partly dead are copied: after three runs at most 15 % of what died
// is left, and after one with Full nothing.
func TestF12PartlyDead(t *testing.T) {
	for _, share := range []int{2, 3, 10} { // one file of so many is purged
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			w, dead := mixed(t, func(i int) bool { return i%share == 0 })
			before := w.size()
			var r *collect.DomainReport
			for range 3 {
				r = w.collect(nil)
			}
			w.check()
			if freed := before - w.size(); freed < dead*85/100 {
				t.Errorf("%d bytes of %d came back; %+v", freed, dead, r)
			}
			r = w.collect(&collect.Options{Full: true})
			w.check()
			if freed := before - w.size(); freed < dead || r.DeadBytes > 0 {
				t.Errorf("with Full %d bytes of %d came back, %d are left", freed, dead, r.DeadBytes)
			}
			w.checkSums("rewritten")
			// Again, there is nothing to copy.
			if r := w.collect(&collect.Options{Full: true}); r.CopiedBytes > 0 || r.RewrittenPacks > 0 {
				t.Errorf("again: %+v", r)
			}
		})
	}
}

// In the ledger, what was freed and what was copied add up to what the backend had
// of each pack.
func TestLedgerAddsUp(t *testing.T) {
	w, _ := mixed(t, func(i int) bool { return i%3 == 0 })
	must(t, w.chunks.SealOpen(t.Context()))
	sizes := make(map[cas.PackID]int64)
	for p, err := range w.chunks.Packs(t.Context()) {
		must(t, err)
		sizes[p.ID] = p.Size
	}
	w.collect(&collect.Options{Full: true})
	sums, copied := make(map[cas.PackID]int64), int64(0)
	for e, err := range w.meta.Ledger(t.Context()) {
		must(t, err)
		sums[e.Pack] += e.Bytes
		if e.Copied {
			copied += e.Bytes
		}
	}
	if len(sums) == 0 || copied == 0 {
		t.Fatalf("%d packs, %d bytes copied", len(sums), copied)
	}
	for id, n := range sums {
		if n != sizes[id] {
			t.Errorf("pack %s: %d bytes in the ledger, had %d", id, n, sizes[id])
		}
	}
}

// Copying puts the frames of a file side by side, also where they were written by
// uploads side by side.
func TestFramesOfAFileComeTogether(t *testing.T) {
	race.LeaveOut(t)
	w := newWorldOf(t, 64<<20)
	names := []string{"one", "two", "gone"}
	const pieces = 6
	for i, done := range w.storeInTurns(pieces, len(names)) {
		must(t, done.commit(names[i]))
	}
	if before := w.jumps("one") + w.jumps("two"); before < pieces {
		t.Fatalf("%d jumps before", before)
	}
	w.purge("gone")
	w.collect(&collect.Options{Full: true})
	w.check()
	for _, name := range names[:2] {
		if n := w.jumps(name); n > 1 { // where the last frame was written with those of others
			t.Errorf("%s: %d jumps", name, n)
		}
	}
}

// storeInTurns stores contents of so many MiB side by side, a MiB of each at a time.
func (w *world) storeInTurns(pieces, contents int) []*write {
	w.t.Helper()
	out := make([]*write, contents)
	var wg sync.WaitGroup
	var pipes []*io.PipeWriter
	for i := range out {
		r, p := io.Pipe()
		pipes = append(pipes, p)
		wr, err := w.meta.Register(w.t.Context(), domain)
		must(w.t, err)
		out[i] = &write{w: w, writer: wr}
		wg.Go(func() { out[i].content = w.content(wr, r) })
	}
	for n := range pieces {
		for i, p := range pipes {
			piece := random(uint64(1000*i+n), 1<<20)
			out[i].bytes = append(out[i].bytes, piece...)
			_, err := p.Write(piece)
			must(w.t, err)
		}
	}
	for _, p := range pipes {
		must(w.t, p.Close())
	}
	wg.Wait()
	return out
}

// jumps counts how often reading a file in order goes to another place than behind
// the frame before.
func (w *world) jumps(name string) (n int) {
	w.t.Helper()
	ctx := w.t.Context()
	var last cas.FrameEntry
	for ref := range w.refs(name) {
		e := make([]cas.ChunkEntry, 1)
		f := make([]cas.FrameEntry, 1)
		ix := w.db.Index(domain)
		must(w.t, ix.Chunks(ctx, []cas.Digest{ref.Digest}, e))
		must(w.t, ix.Frames(ctx, []cas.FrameID{e[0].Frame}, f))
		if f[0].ID == last.ID {
			continue
		}
		if last.Known() && (f[0].Pack != last.Pack || f[0].Offset != last.Offset+int64(last.HeaderLen)+int64(last.StoredLen)) {
			n++
		}
		last = f[0]
	}
	return n
}

func (w *world) refs(name string) func(yield func(cas.Ref) bool) {
	return func(yield func(cas.Ref) bool) {
		c := &w.versions[name].Content
		stopped := false
		err := c.Walk(w.t.Context(), w.meta.Segments(domain), func(manifest.Segment) error { return nil }, func(refs []cas.Ref) error {
			for _, r := range refs {
				if !stopped && !yield(r) {
					stopped = true
				}
			}
			return nil
		})
		must(w.t, err)
	}
}

// What is copied, healed or stored again while packs are copied keeps its entries.
func TestF11CopyKeepsEntries(t *testing.T) {
	race.LeaveOut(t)
	for _, at := range []string{"roots", "read", "drop", "update", "delete"} {
		t.Run(at, func(t *testing.T) {
			w, _ := mixed(t, func(i int) bool { return i%2 == 0 })
			r := rand.New(rand.NewPCG(1, 2))
			n := 0
			w.steps.hook = func(what string) {
				if what != at || n > 20 {
					return
				}
				n++
				// A purged file comes again, one that is there is found damaged and
				// stored again, and another one goes.
				i := r.IntN(80)
				name, p := fmt.Sprint("file", i), random(uint64(i), 20<<10)
				if w.files[name] == nil {
					w.put(name, p)
					return
				}
				e := make([]cas.ChunkEntry, 1)
				ix := w.chunks.Index()
				must(t, ix.Chunks(t.Context(), []cas.Digest{w.versions[name].Inline[0].Digest}, e))
				must(t, ix.Apply(t.Context(), &cas.Change{Bad: e}))
				w.put(fmt.Sprint("again", n), p)
				if n%3 == 0 {
					w.purge(name)
				}
			}
			w.collect(&collect.Options{Full: true})
			w.steps.hook = nil
			if n == 0 {
				t.Fatal("the hook was not called")
			}
			w.check()
			w.collect(&collect.Options{Full: true})
			w.check()
		})
	}
}

// A reader whose pack is copied and deleted under it reads on.
func TestF14ReadDuringDelete(t *testing.T) {
	w := newWorldOf(t, 16<<20)
	w.put("gone", random(1, 2<<20))
	p := random(2, 2<<20)
	w.put("kept", p)
	w.purge("gone")
	m := w.versions["kept"]
	r := manifest.NewReader(t.Context(), w.chunks, w.meta.Segments(domain), &m.Content)
	got := make([]byte, 100<<10)
	_, err := io.ReadFull(r, got)
	must(t, err)
	packs := w.packsOf("kept")
	for range 2 {
		w.collect(&collect.Options{Full: true})
	}
	if now := w.packsOf("kept"); now == packs {
		t.Fatal("the file was not copied")
	}
	rest, err := io.ReadAll(r)
	if err != nil || string(append(got, rest...)) != string(p) {
		t.Fatalf("%d bytes, %v", len(got)+len(rest), err)
	}
}

// packsOf names the first pack of a file.
func (w *world) packsOf(name string) cas.PackID {
	w.t.Helper()
	for ref := range w.refs(name) {
		e, f := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
		ix := w.db.Index(domain)
		must(w.t, ix.Chunks(w.t.Context(), []cas.Digest{ref.Digest}, e))
		must(w.t, ix.Frames(w.t.Context(), []cas.FrameID{e[0].Frame}, f))
		return f[0].Pack
	}
	return cas.PackID{}
}

// Small packs, as every group of commits leaves them on a service that stores whole
// objects, are made one.
func TestSmallPacksAreMerged(t *testing.T) {
	w := newWorld(t)
	for i := range 30 {
		w.put(fmt.Sprint(i), random(uint64(i), 20<<10))
		must(t, w.chunks.SealOpen(t.Context()))
	}
	before := w.countPacks()
	for range 2 {
		w.collect(nil)
	}
	w.check()
	if n := w.countPacks(); n > before/3 {
		t.Errorf("%d packs have become %d", before, n)
	}
}

func (w *world) countPacks() (n int) {
	w.t.Helper()
	for _, err := range w.chunks.Packs(w.t.Context()) {
		must(w.t, err)
		n++
	}
	return n
}
