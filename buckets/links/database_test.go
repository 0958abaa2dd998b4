package links_test

import (
	"errors"
	"io/fs"
	"math"
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

// TestTwoNewDatabases opens a host with two new databases at once: only one of them becomes
// the host's, whoever begins first, and the other learns of it.
func TestTwoNewDatabases(t *testing.T) {
	for _, firstBegins := range []bool{true, false} {
		f := newFixture(t)
		opts := &links.Options{Name: "new", Fields: fields()}
		offer := func(st links.State) links.State {
			t.Helper()
			st, err := links.Offer(t.Context(), f.store, st, opts)
			f.fail(err)
			return st
		}
		first := offer(links.State{})
		second := offer(links.State{})
		if first.Database == second.Database {
			t.Fatal("two databases have the same ID")
		}
		if firstBegins { // it was told to open again
			if _, err := links.Begin(t.Context(), f.store, first, opts); !errors.Is(err, links.ErrSession) {
				t.Fatalf("the first begins: %v", err)
			}
			first = offer(first)
		}
		winner, loser := first, second
		if !firstBegins {
			winner, loser = second, first
		}
		h, err := links.Begin(t.Context(), f.store, winner, opts)
		f.fail(err)
		f.host = h
		f.checkUnreconciled(false)
		if _, err := links.Begin(t.Context(), f.store, loser, opts); !errors.Is(err, links.ErrSession) {
			t.Errorf("the other begins too: %v", err)
		}
		if _, err := links.Offer(t.Context(), f.store, loser, opts); !errors.Is(err, links.ErrHostDatabase) {
			t.Errorf("the other is offered a session: %v", err)
		}
	}
}

// TestNumbersOutOfBounds offers sessions after numbers that no session has: they would not
// rise any more, and the host could not be opened again.
func TestNumbersOutOfBounds(t *testing.T) {
	f := newFixture(t)
	id := f.keep.st.Database
	for _, n := range []uint64{1 << 53, 1 << 63, math.MaxUint64 - 1, math.MaxUint64} {
		for _, name := range []string{"host", "new"} {
			opts := &links.Options{Name: name, Fields: fields()}
			if _, err := links.Offer(t.Context(), f.store, links.State{Database: id, Session: n}, opts); !errors.Is(err, fs.ErrInvalid) {
				t.Errorf("%s, session %d: %v", name, n, err)
			}
		}
	}
	f.openHost(nil)
	f.checkUnreconciled(false)
	f.keep.st.Session = 1<<53 - 1
	f.openHost(nil)
	f.checkUnreconciled(true)
	f.keep.st.Session = 0
	f.openHost(nil)
}
