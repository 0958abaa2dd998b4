package collect_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
)

// The tests of this file show that collection does not fail in the ways that other
// systems have. F11, F12 and F14 stand with what copies packs.

// once returns a hook that runs fn at the first call of that name.
func once(name string, fn func()) func(what string) {
	done := false
	return func(what string) {
		if what == name && !done {
			done = true
			fn()
		}
	}
}

// An answer that a chunk is stored, given before a cycle that did not wait for the
// writer, is worth nothing: the commit is refused, and what lacks is sent again.
func TestF1StaleAnswer(t *testing.T) {
	w := newWorld(t)
	p := random(1, 300<<10)
	w.put("gone", p)
	w.purge("gone")
	u := w.store(p)
	if r := w.collect(&collect.Options{MaxWriterAge: 1}); r.DroppedChunks == 0 {
		t.Fatalf("the writer was waited for: %+v", r)
	}
	if err := u.commit("again"); !errors.Is(err, errPassedBy) {
		t.Fatalf("commit by a stale answer: %v", err)
	}
	u.end()
	w.put("again", p)
	w.check()
}

// A collector that has read the index long ago drops nothing that was found stored
// meanwhile.
func TestF2OldView(t *testing.T) {
	w := newWorld(t)
	p := random(1, 300<<10)
	w.put("gone", p)
	w.purge("gone")
	w.steps.hook = once("drop", func() { w.put("again", p) })
	r := w.collect(nil)
	if r.DroppedChunks > 0 || r.WaitingChunks == 0 {
		t.Errorf("%+v", r)
	}
	w.check()
}

// No clock decides: a writer that sleeps through cycles, and one that a wrong clock
// calls old, are refused at their commit and lose nothing.
func TestF3Sleeper(t *testing.T) {
	w := newWorld(t)
	p := random(1, 300<<10)
	u := w.store(p)
	for range 3 {
		w.collect(&collect.Options{MaxWriterAge: 1})
	}
	if err := u.commit("late"); !errors.Is(err, errPassedBy) {
		t.Fatalf("commit of a writer that was passed by: %v", err)
	}
	u.end()
	w.put("late", p)
	w.collect(&collect.Options{MaxWriterAge: 1})
	w.check()
}

// liar is a backend whose times are wrong.
type liar struct{ backend.Backend }

func (l liar) Stat(ctx context.Context, key string) (backend.Info, error) {
	i, err := l.Backend.Stat(ctx, key)
	i.ModTime = time.Unix(0, 0)
	return i, err
}

func (l liar) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		for i, err := range l.Backend.List(ctx, prefix) {
			if i.ModTime = time.Now().Add(1000 * time.Hour); !yield(i, err) {
				return
			}
		}
	}
}

// Times that the backend tells do not matter.
func TestF4StorageTimes(t *testing.T) {
	w := newWorld(t)
	w.close()
	w.wrap = func(b backend.Backend) backend.Backend { return liar{b} }
	w.open()
	p := random(1, 300<<10)
	w.put("gone", p)
	w.put("kept", random(2, 300<<10))
	w.purge("gone")
	u := w.store(p)
	w.collect(nil)
	must(t, u.commit("again"))
	w.collect(nil)
	w.check()
}

// lazy is a backend whose deletes come late: when land is called.
type lazy struct {
	backend.Backend
	late []string
}

func (l *lazy) Delete(_ context.Context, key string) error {
	l.late = append(l.late, key)
	return nil
}

func (l *lazy) land(t *testing.T) {
	t.Helper()
	for _, key := range l.late {
		must(t, l.Backend.Delete(t.Context(), key))
	}
}

// A delete that lands after the same bytes were stored again, twice, or never,
// takes nothing with it: packs are not stored again under their names, and what is
// not gone stays doomed.
func TestF5LateDelete(t *testing.T) {
	w := newWorld(t)
	w.close()
	slow := &lazy{}
	w.wrap = func(b backend.Backend) backend.Backend { slow.Backend = b; return slow }
	w.open()
	p := random(1, 300<<10)
	w.put("gone", p)
	w.put("kept", random(2, 300<<10))
	w.purge("gone")
	r := w.collect(&collect.Options{Full: true})
	if len(slow.late) == 0 || r.DeletedPacks > 0 || len(r.Problems) == 0 {
		t.Fatalf("deletes %v, %+v", slow.late, r)
	}
	w.put("again", p)
	w.collect(nil)
	slow.land(t)
	slow.land(t)
	w.check()
	if r := w.collect(nil); r.DeletedPacks == 0 || len(r.Problems) > 0 {
		t.Errorf("when the deletes have landed: %+v", r)
	}
	w.check()
	w.checkSums("late deletes")
}

// A second collector is kept off by the lease, and one whose lease was taken over
// drops nothing any more.
func TestF6SecondCollector(t *testing.T) {
	w := newWorld(t)
	p := random(1, 300<<10)
	w.put("gone", p)
	w.purge("gone")
	w.steps.hook = once("drop", func() {
		if _, err := w.collector().Run(t.Context(), nil); !errors.Is(err, collect.ErrRunning) {
			t.Errorf("a second collector: %v", err)
		}
	})
	w.collect(nil)
	w.put("gone", p)
	w.purge("gone")
	w.steps.hook = once("drop", func() {
		// As when its lease ended while it was asleep, and another one was there
		// meanwhile.
		must(t, w.meta.ReleaseLease(t.Context(), w.steps.lease))
		l, err := w.meta.TakeLease(t.Context(), domain, time.Minute)
		must(t, err)
		must(t, w.meta.ReleaseLease(t.Context(), l))
	})
	if _, err := w.collector().Run(t.Context(), nil); !errors.Is(err, cas.ErrFenced) {
		t.Errorf("a collector whose lease was taken over: %v", err)
	}
	w.collect(nil)
	w.check()
}

