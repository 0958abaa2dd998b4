package cas_test

import (
	"slices"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/cairn-store/cairn/backend/journal"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
)

// Packs are rewritten and deleted while they wait to be sent, and while they are
// being sent. What was deleted is nowhere in the end, and all that lives is far.
func TestRewriteInJournal(t *testing.T) {
	race.LeaveOut(t)
	w := newGCWorld(t, cas.Options{PackSize: 100 << 10}, false)
	far := membackend.New(&membackend.Options{Referee: t, WholeOnly: true, LateReads: true})
	w.b = journal.New(w.mem, far, nil)
	s := w.open(t)
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				if err := s.Send(t.Context()); err != nil {
					t.Error(err)
				}
			}
		}
	})
	for range 5 {
		w.fill(t, s, 30)
		w.drop(t, 3)
		must(t, s.SealOpen(t.Context()))
		if out, err := w.collect(t, s, w.sealed(t)); err != nil || len(out.Left) > 0 {
			t.Fatalf("%+v, %v", out, err)
		}
		w.readSome(t, s, w.digests())
	}
	close(done)
	wg.Wait()
	must(t, s.Send(t.Context()))
	w.checkClean(t, s)
	closeStore(t, s)
	var want, got []string
	for _, e := range w.entries(t) {
		want = append(want, e.ID.Key())
	}
	for info, err := range far.List(t.Context(), "") {
		must(t, err)
		got = append(got, info.Key)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("far are %q, the index names %q", got, want)
	}
	for info, err := range w.mem.List(t.Context(), "") {
		t.Errorf("near is %q, %v", info.Key, err)
	}
}

// Uploads do not wait for a collector: while the backend is busy with a pack of
// copies, they become durable in others.
func TestCopiesLieApart(t *testing.T) {
	for _, newWorld := range []func(testing.TB) *world{newWorld, newWholeWorld} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			h := &hooked{Backend: w.mem}
			w.b = h
			s := w.open(t, &cas.Options{PackSize: 1 << 20})
			r := seeded(t)
			old, fresh := noise(r, 300<<10), noise(r, 1000)
			put(t, s, cas.Raw, old)
			must(t, s.SealOpen(t.Context()))
			packs := w.entries(t)
			copies, free := "", make(chan struct{})
			h.setHook(func(op, key string) error {
				if op == "create" && copies == "" {
					copies = key
				}
				if (op == "sync" || op == "commit") && key == copies {
					<-free
				}
				return nil
			})
			done := false
			go func() {
				if out, err := s.Rewrite(t.Context(), packs, nil); err != nil || out.Frames != 1 || len(out.Left) > 0 {
					t.Errorf("%+v, %v", out, err)
				}
				done = true
			}()
			synctest.Wait()
			put(t, s, cas.Raw, fresh)
			if f, _ := w.frameOf(t, fresh); done || copies == "" || f.Pack.Key() == copies {
				t.Errorf("copies to %q, done %v, uploaded to %+v", copies, done, f)
			}
			close(free)
			synctest.Wait()
			if f, _ := w.frameOf(t, old); !done || f.Pack.Key() != copies {
				t.Errorf("copied to %+v", f)
			}
			closeStore(t, s)
			for _, info := range inspect(t, w) {
				if info.ID.Key() == copies && !info.Sealed {
					t.Error("the pack of copies was left open")
				}
			}
		})
	}
}
