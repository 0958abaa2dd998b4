package cas_test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
)

// inspect inspects all packs that are there, in order of serials.
func inspect(t testing.TB, w *world) (out []*cas.PackInfo) {
	t.Helper()
	s := w.look(t)
	for _, p := range w.packs(t) {
		info, err := s.Inspect(context.Background(), p)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, info)
	}
	slices.SortFunc(out, func(a, b *cas.PackInfo) int { return cmp.Compare(a.Serial, b.Serial) })
	return out
}

var ids = cas.Options{PackSize: 100 << 10, Store: [16]byte{1}, Domain: [16]byte{2}}

// Packs say whose they are and which of their writer's they are, and the index
// says the same.
func TestPacksAreCounted(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	seen := make(map[cas.PackID]bool)
	var newest cas.PackID
	for run := range 2 {
		s := w.open(t, &ids)
		for range 4 {
			put(t, s, cas.Raw, noise(r, 150<<10))
		}
		closeStore(t, s)
		infos := slices.DeleteFunc(inspect(t, w), func(i *cas.PackInfo) bool { return seen[i.ID] })
		if len(infos) != 4 {
			t.Fatalf("%d packs", len(infos))
		}
		for i, info := range infos {
			h := info.Header
			if h.Store != ids.Store || h.Domain != ids.Domain || h.Serial != uint64(i+1) || h.Writer != infos[0].Writer || h.Previous != newest {
				t.Errorf("run %d, pack %d: %+v", run, i, h)
			}
			if h.Settled >= h.Serial {
				t.Errorf("run %d, pack %d: settled %d", run, i, h.Settled)
			}
			newest, seen[info.ID] = info.ID, true
			for e, err := range w.ix.AllPacks(t.Context()) {
				e.Live = 0 // only the index counts it
				if e.ID == info.ID && (err != nil || e != info.PackEntry) {
					t.Errorf("the index has %+v, want %+v", e, info.PackEntry)
				}
			}
		}
		if infos[0].Writer == ([16]byte{}) {
			t.Error("no writer")
		}
		for id := range seen {
			if bytes.Compare(id[:], newest[:]) > 0 {
				newest = id
			}
		}
	}
}

// What is settled rises once packs are durable.
func TestSettled(t *testing.T) {
	w := newWorld(t)
	s := w.open(t, &ids)
	r := seeded(t)
	for range 5 {
		put(t, s, cas.Raw, noise(r, 150<<10))
	}
	closeStore(t, s)
	infos := inspect(t, w)
	if h := infos[4].Header; h.Settled < 3 {
		t.Errorf("settled %d in the fifth pack", h.Settled)
	}
}

// A pack that is given up before anything in it is durable is noted as void, so
// it is not missed; one that is deleted is.
func TestVoidAndLost(t *testing.T) {
	w := newWorld(t)
	h := &hooked{Backend: w.mem}
	w.b = h
	s := w.open(t, &ids)
	r := seeded(t)
	put(t, s, cas.Raw, noise(r, 150<<10))
	for range 2 {
		h.setHook(func(op, _ string) error {
			if op == "sync" {
				return errBoom
			}
			return nil
		})
		if _, _, err := tryPut(t.Context(), s, cas.Raw, noise(r, 1000)); !errors.Is(err, errBoom) {
			t.Fatal(err)
		}
		h.setHook(nil)
	}
	for range 4 {
		put(t, s, cas.Raw, noise(r, 150<<10))
	}
	closeStore(t, s)
	infos := inspect(t, w)
	var serials []uint64
	for _, info := range infos {
		serials = append(serials, info.Serial)
	}
	if want := []uint64{1, 4, 5, 6, 7}; !slices.Equal(serials, want) {
		t.Fatalf("serials %v, want %v", serials, want)
	}
	if h := infos[4].Header; h.Settled < 4 {
		t.Errorf("settled %d", h.Settled)
	}
	for _, c := range []struct {
		name  string
		index bool // it is whole
	}{{"without an index", false}, {"with the packs before in the index", true}} {
		ix := castest.NewMemIndex()
		if c.index {
			for _, info := range infos[1:2] {
				if err := ix.Apply(t.Context(), &cas.Change{Packs: []cas.PackEntry{info.PackEntry}}); err != nil {
					t.Fatal(err)
				}
			}
		}
		s2, err := cas.Open(t.Context(), w.mem, ix, &ids)
		if err != nil {
			t.Fatal(err)
		}
		v, err := s2.Survey(t.Context(), nil)
		if err != nil || len(v.Lost) != 0 {
			t.Errorf("%s: %+v, %v", c.name, v.Lost, err)
		}
		closeStore(t, s2)
	}
	if err := w.mem.Delete(t.Context(), infos[0].ID.Key()); err != nil {
		t.Fatal(err)
	}
	v, err := w.open(t, &ids).Survey(t.Context(), nil)
	if err != nil || len(v.Missing) != 1 || v.Missing[0].ID != infos[0].ID || len(v.Unknown) != 0 {
		t.Errorf("with the index: %+v, %v", v, err)
	}
	w.ix = castest.NewMemIndex()
	v, err = w.open(t, &ids).Survey(t.Context(), nil)
	if want := (cas.LostPack{Writer: infos[0].Writer, Serial: 1, Named: infos[4].ID}); err != nil || len(v.Lost) != 1 || v.Lost[0] != want {
		t.Errorf("without an index: %+v, %v; want %+v", v.Lost, err, want)
	}
}