// Of two writers of the same new bytes one is indexed. What the other has stored is
// dead from the beginning, and comes back.
func TestF7TwoWriters(t *testing.T) {
	w := newWorld(t)
	p := random(1, 300<<10)
	w.put("one", p)
	// The second writer did not see the first one's chunks.
	other := w.chunks.Index()
	entries := make(map[cas.Digest]cas.ChunkEntry)
	for e, err := range other.AllChunks(t.Context()) {
		must(t, err)
		entries[e.Digest] = e
	}
	w.blind = true
	w.reopen()
	u := w.store(p)
	w.blind = false
	w.reopen()
	must(t, u.commit("two"))
	for e, err := range w.db.Index(domain).AllChunks(t.Context()) {
		must(t, err)
		if entries[e.Digest].Frame != e.Frame {
			t.Fatal("the second copy took the place of the first")
		}
	}
	before := w.size()
	w.collect(&collect.Options{Full: true})
	w.check()
	if freed := before - w.size(); freed < 250<<10 {
		t.Errorf("%d bytes were freed of what was stored twice", freed)
	}
}

// A collector that is killed between the delete of a pack and the change of the
// index leaves a doomed pack, which nothing may be put into, and the next cycle
// ends it.
func TestF8KilledBetween(t *testing.T) {
	w := newWorld(t)
	w.put("gone", random(1, 300<<10))
	w.put("kept", random(2, 300<<10))
	w.purge("gone")
	w.steps.hook = func(what string) {
		if what == "enter into the ledger" {
			w.steps.at = w.steps.n
		}
	}
	if _, err := w.collector().Run(t.Context(), nil); !errors.Is(err, errKilled) {
		t.Fatalf("it was not killed: %v", err)
	}
	w.reopen()
	doomed := 0
	for p, err := range w.db.Index(domain).AllPacks(t.Context()) {
		must(t, err)
		if p.Doomed {
			doomed++
			frame := cas.FrameEntry{ID: cas.FrameID{1}, Pack: p.ID, Slots: 1, PlainLen: 1}
			err := w.chunks.Apply(t.Context(), &cas.Change{Frames: []cas.FrameEntry{frame}, Chunks: []cas.ChunkEntry{{Digest: cas.Digest{1}, Frame: frame.ID, Length: 1}}})
			if !errors.Is(err, cas.ErrDoomed) {
				t.Errorf("a frame in a doomed pack: %v", err)
			}
		}
	}
	if doomed == 0 {
		t.Fatal("no pack is doomed")
	}
	w.check()
	if r := w.collect(nil); r.DeletedPacks == 0 {
		t.Errorf("%+v", r)
	}
	w.check()
	w.checkSums("killed")
}

// A file that is committed while the roots are being read is not among them, and
// keeps all it needs.
func TestF10CommittedDuringMark(t *testing.T) {
	for _, at := range []string{"raise the floor", "roots", "graves", "chunks"} {
		t.Run(at, func(t *testing.T) {
			w := newWorld(t)
			p := random(1, 300<<10)
			w.put("gone", p)
			w.purge("gone")
			u := w.store(p)
			w.steps.hook = once(at, func() {
				must(t, u.commit("again"))
				w.put("new", random(2, 300<<10))
			})
			w.collect(nil)
			w.check()
			w.collect(nil)
			w.check()
		})
	}
}

// No lock is held while a backend works: uploads, reads and purges go on during a
// delete that hangs.
func TestF13NothingWaitsForDeletes(t *testing.T) {
	w := newWorld(t)
	for i := range 3 {
		w.put(fmt.Sprint(i), random(uint64(i), 300<<10))
	}
	w.purge("1")
	hung := false
	w.steps.hook = once("delete", func() {
		hung = true
		w.put("new", random(7, 400<<10))
		w.check()
		w.purge("2")
	})
	w.collect(nil)
	if !hung {
		t.Fatal("nothing was deleted")
	}
	w.check()
}

// A segment that cannot be read ends the cycle before anything is dropped, and the
// error names the version.
func TestNothingIsDroppedInPart(t *testing.T) {
	w := newWorld(t)
	w.put("kept", random(1, 900<<10))
	w.put("gone", random(2, 900<<10))
	w.purge("gone")
	m := w.versions["kept"]
	if m.Top.IsZero() {
		t.Fatal("the file has no segments")
	}
	w.steps.hidden, w.steps.lost = m.Top, true
	before := w.countChunks()
	_, err := w.collector().Run(t.Context(), nil)
	if err == nil || w.countChunks() != before {
		t.Fatalf("%v; %d chunks of %d are left", err, w.countChunks(), before)
	}
	for _, want := range []string{string(m.ID), m.Top.String()} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	w.steps.lost = false // it is in the packs, and without its row no less needed
	w.collect(nil)
	if w.countChunks() == before {
		t.Error("nothing was dropped")
	}
	w.steps.hidden = cas.Digest{}
	w.check()
}

func (w *world) countChunks() (n int) {
	w.t.Helper()
	for _, err := range w.db.Index(domain).AllChunks(w.t.Context()) {
		must(w.t, err)
		n++
	}
	return n
}
