package cas_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
)

// entries returns the packs of the index.
func (w *world) entries(t testing.TB) (out []cas.PackEntry) {
	t.Helper()
	for e, err := range w.ix.AllPacks(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, e)
	}
	return out
}

// checkRecords compares what the index counts of records with the packs.
func checkRecords(t testing.TB, w *world, s *cas.Store) (total int64) {
	t.Helper()
	for _, e := range w.entries(t) {
		for name, describe := range map[string]func() (*cas.PackInfo, error){
			"inspect": func() (*cas.PackInfo, error) { return s.Inspect(t.Context(), e) },
			"examine": func() (*cas.PackInfo, error) {
				return s.Examine(t.Context(), e, func(*cas.Frame) error { return nil })
			},
		} {
			info, err := describe()
			if err != nil {
				t.Fatal(err)
			}
			if info.Records != e.Records || info.LastCommit != e.LastCommit {
				t.Errorf("%s: %d bytes of records up to commit %d, the index has %d and %d", name, info.Records, info.LastCommit, e.Records, e.LastCommit)
			}
		}
		total += e.Records
	}
	return total
}

// The bytes of records are counted as they are written, adopted after a crash,
// inspected and walked over.
func TestRecordsAreCounted(t *testing.T) {
	w := newWorld(t)
	s := w.open(t, nil)
	put(t, s, cas.Raw, []byte("a chunk"))
	write := func(commit uint64) {
		t.Helper()
		if err := s.AppendRecords(t.Context(), &cas.Records{Commit: commit, Slots: [][]byte{[]byte("record of a row")}}); err != nil {
			t.Fatal(err)
		}
	}
	if n := checkRecords(t, w, s); n != 0 {
		t.Errorf("%d bytes of no records", n)
	}
	write(3)
	one := checkRecords(t, w, s)
	before := w.entries(t)
	write(4)
	put(t, s, cas.Raw, []byte("another chunk"))
	closeStore(t, s)
	if err := w.ix.Apply(t.Context(), &cas.Change{Packs: before}); err != nil { // as if it had been killed
		t.Fatal(err)
	}
	s = w.store(t, nil)
	if n := checkRecords(t, w, s); one < 40 || n != 2*one {
		t.Errorf("%d bytes of one record, %d of two", one, n)
	}
	if err := s.SealOpen(t.Context()); err != nil {
		t.Fatal(err)
	}
	checkRecords(t, w, s)
}

// SealOpen ends what this opening writes, at any time, and uploads go on.
func TestSealOpenWhileUploading(t *testing.T) {
	for _, w := range []*world{newWorld(t), newWholeWorld(t)} {
		s := w.store(t, &cas.Options{PackSize: 100 << 10})
		if err := s.SealOpen(t.Context()); err != nil || len(w.entries(t)) > 0 {
			t.Errorf("nothing was open: %v", err)
		}
		var wg sync.WaitGroup
		chunks := make([][][]byte, 4)
		for i := range chunks {
			r := seeded(t)
			wg.Go(func() {
				for range 20 {
					c := noise(r, 10<<10)
					chunks[i] = append(chunks[i], c)
					put(t, s, cas.Raw, c)
				}
			})
		}
		for range 20 {
			if err := s.SealOpen(t.Context()); err != nil {
				t.Error(err)
			}
		}
		wg.Wait()
		if err := s.SealOpen(t.Context()); err != nil {
			t.Error(err)
		}
		for _, e := range w.entries(t) {
			if info, err := s.Inspect(t.Context(), e); !e.Sealed || err != nil || !info.Sealed || info.Size != e.Size {
				t.Errorf("not sealed: %+v, %v", e, err)
			}
		}
		checkStored(t, s, slices.Concat(chunks...)...)
	}
}

// What a crash has torn, or a failed write has ended, counts as sealed after
// SealOpen, as far as the index had it; what another opening may be appending to
// does not.
func TestSealOpenEndsWhatIsTorn(t *testing.T) {
	w := newWorld(t)
	faulty := backendtest.Faulty(w.mem)
	w.b = faulty
	s := w.open(t, nil)
	r := seeded(t)
	first, second := noise(r, 1000), noise(r, 1000)
	put(t, s, cas.Raw, first)
	faulty.Add(backendtest.Rule{Op: backendtest.OpSync})
	if _, _, err := tryPut(t.Context(), s, cas.Raw, noise(r, 1000)); err == nil {
		t.Fatal("stored without a sync")
	}
	if err := s.SealOpen(t.Context()); err != nil {
		t.Fatal(err)
	}
	failed := w.entries(t)
	if len(failed) != 1 || !failed[0].Sealed {
		t.Fatalf("after a failed write: %+v", failed)
	}
	put(t, s, cas.Raw, second)
	closeStore(t, s)
	other := func() cas.PackEntry { // IDs of one millisecond have no order
		es := w.entries(t)
		if es[0].ID == failed[0].ID {
			return es[1]
		}
		return es[0]
	}
	torn := other()
	bw, _, err := w.mem.Append(t.Context(), torn.ID.Key())
	if err != nil {
		t.Fatal(err)
	}
	bw.Write([]byte("CrnF and not a whole frame"))
	if err := errors.Join(bw.Sync(), bw.Abort()); err != nil {
		t.Fatal(err)
	}
	for _, exclusive := range []bool{false, true} {
		s, err := cas.Open(t.Context(), w.b, w.ix, &cas.Options{Exclusive: exclusive})
		if err != nil {
			t.Fatal(err)
		}
		if err := s.SealOpen(t.Context()); err != nil {
			t.Fatal(err)
		}
		if e := other(); e.Sealed != exclusive || e.Size != torn.Size || e.Serial != torn.Serial {
			t.Errorf("exclusive %v: %+v, before %+v", exclusive, e, torn)
		}
		if v, err := s.Survey(t.Context(), nil); err != nil || len(v.Unknown) > 0 == exclusive {
			t.Errorf("exclusive %v: %+v, %v", exclusive, v, err)
		}
		checkStored(t, s, first, second)
		closeStore(t, s)
	}
}

