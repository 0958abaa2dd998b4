package cas_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/internal/race"
)

// A fullIndex has no space for changes.
type fullIndex struct{ cas.Index }

func (fullIndex) Apply(context.Context, *cas.Change) error { return backend.ErrNoSpace }

// A store opens for reading where there is no space to index what the last
// process left, and takes it up when there is.
func TestOpenWithFullIndex(t *testing.T) {
	w := newWorld(t)
	s := w.open(t, &cas.Options{Exclusive: true})
	first, second := []byte("indexed"), []byte("left by a crash")
	put(t, s, cas.Raw, first)
	known := castest.NewMemIndex()
	c := &cas.Change{}
	for f, err := range w.ix.AllFrames(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		c.Frames = append(c.Frames, f)
	}
	for e, err := range w.ix.AllChunks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		c.Chunks = append(c.Chunks, e)
	}
	for p, err := range w.ix.AllPacks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		c.Packs = append(c.Packs, p)
	}
	if err := known.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	put(t, s, cas.Raw, second)
	closeStore(t, s)
	open := func(ix cas.Index) *cas.Store {
		t.Helper()
		s, err := cas.Open(t.Context(), w.b, ix, &cas.Options{Exclusive: true})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	full := open(fullIndex{known})
	checkStored(t, full, first)
	closeStore(t, full)
	again := open(known)
	checkStored(t, again, first, second)
	closeStore(t, again)
}

// Beyond its bound a store takes no new content, in this process and the next. What
// is stored is read and found again, and records are taken.
func TestMaxBytes(t *testing.T) {
	race.LeaveOut(t)
	const most = 3 << 20
	w := newWorld(t)
	r := rand.New(rand.NewPCG(1, 2))
	chunk := func() []byte {
		p := make([]byte, 256<<10)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		return p
	}
	tryPut := func(s *cas.Store, p []byte) error {
		b := s.NewBatch(t.Context(), nil)
		defer b.Close()
		return errors.Join(b.Put(p), b.Flush())
	}
	var stored [][]byte
	s := w.open(t, &cas.Options{Exclusive: true, MaxBytes: most})
	var err error
	for len(stored) < 100 && err == nil {
		p := chunk()
		if err = tryPut(s, p); err == nil {
			stored = append(stored, p)
		}
	}
	if n := len(stored) * 256 << 10; !errors.Is(err, backend.ErrNoSpace) || n > most || n < most/2 {
		t.Fatalf("%d bytes are stored of %d: %v", n, most, err)
	}
	for range 2 {
		checkStored(t, s, stored...)
		if err := tryPut(s, stored[0]); err != nil {
			t.Errorf("a chunk that is stored: %v", err)
		}
		if err := tryPut(s, chunk()); !errors.Is(err, backend.ErrNoSpace) {
			t.Errorf("a new chunk: %v", err)
		}
		if err := s.AppendRecords(t.Context(), &cas.Records{Commit: 1, Slots: [][]byte{chunk()}}); err != nil {
			t.Errorf("records: %v", err)
		}
		closeStore(t, s)
		s = w.open(t, &cas.Options{Exclusive: true, MaxBytes: most})
	}
	closeStore(t, s)
	s = w.open(t, &cas.Options{Exclusive: true, MaxBytes: 2 * most})
	if err := tryPut(s, chunk()); err != nil {
		t.Errorf("with more room: %v", err)
	}
	closeStore(t, s)
}
