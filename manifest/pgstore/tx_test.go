package pgstore_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

// openTwo opens a database as two processes do.
func openTwo(t *testing.T) (a, b *pgstore.DB) {
	t.Helper()
	url := pgtest.Database(t)
	return open(t, url), open(t, url)
}

func putFile(t *testing.T, d *pgstore.DB, name string) (*manifest.Commit, error) {
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Name: name}
	return d.Update(t.Context(), "x", func(tx manifest.Tx) error {
		f.Revision = 0
		return tx.PutFile(t.Context(), f)
	})
}

func unwritten(t *testing.T, d *pgstore.DB) (seqs []uint64) {
	t.Helper()
	for c, err := range d.Unwritten(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		seqs = append(seqs, c.Seq)
	}
	return seqs
}

// TestNumbersInOrder: whoever sees a commit sees all of lower numbers, though
// several processes make some.
func TestNumbersInOrder(t *testing.T) {
	a, b := openTwo(t)
	const writers, each = 6, 15
	done := make(chan struct{})
	seen := make(map[uint64][]uint64) // by the last commit, those up to it
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			last, err := a.LastCommit(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			all := unwritten(t, b)
			n, _ := slices.BinarySearch(all, last+1)
			seen[last] = all[:n]
			select {
			case <-done:
				return
			default:
			}
		}
	})
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for n := range each {
				if _, err := putFile(t, []*pgstore.DB{a, b}[w%2], fmt.Sprint(w, " ", n)); err != nil {
					t.Error(err)
				}
				if _, err := a.TakeNumber(t.Context()); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	close(done)
	watch.Wait()
	all := unwritten(t, a)
	if len(slices.Compact(slices.Clone(all))) != writers*each {
		t.Errorf("%d commits", len(all))
	}
	for last, then := range seen {
		n, _ := slices.BinarySearch(all, last+1)
		if !slices.Equal(then, all[:n]) {
			t.Errorf("up to %d there were %d, now there are %d", last, then, all[:n])
		}
	}
	t.Logf("looked %d times", len(seen))
}

// TestGivenUp: a transaction that the database gives up is run again, also if
// fn passes over the error or returns another.
func TestGivenUp(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(err error) error // what fn returns
	}{
		{"returned", func(err error) error { return err }},
		{"passed over", func(error) error { return nil }},
		{"another", func(err error) error {
			if err != nil {
				return errors.New("could not be used")
			}
			return nil
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := openTwo(t)
			ctx := t.Context()
			g := &manifest.Grant{ID: manifest.NewGrantID(), Bucket: "b", ExpiresAt: day}
			if _, err := a.Update(ctx, "", func(tx manifest.Tx) error { return tx.PutGrant(ctx, g) }); err != nil {
				t.Fatal(err)
			}
			use := func(tx manifest.Tx) (int64, error) { return tx.UseGrant(ctx, "b", g.ID) }
			runs, uses := 0, int64(0)
			_, err := a.Update(ctx, "", func(tx manifest.Tx) error {
				runs++
				if _, err := tx.Grant(ctx, "b", g.ID); err != nil {
					return err
				}
				if runs == 1 {
					_, err := b.Update(ctx, "", func(tx manifest.Tx) error { return without(use(tx)) })
					if err != nil {
						return err
					}
				}
				var err error
				uses, err = use(tx)
				return c.make(err)
			})
			if err != nil || runs != 2 || uses != 2 {
				t.Errorf("%d runs, %d uses, %v", runs, uses, err)
			}
		})
	}
}

// TestErrorOfFn is returned as it is, and what fn has done is undone.
func TestErrorOfFn(t *testing.T) {
	d := open(t, pgtest.Database(t))
	failed := errors.New("failed")
	c, err := d.Update(t.Context(), "x", func(tx manifest.Tx) error {
		return errors.Join(tx.PutFile(t.Context(), &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Name: "f"}), failed)
	})
	if c != nil || !errors.Is(err, failed) {
		t.Errorf("%+v, %v", c, err)
	}
	if _, err := putFile(t, d, "f"); err != nil {
		t.Error(err)
	}
	if _, err := putFile(t, d, "f"); !errors.Is(err, manifest.ErrConflict) {
		t.Errorf("two files at one path: %v", err)
	}
	c, err = d.Update(t.Context(), "", func(tx manifest.Tx) error {
		return tx.PutFile(t.Context(), &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Name: "g"})
	})
	if c != nil || err == nil {
		t.Errorf("a record without a domain: %+v, %v", c, err)
	}
}

