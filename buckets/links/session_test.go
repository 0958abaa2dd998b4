package links_test

import (
	"context"
	"errors"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
)

// TestEndedSessionPrepares tests that a session that has ended prepares nothing, not
// even a change that makes no links. What it has prepared before can be confirmed.
func TestEndedSessionPrepares(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	f.set("1", "keep", file.ID)
	zombie := f.host
	before := f.prepare("2", "keep", file.ID)
	f.openHost(nil)
	for _, c := range []links.Change{
		{Collection: "posts", Record: "1", Deleted: true},
		{Collection: "posts", Record: "1", Fields: map[string][]string{"keep": nil}},
		{Collection: "posts", Record: "1", Fields: map[string][]string{"keep": {file.ID}}},
	} {
		if _, err := zombie.Prepare(t.Context(), nil, c); !errors.Is(err, links.ErrSession) {
			t.Errorf("%+v: %v", c, err)
		}
	}
	f.fail(zombie.Confirm(t.Context(), before.Token))
}

// TestSessionNumbers tests which relations of the number that a host's database has kept
// to that in the store mean that one of them is older.
func TestSessionNumbers(t *testing.T) {
	const sessions = 3 // that have begun before
	for _, c := range []struct {
		name         string
		does         func(f *fixture) // between the last session and Open
		unreconciled bool
	}{
		{"the same", func(f *fixture) {}, false},
		{"the host is older", func(f *fixture) { f.keep.st.Session-- }, true},
		{"the host is much older", func(f *fixture) { f.keep.st.Session = 0 }, true},
		{"the host is newer", func(f *fixture) { f.keep.st.Session++ }, true},
		{"an offer was not kept", func(f *fixture) { f.offer() }, false},
		{"an offer was kept and has not begun", func(f *fixture) { f.keep.st = f.offer() }, true},
		{"two offers, the first was kept", func(f *fixture) { f.keep.st = f.offer(); f.offer() }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			for f.keep.st.Session < sessions {
				f.openHost(nil)
			}
			c.does(f)
			f.openHost(nil)
			f.checkUnreconciled(c.unreconciled)
			if f.host.Session() <= sessions {
				t.Errorf("session %d", f.host.Session())
			}
			f.openHost(nil)
			f.checkUnreconciled(c.unreconciled) // it stays so
		})
	}
}

// offer is the first half of Open.
func (f *fixture) offer() links.State {
	f.Helper()
	st, err := links.Offer(f.Context(), f.store, f.keep.st, &links.Options{Fields: fields()})
	f.fail(err)
	return st
}

func (f *fixture) checkUnreconciled(want bool) {
	f.Helper()
	if got, err := f.host.Unreconciled(f.Context()); err != nil || got != want {
		f.Errorf("unreconciled %t, want %t (%v)", got, want, err)
	}
}

// reconcile reconciles the host, of whose records rows are the values of one field
// each.
func (f *fixture) reconcile(rows ...links.Row) *links.Reconciled {
	f.Helper()
	exists := func(_ context.Context, l links.Link) (bool, error) {
		for _, row := range rows {
			if row.Record == l.Record && row.Field == l.Field {
				for _, v := range row.Values {
					if v == l.Value() {
						return true, nil
					}
				}
			}
		}
		return false, nil
	}
	done, err := f.host.Reconcile(f.Context(), exists, func(yield func(links.Row, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}, nil)
	f.fail(err)
	return done
}