// Survey names what the index does not know, and reads no more than that.
func TestSurvey(t *testing.T) {
	w := newWorld(t)
	s := w.open(t, &ids)
	r := seeded(t)
	for i := range 3 {
		put(t, s, cas.Raw, noise(r, 150<<10))
		if err := s.AppendRecords(t.Context(), &cas.Records{Commit: uint64(10 + i), Slots: [][]byte{noise(r, 100)}}); err != nil {
			t.Fatal(err)
		}
	}
	closeStore(t, s)
	all := inspect(t, w)
	other := ids
	other.Domain = [16]byte{9}
	w2 := &world{mem: w.mem, ix: castest.NewMemIndex(), b: w.mem}
	s = w2.open(t, &other)
	put(t, s, cas.Raw, noise(r, 100))
	closeStore(t, s)
	mine, err := w.mem.Stat(t.Context(), all[0].ID.Key())
	if err != nil {
		t.Fatal(err)
	}

	ix := castest.NewMemIndex()
	short := all[1].PackEntry
	short.Size += 100
	gone := cas.PackEntry{ID: cas.PackID{7}, Size: 5, Serial: 1}
	longer := all[3].PackEntry // it is still open
	longer.Size -= 10
	if err := ix.Apply(t.Context(), &cas.Change{Packs: []cas.PackEntry{all[0].PackEntry, short, longer, gone}}); err != nil {
		t.Fatal(err)
	}
	reads := make(map[string]bool)
	h := &hooked{Backend: w.mem}
	s, err = cas.Open(t.Context(), h, ix, &ids)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	h.setHook(func(op, key string) error {
		if op == "read" {
			reads[key] = true
		}
		return nil
	})
	v, err := s.Survey(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(v.Missing) != 1 || v.Missing[0] != gone {
		t.Errorf("missing %+v", v.Missing)
	}
	if len(v.Short) != 1 || v.Short[0] != short {
		t.Errorf("short %+v", v.Short)
	}
	if len(v.Foreign) != 1 || v.Foreign[0].Header.Domain != other.Domain {
		t.Errorf("foreign %+v", v.Foreign)
	}
	unknown := make(map[cas.PackID]uint64)
	for _, info := range v.Unknown {
		unknown[info.ID] = info.LastCommit
	}
	if len(unknown) != 2 || unknown[all[2].ID] != 11 || unknown[all[3].ID] != 12 {
		t.Errorf("unknown %v", unknown)
	}
	if reads[mine.Key] || reads[short.ID.Key()] || len(reads) != 3 {
		t.Errorf("packs read: %v", reads)
	}
}

// A growing backend lists what it has when grow has returned, but for the key
// that grow names: one that the listing had passed when it was made.
type growing struct {
	backend.Backend
	grow func() (passed string)
}

func (g *growing) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	if g.grow == nil {
		return g.Backend.List(ctx, prefix)
	}
	passed := g.grow()
	return func(yield func(backend.Info, error) bool) {
		for i, err := range g.Backend.List(ctx, prefix) {
			if i.Key != passed && !yield(i, err) {
				return
			}
		}
	}
}

// A survey beside writers calls no pack lost that was made while packs were
// listed, nor a serial that such a pack notes as void.
func TestSurveyBesideWriters(t *testing.T) {
	for _, void := range []bool{false, true} {
		t.Run(fmt.Sprintf("void=%t", void), func(t *testing.T) {
			w := newWorld(t)
			h := &hooked{Backend: w.mem}
			g := &growing{Backend: h}
			w.b = g
			s := w.store(t, &ids)
			r := seeded(t)
			g.grow = func() string {
				g.grow = nil
				if void {
					h.setHook(func(op, _ string) error {
						if op == "sync" || op == "commit" {
							return errors.New("no sync")
						}
						return nil
					})
					if _, _, err := tryPut(t.Context(), s, cas.Raw, noise(r, 100)); err == nil {
						t.Error("a put that could not be synced was acknowledged")
					}
					for _, p := range w.packs(t) {
						if err := w.mem.Delete(t.Context(), p.ID.Key()); err != nil {
							t.Error(err)
						}
					}
					h.setHook(nil)
				}
				put(t, s, cas.Raw, noise(r, 150<<10))
				passed := w.packs(t)
				put(t, s, cas.Raw, noise(r, 150<<10))
				put(t, s, cas.Raw, noise(r, 150<<10))
				if len(passed) != 1 {
					t.Fatalf("%d packs", len(passed))
				}
				return passed[0].ID.Key()
			}
			v, err := s.Survey(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Lost) > 0 || len(v.Missing) > 0 {
				t.Errorf("lost %+v, missing %+v", v.Lost, v.Missing)
			}
			settled := uint64(0)
			for _, info := range v.Unknown {
				settled = max(settled, info.Header.Settled)
			}
			if settled == 0 {
				t.Error("no pack that was listed calls another settled")
			}
		})
	}
}

