package records

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
)

// TestReconcileBesideChanges reconciles a host again and again while its records change
// at once, in every order of commits and Confirms, and while files are swept. No file
// goes that a record has, and in the end links are those of the records.
func TestReconcileBesideChanges(t *testing.T) {
	ctx := t.Context()
	w, err := newWorld(ctx, 1, t.TempDir(), 1)
	if err != nil {
		t.Fatal(err)
	}
	h := w.hosts[0]
	defer func() {
		if err := errors.Join(h.db.sql.Close(), w.store.Close()); err != nil {
			t.Error(err)
		}
	}()
	for range 8 {
		if err := w.addFile(); err != nil {
			t.Fatal(err)
		}
	}
	const workers = 4
	rounds := 40 * readNumber(t, "CAIRN_SOAK", 1)
	b := &beside{w: w, h: h, done: make(chan struct{})}
	var changing, reconciling errgroup.Group
	for n := range workers {
		changing.Go(func() error { return b.change(ctx, n, rounds) })
	}
	reconciling.Go(func() error { return b.reconcile(ctx) })
	err = changing.Wait()
	close(b.done)
	if err := errors.Join(err, reconciling.Wait()); err != nil {
		t.Fatal(err)
	}
	if b.runs < 2 {
		t.Errorf("reconciled %d times only", b.runs)
	}
	if err := errors.Join(w.check(), w.settlePolicies()); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d changes beside %d runs, %+v", workers*rounds, b.runs, b.found)
}

// beside is a host whose records change at once.
type beside struct {
	w    *world
	h    *host
	done chan struct{} // closed when changes have ended

	commits sync.Mutex // SQLite has one writer
	runs    int
	found   links.Reconciled
}

// change changes the records of a worker, and those that all share.
func (b *beside) change(ctx context.Context, n, rounds int) error {
	rng := rand.New(rand.NewPCG(uint64(n), 3))
	all := fields()
	var unconfirmed []string
	for range rounds {
		f := &all[rng.IntN(len(all))]
		x := &hold{changes: []links.Change{{Collection: "posts", Record: []string{fmt.Sprint("own", n), "shared"}[rng.IntN(2)], Fields: map[string][]string{f.Name: nil}}}}
		c := &x.changes[0]
		if file := b.w.order[rng.IntN(len(b.w.order))]; rng.IntN(4) > 0 && file.bucket == f.Bucket {
			c.Fields[f.Name] = []string{file.id}
		}
		made, err := b.h.h.Prepare(ctx, nil, *c)
		if errors.Is(err, buckets.ErrNoFile) {
			continue // it is in the trash, since its last link has ended
		}
		if err != nil {
			return err
		}
		x.token, x.values = made.Token, made.Values
		if rng.IntN(8) == 0 {
			if err := b.h.h.Cancel(ctx, x.token); err != nil {
				return err
			}
			continue
		}
		b.commits.Lock()
		err = b.h.db.write(ctx, b.h.session, x)
		b.commits.Unlock()
		if err != nil {
			return err
		}
		// Confirms come in another order than commits.
		unconfirmed = append(unconfirmed, x.token)
		for len(unconfirmed) > rng.IntN(4) {
			i := rng.IntN(len(unconfirmed))
			if err := b.h.h.Confirm(ctx, unconfirmed[i]); err != nil {
				return err
			}
			unconfirmed = append(unconfirmed[:i], unconfirmed[i+1:]...)
		}
	}
	for _, token := range unconfirmed {
		if err := b.h.h.Confirm(ctx, token); err != nil {
			return err
		}
	}
	return nil
}

// reconcile reconciles and sweeps until changes have ended.
func (b *beside) reconcile(ctx context.Context) error {
	for {
		done, err := b.h.h.Reconcile(ctx, b.h.exists(nil), b.h.db.rows(ctx), nil)
		if err != nil {
			return err
		}
		b.runs++
		b.found.Made += done.Made
		b.found.Released += done.Released
		b.found.Revived += done.Revived
		if _, err := b.w.store.Sweep(ctx); err != nil {
			return err
		}
		select {
		case <-b.done:
			return nil
		default:
		}
	}
}
