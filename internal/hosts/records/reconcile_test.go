package records

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
)

// reconcile compares records with links, while others go on to work if busy is set.
func (h *host) reconcile(busy bool) error {
	w := h.w
	var failed error
	meanwhile := func() error {
		if !busy || failed != nil || w.rng.IntN(6) > 0 {
			return nil
		}
		failed = w.work()
		return nil
	}
	rows := func(yield func(links.Row, error) bool) {
		for row, err := range h.db.rows(w.ctx) {
			if !yield(row, err) {
				return
			}
			meanwhile()
		}
	}
	o := &links.ReconcileOptions{Force: w.rng.IntN(4) == 0}
	reconcile := h.reconcileInPages
	paged := w.rng.IntN(2) == 0
	if !paged {
		reconcile = func(exists func(ctx context.Context, l links.Link) (bool, error), rows iter.Seq2[links.Row, error], o *links.ReconcileOptions) (*links.Reconciled, error) {
			return h.h.Reconcile(w.ctx, exists, rows, o)
		}
	}
	w.note("%s: reconcile, busy %t, in pages %t", h.name, busy, paged)
	done, err := reconcile(h.exists(meanwhile), rows, o)
	if errors.Is(err, errGivenUp) {
		w.note("%s: gave a reconciliation up", h.name)
		w.count["given up"]++
		return failed
	}
	w.note("%s: reconciled %+v, %v", h.name, done, err)
	if w.hasCrashed() {
		return failed
	}
	if err != nil || failed != nil {
		return errors.Join(err, failed)
	}
	h.unreconciled, h.suspect = false, false
	w.count["reconciled"]++
	w.count["made"] += int(done.Made)
	w.count["confirmed"] += int(done.Confirmed)
	w.count["let go"] += int(done.LetGo)
	w.count["released"] += int(done.Released)
	w.count["revived"] += int(done.Revived)
	if busy || len(h.live) > 0 || slices.ContainsFunc(h.late, func(x *hold) bool { return x.session == h.session }) {
		return nil
	}
	return h.checkReconciled()
}

// reconcileToTheEnd reconciles until a run is not given up.
func (h *host) reconcileToTheEnd() error {
	for before := h.w.count["reconciled"]; h.w.count["reconciled"] == before; {
		if err := h.reconcile(false); err != nil {
			return err
		}
	}
	return nil
}

// checkReconciled checks that links are those of the records: the host is reconciled,
// and nothing is under way.
func (h *host) checkReconciled() error {
	w := h.w
	want := make(map[place]bool) // true if it is there
	dangling := make(map[place]bool)
	for row, err := range h.db.rows(w.ctx) {
		if err != nil {
			return err
		}
		for _, v := range row.Values {
			p := place{h.name, row.Record, row.Field, v}
			got, err := w.stat(v)
			if err != nil {
				return err
			}
			if want[p] = got != nil; got != nil {
				w.settle(p)
			}
			if got == nil || got.State == buckets.Trashed {
				dangling[p] = true
			}
		}
	}
	got := make(map[place]bool)
	exists := func(_ context.Context, l links.Link) (bool, error) {
		p := place{h.name, l.Record, l.Field, l.Value()}
		if l.State != "confirmed" || l.OnDelete != string(findField(l.Field).OnDelete) {
			return false, fmt.Errorf("link of %s is %s, %s", p, l.State, l.OnDelete)
		}
		got[p] = true
		return true, nil
	}
	o := &links.ReconcileOptions{DryRun: true, Dangling: func(d links.Dangling) {
		p := place{h.name, d.Record, d.Field, d.Value}
		if !dangling[p] || d.Trashed != want[p] {
			dangling[place{record: "told, and is there: " + p.String()}] = true
		}
		delete(dangling, p)
	}}
	done, err := h.h.Reconcile(w.ctx, exists, h.db.rows(w.ctx), o)
	if err != nil {
		return err
	}
	if done.Made+done.Confirmed+done.LetGo+done.Released+done.Revived > 0 {
		return fmt.Errorf("there is more to reconcile: %+v", done)
	}
	for p := range got {
		if _, ok := want[p]; !ok {
			return fmt.Errorf("link of %s, which no record has", p)
		}
	}
	for p, there := range want {
		if there && !got[p] {
			return fmt.Errorf("no link of %s", p)
		}
	}
	if len(dangling) > 0 {
		return fmt.Errorf("not as they were told to dangle: %v", slices.Collect(maps.Keys(dangling)))
	}
	return h.checkEvents(want)
}

// checkEvents checks that the host is told of each value whose file was deleted, where
// the policy says so.
func (h *host) checkEvents(there map[place]bool) error {
	w := h.w
	told := make(map[place]bool)
	var at links.Place
	for done := false; !done; {
		var events []links.Event
		var err error
		if events, at, done, err = h.h.Events(w.ctx, at, 1+w.rng.IntN(5)); err != nil {
			return err
		}
		for _, e := range events {
			told[place{h.name, e.Link.Record, e.Link.Field, e.Link.Value()}] = true
		}
	}
	for p := range told {
		got, err := w.stat(p.value)
		if err != nil {
			return err
		}
		if got != nil && got.State == buckets.Active {
			return fmt.Errorf("an event tells that %s was deleted", p)
		}
	}
	for p, is := range there {
		if findField(p.field).OnDelete != schema.OnDeleteSetNull || told[p] {
			continue
		}
		got, err := w.stat(p.value)
		if err != nil {
			return err
		}
		if is && got.State == buckets.Trashed {
			return fmt.Errorf("no event tells that %s was deleted", p)
		}
	}
	return nil
}
