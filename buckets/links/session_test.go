package links_test

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
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

// TestReconcileBesideSessions opens a session while another one is reconciling. Links
// that it prepares meanwhile are left alone, whether the other goes on or has ended;
// one that has ended changes nothing more.
func TestReconcileBesideSessions(t *testing.T) {
	for _, shared := range []bool{true, false} {
		f := newFixture(t)
		kept, file := f.put("kept"), f.put("a")
		f.set("1", "keep", kept.ID)
		first := f.host
		var hold *links.Hold
		asked := 0
		exists := func(context.Context, links.Link) (bool, error) { asked++; return false, nil }
		rows := func(yield func(links.Row, error) bool) {
			f.openHost(&links.Options{Fields: fields(), Shared: shared})
			hold = f.prepare("2", "keep", file.ID)
			yield(links.Row{Collection: "posts", Record: "3", Field: "f_keep", Values: []string{file.ID}}, nil)
		}
		done, err := first.Reconcile(t.Context(), exists, rows, nil)
		if !errors.Is(err, links.ErrSession) {
			t.Errorf("shared %t: reconcile: %+v, %v", shared, done, err)
		}
		if done.LetGo > 0 {
			t.Errorf("shared %t: a link that is pending in a live session was let go: %+v", shared, done)
		}
		if got := f.standing(kept.ID); got != 1 {
			t.Errorf("shared %t: of a record that was not asked about %d links stand", shared, got)
		}
		if got := f.standing(file.ID); got != 1 {
			t.Errorf("shared %t: %d links stand", shared, got)
		}
		f.fail(f.host.Confirm(t.Context(), hold.Token))
	}
}

// standing counts the links of a file that stand.
func (f *fixture) standing(id string) int {
	f.Helper()
	ls, _, err := f.b.References(f.Context(), id, "", 100)
	f.fail(err)
	return len(ls)
}

// TestLateConfirm confirms a change of an ended session after the host's database came
// back from a backup of before it: what the change had replaced is there again, and
// keeps its links.
func TestLateConfirm(t *testing.T) {
	for _, restored := range []bool{true, false} {
		f := newFixture(t)
		before, after := f.put("before"), f.put("after")
		f.set("1", "f_cascade", before.ID)
		late := f.prepare("1", "f_cascade", after.ID) // committed, and then undone if restored
		f.openHost(&links.Options{Fields: fields(), Restored: restored})
		row := links.Row{Collection: "posts", Record: "1", Field: "f_cascade", Values: []string{after.ID}}
		if restored {
			row.Values = []string{before.ID}
		}
		f.reconcile(row)
		for range 2 {
			f.fail(f.host.Confirm(t.Context(), late.Token))
		}
		want := map[bool]string{true: "active", false: "trashed"}[restored]
		if got := f.state(before.ID); got != want {
			t.Errorf("restored %t: what was replaced is %s, want %s", restored, got, want)
		}
		if done := f.reconcile(row); (done.Released == 1) != restored {
			t.Errorf("restored %t: reconciled %+v", restored, done)
		}
		f.month()
		if got := f.state(row.Values[0]); got != "active" {
			t.Errorf("restored %t: what the record has is %s", restored, got)
		}
	}
}

// TestReleasesAreLeftToReconcile confirms a change of an ended session that nobody has
// reconciled since: its links are good, and Reconcile ends those that they replaced.
func TestReleasesAreLeftToReconcile(t *testing.T) {
	f := newFixture(t)
	before, after := f.put("before"), f.put("after")
	f.set("1", "f_cascade", before.ID)
	late := f.prepare("1", "f_cascade", after.ID)
	f.openHost(nil)
	f.fail(f.host.Confirm(t.Context(), late.Token))
	if got := f.state(before.ID); got != "active" {
		t.Errorf("before Reconcile it is %s", got)
	}
	f.reconcile(links.Row{Collection: "posts", Record: "1", Field: "f_cascade", Values: []string{after.ID}})
	if got := f.state(before.ID); got != "trashed" {
		t.Errorf("after Reconcile it is %s", got)
	}
}

// TestGoneFieldIsNotAskedAbout keeps the links of a field that is gone, by its plan:
// the host cannot say which of them stand.
func TestGoneFieldIsNotAskedAbout(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	f.set("1", "f_cascade", file.ID)
	var left []schema.Field
	for _, x := range fields() {
		if x.Name != "f_cascade" {
			left = append(left, x)
		}
	}
	f.openHost(&links.Options{Fields: left, Plans: map[string]schema.Plan{"posts.f_cascade": schema.PlanKeep}})
	if done := f.reconcile(); done.Links != 0 || f.standing(file.ID) != 1 {
		t.Errorf("reconciled %+v", done)
	}
	f.openHost(nil)
	if done := f.reconcile(); done.Released != 1 || f.state(file.ID) != "trashed" {
		t.Errorf("with the field again: reconciled %+v", done)
	}
}

// TestRefusedFields declares fields that are refused: nothing is kept in the host's
// database, and the host counts as reconciled when it is opened with others.
func TestRefusedFields(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	f.set("1", "f_cascade", file.ID)
	kept := f.keep.st
	for want, change := range map[error]func(fs []schema.Field) []schema.Field{
		buckets.ErrNoBucket: func(fs []schema.Field) []schema.Field { fs[0].Bucket = "none"; return fs },
		schema.ErrNoPlan: func(fs []schema.Field) []schema.Field {
			return slices.DeleteFunc(fs, func(f schema.Field) bool { return f.Name == "f_cascade" })
		},
		fs.ErrInvalid: func(fs []schema.Field) []schema.Field { return append(fs, fs[0]) },
	} {
		if _, err := links.Open(t.Context(), f.store, f.keep, &links.Options{Fields: change(fields())}); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
	if f.keep.st != kept {
		t.Errorf("kept %+v, before %+v", f.keep.st, kept)
	}
	f.openHost(nil)
	f.checkUnreconciled(false)
}

// TestLiveSessionsAreBounded opens a host again and again beside its other sessions:
// once there are too many, dead ones must be ended first.
func TestLiveSessionsAreBounded(t *testing.T) {
	race.LeaveOut(t)
	f := newFixture(t)
	open := func() error {
		_, err := links.Open(t.Context(), f.store, f.keep, &links.Options{Shared: true})
		return err
	}
	for range 999 {
		f.fail(open())
	}
	if err := open(); !errors.Is(err, links.ErrSession) {
		t.Fatalf("one more: %v", err)
	}
	f.fail(f.host.EndSession(t.Context(), 7))
	f.fail(open())
}
