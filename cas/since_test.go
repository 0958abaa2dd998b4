package cas_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/cas"
)

// checkStamps checks that all chunks of the index have a stamp of at least since.
func (w *world) checkStamps(t *testing.T, since uint64) {
	t.Helper()
	n := 0
	for e, err := range w.ix.AllChunks(t.Context()) {
		if n++; err != nil || e.Stamp < since {
			t.Errorf("chunk %s has stamp %d of a writer that began in %d: %v", e.Digest, e.Stamp, since, err)
		}
	}
	if n == 0 {
		t.Error("nothing is stored")
	}
}

// Whatever way a chunk takes, it is stamped for the writer whose batch has found
// or stored it: as a unit of many, alone in a group, as a segment, or when another
// batch has stored it between the look-up and the append.
func TestBatchStamps(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, nil)
	var big [][]byte
	r := seeded(t)
	for range 40 {
		big = append(big, noise(r, 100<<10))
	}
	small, segment := [][]byte{noise(r, 50), noise(r, 3000)}, noise(r, 500)
	putAll := func(since uint64) {
		t.Helper()
		for _, chunks := range [][][]byte{big, small, slices.Concat(big, small)} {
			b := s.NewBatch(t.Context(), &cas.BatchOptions{Since: since})
			for _, c := range chunks {
				if err := b.Put(c); err != nil {
					t.Fatal(err)
				}
			}
			if err := b.Drain(); err != nil {
				t.Fatal(err)
			}
			if _, err := b.PutSegment(t.Context(), segment); err != nil {
				t.Fatal(err)
			}
			if err := b.Flush(); err != nil {
				t.Fatal(err)
			}
			b.Close()
		}
		w.checkStamps(t, since)
	}
	putAll(0)
	w.ix.NextEpoch()
	w.ix.NextEpoch()
	putAll(1)
	w.ix.NextEpoch()
	putAll(3)
}

// A chunk that is on its way when a batch looks it up, or that another batch
// brings before its frame is appended, is stamped for that batch too.
func TestStampsOfCollidingBatches(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, nil)
	r := seeded(t)
	for round := range uint64(20) {
		w.ix.NextEpoch()
		chunks := [][]byte{noise(r, 900<<10), noise(r, 600<<10), noise(r, 100)}
		var g sync.WaitGroup
		for range 4 {
			g.Go(func() {
				b := s.NewBatch(t.Context(), &cas.BatchOptions{Since: round + 1})
				defer b.Close()
				for _, c := range chunks {
					if err := b.Put(c); err != nil {
						t.Error(err)
					}
				}
				if err := b.Flush(); err != nil {
					t.Error(err)
				}
				var ds []cas.Digest
				for _, c := range chunks {
					ds = append(ds, cas.Sum(c))
				}
				out := make([]cas.ChunkEntry, len(ds))
				if err := w.ix.Chunks(t.Context(), ds, out); err != nil {
					t.Error(err)
				}
				for _, e := range out {
					if !e.Usable() || e.Stamp < round+1 {
						t.Errorf("stamp %d after a batch of a writer of epoch %d", e.Stamp, round+1)
					}
				}
			})
		}
		g.Wait()
	}
}

// An answeringLate index has made the first change that adds chunks long before it answers.
type answeringLate struct {
	cas.Index
	once         sync.Once
	made, answer chan struct{}
}

func (x *answeringLate) Apply(ctx context.Context, c *cas.Change) error {
	err := x.Index.Apply(ctx, c)
	if len(c.Chunks) > 0 {
		x.once.Do(func() {
			close(x.made)
			<-x.answer
		})
	}
	return err
}

// What a writer has appended may be indexed, and be collected again since a floor
// has passed that writer by, before the store learns that it was indexed. A writer
// that begins meanwhile must not count on it, large or small.
func TestCollectedOnItsWay(t *testing.T) {
	for _, size := range []int{100, 700 << 10} {
		w := newWorld(t)
		late := &answeringLate{Index: w.ix, made: make(chan struct{}), answer: make(chan struct{})}
		s, err := cas.Open(t.Context(), w.b, late, nil)
		if err != nil {
			t.Fatal(err)
		}
		chunk := noise(seeded(t), size)
		store := func(since uint64) error {
			b := s.NewBatch(t.Context(), &cas.BatchOptions{Since: since})
			defer b.Close()
			return errors.Join(b.Put(chunk), b.Flush())
		}
		var g errgroup.Group
		g.Go(func() error { return store(0) })
		<-late.made
		w.ix.NextEpoch()
		e := make([]cas.ChunkEntry, 1)
		must(t, w.ix.Chunks(t.Context(), []cas.Digest{cas.Sum(chunk)}, e))
		must(t, w.ix.Apply(t.Context(), &cas.Change{Drop: e}))
		b := s.NewBatch(t.Context(), &cas.BatchOptions{Since: 1})
		must(t, b.Put(chunk))
		must(t, b.Drain())
		close(late.answer)
		must(t, errors.Join(b.Flush(), g.Wait()))
		b.Close()
		w.checkStamps(t, 1)
		checkStored(t, s, chunk)
		closeStore(t, s)
	}
}

// Hit stamps what it finds, and Missing does not.
func TestHit(t *testing.T) {
	w := newWorld(t)
	s := w.store(t, nil)
	refs, _ := put(t, s, cas.Raw, []byte("one"), []byte("two"))
	w.ix.NextEpoch()
	ds := []cas.Digest{refs[0].Digest, {1}, refs[1].Digest}
	for name, look := range map[string]func() ([]cas.Digest, error){
		"Missing": func() ([]cas.Digest, error) { return s.Missing(t.Context(), ds) },
		"Hit":     func() ([]cas.Digest, error) { return s.Hit(t.Context(), 0, ds) },
	} {
		if missing, err := look(); err != nil || !slices.Equal(missing, ds[1:2]) {
			t.Errorf("%s: missing %v, %v", name, missing, err)
		}
		for e := range w.ix.AllChunks(t.Context()) {
			if e.Stamp != 0 {
				t.Errorf("%s stamps for nobody", name)
			}
		}
	}
	if missing, err := s.Hit(t.Context(), 1, ds); err != nil || !slices.Equal(missing, ds[1:2]) {
		t.Errorf("missing %v, %v", missing, err)
	}
	w.checkStamps(t, 1)
}
