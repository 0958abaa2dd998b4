package records

import (
	"context"
	"errors"
	"iter"

	"github.com/cairn-store/cairn/buckets/links"
)

// errGivenUp reports a run that the host has left off.
var errGivenUp = errors.New("the run was given up")

// reconcileInPages is Reconcile as a host far away does it, which knows of a run nothing
// but its token. It may give it up at any step.
func (h *host) reconcileInPages(exists func(ctx context.Context, l links.Link) (bool, error), rows iter.Seq2[links.Row, error], o *links.ReconcileOptions) (*links.Reconciled, error) {
	w := h.w
	r, err := h.h.BeginRun(w.ctx, o)
	if err != nil {
		return nil, err
	}
	step := func(fn func(r *links.Run) error) error {
		if w.rng.IntN(60) == 0 {
			return errGivenUp
		}
		next, err := h.h.ResumeRun(r.Token())
		if err == nil {
			err = fn(next)
		}
		if err == nil {
			r = next
		}
		return err
	}
	size := 1 + w.rng.IntN(8)
	var some []links.Row
	add := func(last bool) error {
		err := step(func(r *links.Run) error {
			_, err := r.AddRows(w.ctx, some, last)
			return err
		})
		some = some[:0]
		return err
	}
	for row, err := range rows {
		if err == nil && len(some) == size {
			err = add(false)
		}
		if err != nil {
			return nil, err
		}
		some = append(some, row)
	}
	if err := add(true); err != nil {
		return nil, err
	}
	var verdicts, denied []links.Verdict
	for done := false; !done; {
		var page []links.Link
		err := step(func(r *links.Run) (err error) {
			page, done, err = r.NextLinks(w.ctx, verdicts, size)
			return err
		})
		if err != nil {
			return nil, err
		}
		verdicts = nil
		for _, l := range page {
			is, err := exists(w.ctx, l)
			if err != nil {
				return nil, err
			}
			v := links.Verdict{ID: l.ID, Revision: l.Revision, Exists: is}
			if verdicts = append(verdicts, v); !is {
				denied = append(denied, v)
			}
		}
	}
	for len(denied) > 0 {
		n := min(size, len(denied))
		if err := step(func(r *links.Run) error { return r.Drop(w.ctx, denied[:n]) }); err != nil {
			return nil, err
		}
		denied = denied[n:]
	}
	reconciled := false
	err = step(func(r *links.Run) (err error) {
		reconciled, err = r.End(w.ctx)
		return err
	})
	if err == nil && !reconciled {
		err = errors.New("a run over all rows and links has ended, and the host is not reconciled")
	}
	done := r.Counts()
	return &done, err
}
