package links_test

import (
	"errors"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
)

// TestDatabases opens a host with its own database, an empty one, and that of others.
func TestDatabases(t *testing.T) {
	for _, c := range []struct {
		name    string
		st      func(own, other links.State) links.State
		refused error // without Adopt
	}{
		{"its own", func(own, _ links.State) links.State { return own }, nil},
		{"an empty one", func(_, _ links.State) links.State { return links.State{} }, links.ErrHostDatabase},
		{"that of another host", func(_, other links.State) links.State { return other }, links.ErrHostDatabase},
		{"not an ID", func(own, _ links.State) links.State { return links.State{Database: own.Database[2:], Session: 1} }, links.ErrHostDatabase},
		{"no hexadecimal digits", func(links.State, links.State) links.State { return links.State{Database: "x"} }, links.ErrHostDatabase},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			file := f.put("a")
			f.set("1", "f_keep", file.ID)
			own := f.keep
			f.keep = &memory{}
			f.openHost(&links.Options{Name: "second", Fields: fields()})
			if own.st.Database == f.keep.st.Database || len(own.st.Database) != 32 {
				t.Fatalf("databases %+v and %+v", own.st, f.keep.st)
			}
			f.keep = &memory{c.st(own.st, f.keep.st)}
			before := f.keep.st
			_, err := links.Open(t.Context(), f.store, f.keep, &links.Options{Fields: fields()})
			if !errors.Is(err, c.refused) {
				t.Fatalf("got %v, want %v", err, c.refused)
			}
			if err == nil {
				return
			}
			if f.keep.st != before {
				t.Errorf("kept %+v though it was refused, before %+v", f.keep.st, before)
			}
			f.keep = own // which goes on as before
			f.openHost(nil)
			f.checkUnreconciled(false)
			if f.keep = (&memory{before}); before.Database != "" && len(before.Database) != 32 {
				return
			}
			f.openHost(&links.Options{Fields: fields(), Adopt: true})
			f.checkUnreconciled(true)
			if got := f.standing(file.ID); got != 1 {
				t.Errorf("%d links stand before Reconcile", got)
			}
			if _, err := links.Open(t.Context(), f.store, own, &links.Options{Fields: fields()}); before.Database != "" && !errors.Is(err, links.ErrHostDatabase) {
				t.Errorf("the database of before: %v", err)
			}
		})
	}
}

// TestNewDatabase opens a database that no store has seen, and gets killed before it has
// kept what it was offered, or before it has begun.
func TestNewDatabase(t *testing.T) {
	f := newFixture(t)
	opts := &links.Options{Name: "new", Fields: fields()}
	for _, keeps := range []bool{false, true} {
		keep := &memory{}
		st, err := links.Offer(t.Context(), f.store, keep.st, opts)
		f.fail(err)
		if keeps {
			keep.st = st
		}
		f.keep = keep
		f.openHost(opts)
		f.checkUnreconciled(false) // it has no records yet
		opts = &links.Options{Name: "newer", Fields: fields()}
	}
}

// TestOpeningsSideBySide opens a host twice: the second opening ends the first, unless it
// is shared.
func TestOpeningsSideBySide(t *testing.T) {
	for _, shared := range []bool{false, true} {
		f := newFixture(t)
		file := f.put("a")
		first, state := f.host, f.keep.st
		pending := f.prepare("1", "f_keep", file.ID)
		opts := &links.Options{Fields: fields(), Shared: shared}
		f.openHost(opts)
		if _, err := first.Prepare(t.Context(), nil, change("2", "f_keep", file.ID)); errors.Is(err, links.ErrSession) == shared || err != nil && shared {
			t.Errorf("shared %t: the first prepares: %v", shared, err)
		}
		if _, err := links.Attach(t.Context(), f.store, "host", first.Session()); errors.Is(err, links.ErrSession) == shared || err != nil && shared {
			t.Errorf("shared %t: attach: %v", shared, err)
		}
		done := f.reconcile()
		if (done.LetGo == 0) != shared {
			t.Errorf("shared %t: what the first has pending: %+v", shared, done)
		}
		f.fail(first.Confirm(t.Context(), pending.Token))
		for _, old := range []uint64{0, state.Session, f.host.Session(), f.host.Session() + 5} {
			st := links.State{Database: state.Database, Session: old}
			if _, err := links.Begin(t.Context(), f.store, st, opts); !errors.Is(err, links.ErrSession) {
				t.Errorf("shared %t: session %d begins: %v", shared, old, err)
			}
		}
		f.fail(first.End(t.Context()))
		f.fail(first.End(t.Context()))
		if _, err := first.Prepare(t.Context(), nil, change("2", "f_keep", file.ID)); !errors.Is(err, links.ErrSession) {
			t.Errorf("shared %t: an ended session prepares: %v", shared, err)
		}
	}
}
