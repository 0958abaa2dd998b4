package links_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
)

func rowsOf(rows ...links.Row) iter.Seq2[links.Row, error] {
	return func(yield func(links.Row, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	}
}

func never(context.Context, links.Link) (bool, error) { return false, nil }

// TestReconcileIsBounded denies more links than one run may let go: it lets none go, and
// says so. A dry run lists them, and Force lets them go.
func TestReconcileIsBounded(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	for i := range 5 {
		f.set(fmt.Sprint(i), "f_cascade", file.ID)
	}
	f.prepare("pending", "f_cascade", file.ID)
	f.openHost(&links.Options{Fields: fields(), Restored: true})
	for _, c := range []struct {
		name     string
		opts     links.ReconcileOptions
		want     error
		standing int
	}{
		{"too many", links.ReconcileOptions{MaxDrops: 5}, links.ErrTooManyDrops, 6},
		{"dry", links.ReconcileOptions{MaxDrops: 6, DryRun: true}, nil, 6},
		{"dry and forced", links.ReconcileOptions{Force: true, DryRun: true}, nil, 6},
		{"forced", links.ReconcileOptions{MaxDrops: 5, Force: true}, nil, 0},
	} {
		dropped := 0
		c.opts.Dropped = func(links.Link) { dropped++ }
		done, err := f.host.Reconcile(t.Context(), never, rowsOf(), &c.opts)
		if !errors.Is(err, c.want) || done.Released != 5 || done.LetGo != 1 || dropped != 6 {
			t.Errorf("%s: %+v, %d dropped, %v", c.name, done, dropped, err)
		}
		if got := f.standing(file.ID); got != c.standing {
			t.Errorf("%s: %d links stand, want %d", c.name, got, c.standing)
		}
		f.checkUnreconciled(c.standing > 0)
	}
	if got := f.state(file.ID); got != "trashed" {
		t.Errorf("the file is %s", got) // what was due has followed
	}
}

// TestReconcileDryRun finds all that there is to do, and does none of it.
func TestReconcileDryRun(t *testing.T) {
	f := newFixture(t)
	a, b, c := f.put("a"), f.put("b"), f.put("c")
	f.set("denied", "f_keep", a.ID)
	f.set("cascaded", "f_cascade", b.ID)
	f.set("cascaded", "f_cascade")
	f.prepare("written", "f_keep", c.ID)
	f.prepare("not written", "f_keep", c.ID)
	f.openHost(&links.Options{Fields: fields(), Restored: true})
	rows := []links.Row{{Collection: "posts", Record: "written", Field: "f_keep", Values: []string{c.ID}},
		{Collection: "posts", Record: "cascaded", Field: "f_cascade", Values: []string{b.ID}}}
	exists := func(_ context.Context, l links.Link) (bool, error) {
		return l.Record == "written" || l.Record == "cascaded", nil
	}
	before := []int{f.standing(a.ID), f.standing(b.ID), f.standing(c.ID)}
	for range 2 {
		done, err := f.host.Reconcile(t.Context(), exists, rowsOf(rows...), &links.ReconcileOptions{DryRun: true})
		f.fail(err)
		want := links.Reconciled{Rows: 2, Links: 3, Made: 2, Confirmed: 1, LetGo: 1, Released: 1, Revived: 1}
		if *done != want {
			t.Errorf("found %+v, want %+v", *done, want)
		}
		if after := []int{f.standing(a.ID), f.standing(b.ID), f.standing(c.ID)}; fmt.Sprint(after) != fmt.Sprint(before) {
			t.Errorf("links %v, before %v", after, before)
		}
		if got := f.state(b.ID); got != "trashed" {
			t.Errorf("the file is %s", got)
		}
		f.checkUnreconciled(true)
	}
	done, err := f.host.Reconcile(t.Context(), exists, rowsOf(rows...), nil)
	f.fail(err)
	if done.Made != 2 || done.Revived != 1 || f.state(b.ID) != "active" {
		t.Errorf("done %+v, the file is %s", *done, f.state(b.ID))
	}
	f.checkUnreconciled(false)
}

// TestReconcileComparesRevisions changes links after the host was asked about them.
func TestReconcileComparesRevisions(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	late := f.prepare("1", "f_keep", file.ID)
	f.openHost(nil)
	exists := func(context.Context, links.Link) (bool, error) {
		return false, f.host.Confirm(t.Context(), late.Token)
	}
	done, err := f.host.Reconcile(t.Context(), exists, rowsOf(), nil)
	f.fail(err)
	if got := f.standing(file.ID); got != 1 {
		t.Errorf("%d links stand, %+v", got, done)
	}
}

// TestReconcileOfAStaleRow makes a link for a row that was read before the record
// changed: the host is asked once more, and the link goes again.
func TestReconcileOfAStaleRow(t *testing.T) {
	f := newFixture(t)
	old, new := f.put("old"), f.put("new")
	f.set("1", "f_cascade", old.ID)
	rows := func(yield func(links.Row, error) bool) {
		f.set("1", "f_cascade", new.ID)
		yield(links.Row{Collection: "posts", Record: "1", Field: "f_cascade", Values: []string{old.ID}}, nil)
	}
	exists := func(_ context.Context, l links.Link) (bool, error) { return l.File == new.ID, nil }
	_, err := f.host.Reconcile(t.Context(), exists, rows, nil)
	f.fail(err)
	if got := f.state(old.ID); got != "trashed" || f.standing(old.ID) != 0 || f.standing(new.ID) != 1 {
		t.Errorf("the old file is %s", got)
	}
}

// TestReconcileInOneDirection leaves rows or links out, or fails: the host does not count
// as reconciled.
func TestReconcileInOneDirection(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	f.set("1", "f_keep", file.ID)
	f.openHost(&links.Options{Fields: fields(), Restored: true})
	broken := errors.New("broken")
	for name, run := range map[string]func() error{
		"rows alone":  func() error { _, err := f.host.Reconcile(t.Context(), nil, rowsOf(), nil); return err },
		"links alone": func() error { _, err := f.host.Reconcile(t.Context(), always, nil, nil); return err },
		"failing rows": func() error {
			_, err := f.host.Reconcile(t.Context(), always, func(yield func(links.Row, error) bool) { yield(links.Row{}, broken) }, nil)
			return wantError(err, broken)
		},
		"failing host": func() error {
			_, err := f.host.Reconcile(t.Context(), func(context.Context, links.Link) (bool, error) { return false, broken }, rowsOf(), nil)
			return wantError(err, broken)
		},
		"a field that is not declared": func() error {
			_, err := f.host.Reconcile(t.Context(), always, rowsOf(links.Row{Collection: "posts", Record: "1", Field: "none"}), nil)
			return wantError(err, links.ErrField)
		},
	} {
		if err := run(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		f.checkUnreconciled(true)
		if got := f.standing(file.ID); got != 1 {
			t.Errorf("%s: %d links stand", name, got)
		}
	}
}

func always(context.Context, links.Link) (bool, error) { return true, nil }

func wantError(err, want error) error {
	if errors.Is(err, want) {
		return nil
	}
	return fmt.Errorf("got %v, want %w", err, want)
}

// TestRowsWithTwins makes one link for a value that stands in a row twice.
func TestRowsWithTwins(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	row := links.Row{Collection: "posts", Record: "1", Field: "many", Values: []string{file.ID, file.ID}}
	for want := int64(1); want >= 0; want-- {
		if done := f.reconcile(row); done.Made != want {
			t.Errorf("reconciled %+v, want %d made", done, want)
		}
	}
	if got := f.standing(file.ID); got != 1 {
		t.Errorf("%d links stand", got)
	}
}