// TestSumsUnderRaces: who adds only while a sum is under a bound never gets
// over it, though nobody writes what another has read.
func TestSumsUnderRaces(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	const bound = 5
	full := errors.New("full")
	var wg sync.WaitGroup
	for w := range 8 {
		wg.Go(func() {
			for range 3 {
				u := &manifest.Upload{ID: manifest.NewUploadID(), Bucket: "b", Who: "ann", Held: 1, ExpiresAt: day}
				_, err := []*pgstore.DB{a, b}[w%2].Update(ctx, "", func(tx manifest.Tx) error {
					h, err := tx.UploadsHeld(ctx, "b", "ann")
					if err != nil {
						return err
					}
					if h.Bytes >= bound {
						return full
					}
					return tx.PutUpload(ctx, u)
				})
				if err != nil && !errors.Is(err, full) {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if h, err := a.UploadsHeld(ctx, "b", "ann"); err != nil || h.Bytes != bound || h.Uploads != bound {
		t.Errorf("%+v, %v", h, err)
	}
}

// TestRemovalsInTransactions: a transaction is told of what was removed after
// it began, or is run again; and nothing is removed between that answer and
// its commit.
func TestRemovalsInTransactions(t *testing.T) {
	d := open(t, pgtest.Database(t))
	ctx, ix := t.Context(), d.Index("x")
	e := cas.ChunkEntry{Digest: cas.Sum(nil), Frame: cas.FrameID{1}}
	remove := func() error {
		return errors.Join(ix.Apply(ctx, &cas.Change{Frames: []cas.FrameEntry{{ID: e.Frame}}, Chunks: []cas.ChunkEntry{e}}), ix.Apply(ctx, &cas.Change{Bad: []cas.ChunkEntry{e}}))
	}
	for _, known := range []bool{false, true} { // the domain's row is there
		before, err := d.Removals(ctx, "x")
		if err != nil {
			t.Fatal(err)
		}
		runs, got := 0, uint64(0)
		_, err = d.Update(ctx, "x", func(tx manifest.Tx) error {
			if runs++; runs == 1 {
				if _, err := tx.Home(ctx, "b"); err != nil {
					return err
				}
				if err := remove(); err != nil {
					return err
				}
			}
			b, err := tx.Barrier(ctx, "x")
			got = b.Removals
			return err
		})
		if err != nil || got != before+1 {
			t.Errorf("known %v: %d removals, want %d, %v", known, got, before+1, err)
		}
	}
	removed := make(chan error, 1)
	var atCommit uint64
	if _, err := d.Update(ctx, "x", func(tx manifest.Tx) error {
		b, err := tx.Barrier(ctx, "x")
		n := b.Removals
		if err != nil {
			return err
		}
		go func() { removed <- remove() }()
		// Whatever of it waits by now: the counter is what it was.
		for range 20 {
			if atCommit, err = d.Removals(ctx, "x"); err != nil || atCommit != n {
				return fmt.Errorf("%d removals, then %d, %w", n, atCommit, err)
			}
			time.Sleep(time.Millisecond)
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	if err := <-removed; err != nil {
		t.Error(err)
	}
	if n, err := d.Removals(ctx, "x"); err != nil || n != atCommit+1 {
		t.Errorf("%d removals at last, %v", n, err)
	}
}

// TestFloorsInTransactions: a transaction is told of the floor that was raised
// after it began, or is run again; and the floor is not raised between that
// answer and its commit.
func TestFloorsInTransactions(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	l, err := b.TakeLease(ctx, "y", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	raise := func() error {
		epoch, err := b.NextEpoch(ctx, "y")
		return errors.Join(err, b.RaiseFloor(ctx, l, epoch))
	}
	runs, told := 0, uint64(0)
	_, err = a.Update(ctx, "x", func(tx manifest.Tx) error {
		if _, err := tx.Home(ctx, "b"); err != nil {
			return err
		}
		if runs++; runs == 1 {
			if err := raise(); err != nil {
				return err
			}
		}
		b, err := tx.Barrier(ctx, "y")
		told = b.Floor
		return err
	})
	if err != nil || told != 1 {
		t.Errorf("floor %d, %v", told, err)
	}
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Name: "f"}
	raised, seen := make(chan error, 1), error(nil)
	if _, err := a.Update(ctx, "x", func(tx manifest.Tx) error {
		f.Revision = 0
		if _, err := tx.Barrier(ctx, "y"); err != nil {
			return err
		}
		go func() {
			err := raise()
			_, seen = b.File(ctx, f.ID)
			raised <- err
		}()
		// Whatever of it waits by now: the floor is what it was.
		for range 20 {
			if floor, err := b.Floor(ctx, "y"); err != nil || floor != told {
				return fmt.Errorf("floor %d, then %d, %w", told, floor, err)
			}
			time.Sleep(time.Millisecond)
		}
		return tx.PutFile(ctx, f)
	}); err != nil {
		t.Error(err)
	}
	if err := errors.Join(<-raised, seen); err != nil {
		t.Errorf("after the floor was raised: %v", err)
	}
}

// TestWritersAndEpochs: an epoch that is raised finds every writer that has
// begun before.
func TestWritersAndEpochs(t *testing.T) {
	a, b := openTwo(t)
	ctx := t.Context()
	var mu sync.Mutex
	begun := make(map[manifest.WriterID]uint64)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				w, err := a.Register(ctx, "x")
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				begun[w.ID] = w.Begin
				mu.Unlock()
			}
		})
	}
	known := make(map[manifest.WriterID]bool)
	for range 20 {
		epoch, err := b.NextEpoch(ctx, "x")
		if err != nil {
			t.Fatal(err)
		}
		ws, err := b.Writers(ctx, "x")
		if err != nil {
			t.Fatal(err)
		}
		found := make(map[manifest.WriterID]bool)
		for _, w := range ws {
			found[w.ID] = true
			if w.Begin < epoch {
				known[w.ID] = true
			}
		}
		mu.Lock()
		for id, begin := range begun {
			if begin < epoch && !found[id] {
				t.Errorf("the writer of epoch %d was not found in epoch %d", begin, epoch)
			}
		}
		mu.Unlock()
	}
	wg.Wait()
	epoch, err := b.Epoch(ctx, "x")
	if err != nil || epoch != 20 {
		t.Errorf("epoch %d, %v", epoch, err)
	}
	for id, begin := range begun {
		if begin < epoch && !known[id] {
			t.Errorf("a writer of epoch %d came up after epoch %d was raised", begin, epoch)
		}
	}
}