// Nobody goes on with a pack that another writer may have open.
func TestOpenPackOfAnother(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	s := w.open(t, nil)
	put(t, s, cas.Raw, noise(r, 1000))
	closeStore(t, s)
	s, err := cas.Open(t.Context(), w.b, w.ix, nil)
	if err != nil {
		t.Fatal(err)
	}
	put(t, s, cas.Raw, noise(r, 1000))
	closeStore(t, s)
	if n := len(w.packs(t)); n != 2 {
		t.Errorf("%d packs, want 2", n)
	}
	s = w.open(t, nil)
	put(t, s, cas.Raw, noise(r, 1000))
	closeStore(t, s)
	if n := len(w.packs(t)); n != 2 {
		t.Errorf("%d packs after a store that has the backend to itself, want 2", n)
	}
}

// Inspect tells of frames what a walk tells, from footers and without.
func TestInspect(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, &ids)
	r := seeded(t)
	for i := range 4 {
		put(t, s, cas.Zstd, prose(r, 20<<10), noise(r, 60<<10))
		if err := s.AppendRecords(t.Context(), &cas.Records{Commit: uint64(i + 1), Slots: [][]byte{noise(r, 100), noise(r, 200)}}); err != nil {
			t.Fatal(err)
		}
	}
	for _, info := range inspect(t, w) {
		walked, sealed := frames(t, s, info.PackEntry)
		if sealed != info.Sealed || len(walked) != len(info.Frames) {
			t.Fatalf("sealed %v, %d frames; want %v, %d", info.Sealed, len(info.Frames), sealed, len(walked))
		}
		for i, f := range info.Frames {
			bad, plain, err := s.Verify(t.Context(), f)
			if err != nil || len(bad) > 0 || len(plain) == 0 {
				t.Errorf("frame %d: %d bad, %v", i, len(bad), err)
			}
			if g := walked[i]; !f.Entry.Equal(&g.Entry) || !slices.Equal(f.Slots, g.Slots) || !slices.Equal(f.Chunks, g.Chunks) {
				t.Errorf("frame %d: %+v, want %+v", i, f, g)
			}
		}
	}
}

// A commit's slots may take many frames; frames that several commits share name
// the first and the last.
func TestAppendRecords(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, nil)
	r := seeded(t)
	large := make([][]byte, 5)
	for i := range large {
		large[i] = noise(r, 700<<10)
	}
	if err := s.AppendRecords(t.Context(), &cas.Records{Commit: 3, Slots: large}); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Go(func() {
			if err := s.AppendRecords(t.Context(), &cas.Records{Commit: uint64(10 + i), Slots: [][]byte{fmt.Appendf(nil, "commit %d", i)}}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := s.AppendRecords(t.Context(), &cas.Records{Commit: 40, Base: 39, Slots: [][]byte{[]byte("a checkpoint")}}); err != nil {
		t.Fatal(err)
	}
	info := inspect(t, w)[0]
	if info.LastCommit != 40 {
		t.Errorf("last commit %d", info.LastCommit)
	}
	slots, last := 0, uint64(0)
	for _, f := range info.Frames {
		a, b, base := f.Commits()
		if a > b || base != 0 && (a != 40 || base != 39) {
			t.Errorf("commits %d to %d of %d", a, b, base)
		}
		last = max(last, b)
		slots += len(f.Slots)
	}
	if slots != 26 || last != 40 {
		t.Errorf("%d slots up to commit %d", slots, last)
	}
	for e := range w.ix.AllPacks(t.Context()) {
		if e.LastCommit != 40 {
			t.Errorf("the index has commit %d", e.LastCommit)
		}
	}
	if got := len(records(t, w, s)); got != 26 {
		t.Errorf("%d records", got)
	}
}

// What no reader would take is refused before anything is written.
func TestAppendRecordsRefuses(t *testing.T) {
	for _, slots := range [][][]byte{{make([]byte, cas.MaxRecord+1)}, {[]byte("good"), make([]byte, cas.MaxRecord+1)}, {[]byte("good"), nil}} {
		w := newWorld(t)
		s := w.store(t, nil)
		if err := s.AppendRecords(t.Context(), &cas.Records{Commit: 1, Slots: slots}); !errors.Is(err, cas.ErrTooLarge) {
			t.Errorf("%v", err)
		}
		if n := len(w.packs(t)); n != 0 {
			t.Errorf("%d packs were written", n)
		}
	}
	if _, err := cas.Open(t.Context(), membackend.New(nil), castest.NewMemIndex(), &cas.Options{PackSize: -1}); err == nil {
		t.Error("a negative pack size was taken")
	}
}
