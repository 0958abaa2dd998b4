package cas_test

import (
	"context"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
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