// A forgetful index fails to make some changes.
type forgetful struct {
	*castest.MemIndex
	forget bool
}

func (f *forgetful) Apply(ctx context.Context, c *cas.Change) error {
	if f.forget {
		return errBoom
	}
	return f.MemIndex.Apply(ctx, c)
}

// Packs that were stored and that the index never learned of get an entry, unless
// they may be somebody else's.
func TestSealOpenFindsStrays(t *testing.T) {
	for _, whole := range []bool{false, true} {
		w := newWorld(t)
		if whole {
			w = newWholeWorld(t)
		}
		ix := &forgetful{MemIndex: w.ix, forget: true}
		opts := &cas.Options{Store: [16]byte{1}, Domain: [16]byte{2}}
		s, err := cas.Open(t.Context(), w.b, ix, opts)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := tryPut(t.Context(), s, cas.Raw, []byte("never acknowledged")); !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		s.AppendRecords(t.Context(), &cas.Records{Commit: 9, Slots: [][]byte{[]byte("a record")}})
		ix.forget = false
		other, err := cas.Open(t.Context(), w.b, w.ix, opts)
		if err != nil {
			t.Fatal(err)
		}
		if err := other.SealOpen(t.Context()); err != nil || len(w.entries(t)) > 0 {
			t.Errorf("another opening took %+v, %v", w.entries(t), err)
		}
		foreign := w.open(t, &cas.Options{Store: [16]byte{7}, Domain: [16]byte{2}})
		if err := foreign.SealOpen(t.Context()); err != nil || len(w.entries(t)) > 0 {
			t.Errorf("another store took %+v, %v", w.entries(t), err)
		}
		for range 2 {
			if err := s.SealOpen(t.Context()); err != nil {
				t.Fatal(err)
			}
			es := w.entries(t)
			if len(es) != 2 || !es[0].Sealed || !es[1].Sealed || max(es[0].LastCommit, es[1].LastCommit) != 9 {
				t.Errorf("its own: %+v", es)
			}
			checkRecords(t, w, s)
		}
		for _, s := range []*cas.Store{s, other, foreign} {
			closeStore(t, s)
		}
	}
}

// A late backend takes its time to delete.
type late struct {
	backend.Backend
	times int
}

func (l *late) Delete(ctx context.Context, key string) error {
	if l.times--; l.times >= 0 {
		return nil
	}
	return l.Backend.Delete(ctx, key)
}

// A pack counts as deleted when the backend says that it is gone, however often
// and whatever went wrong before, and its bytes make room then.
func TestDeletePack(t *testing.T) {
	for _, mode := range []backendtest.Mode{backendtest.Fail, backendtest.FailAfter} {
		for _, op := range []backendtest.Op{backendtest.OpStat, backendtest.OpDelete} {
			w := newWorld(t)
			faulty := backendtest.Faulty(w.mem)
			slow := &late{Backend: faulty}
			w.b = slow
			s := w.store(t, &cas.Options{MaxBytes: 64 << 10})
			r := seeded(t)
			put(t, s, cas.Raw, noise(r, 50<<10))
			id := w.entries(t)[0].ID
			if err := s.DeletePack(t.Context(), id); err == nil {
				t.Error("deleted while it is being written to")
			}
			if err := s.SealOpen(t.Context()); err != nil {
				t.Fatal(err)
			}
			slow.times = 1
			if err := s.DeletePack(t.Context(), id); !errors.Is(err, cas.ErrStillThere) {
				t.Errorf("not deleted yet: %v", err)
			}
			faulty.Add(backendtest.Rule{Op: op, Mode: mode})
			if err := s.DeletePack(t.Context(), id); !errors.Is(err, backendtest.ErrInjected) {
				t.Errorf("a fault of %s: %v", op, err)
			}
			if _, _, err := tryPut(t.Context(), s, cas.Raw, noise(r, 50<<10)); !errors.Is(err, backend.ErrNoSpace) {
				t.Errorf("no room yet: %v", err)
			}
			for range 3 {
				if err := s.DeletePack(t.Context(), id); err != nil {
					t.Error(err)
				}
			}
			if err := s.DeletePack(t.Context(), cas.PackID{7}); err != nil {
				t.Errorf("never there: %v", err)
			}
			if _, err := w.mem.Stat(t.Context(), id.Key()); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("it is there: %v", err)
			}
			put(t, s, cas.Raw, noise(r, 50<<10))
			if _, _, err := tryPut(t.Context(), s, cas.Raw, noise(r, 50<<10)); !errors.Is(err, backend.ErrNoSpace) {
				t.Errorf("room was made more than once: %v", err)
			}
		}
	}
}
