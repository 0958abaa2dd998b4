package links_test

import (
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
)

// TestCascadeWaitsForPending ends the last confirmed link of a file, which cascades,
// while another one is pending. What follows is known when that is settled: if it is
// let go the file goes to the trash, and if it is confirmed its own end decides.
func TestCascadeWaitsForPending(t *testing.T) {
	for _, c := range []struct {
		name  string
		field string // of the pending link
		does  func(f *fixture, pending *links.Hold)
		want  string // state of the file
	}{
		{"cancelled", "cascade", func(f *fixture, pending *links.Hold) { f.fail(f.host.Cancel(f.Context(), pending.Token)) }, "trashed"},
		{"cancelled, of a policy that keeps", "keep", func(f *fixture, pending *links.Hold) { f.fail(f.host.Cancel(f.Context(), pending.Token)) }, "trashed"},
		{"let go by Reconcile", "cascade", func(f *fixture, pending *links.Hold) { f.openHost(nil); f.reconcile() }, "trashed"},
		{"confirmed", "cascade", func(f *fixture, pending *links.Hold) { f.fail(f.host.Confirm(f.Context(), pending.Token)) }, "active"},
		{"found by Reconcile", "cascade", func(f *fixture, pending *links.Hold) {
			f.openHost(nil)
			f.reconcile(links.Row{Collection: "posts", Record: "2", Field: "cascade", Values: pending.Values[0]["cascade"]})
		}, "active"},
		{"confirmed, and ended by another policy", "keep", func(f *fixture, pending *links.Hold) {
			f.fail(f.host.Confirm(f.Context(), pending.Token))
			f.set("2", "keep")
			f.reconcile()
		}, "active"},
		{"cancelled, and confirmed late", "cascade", func(f *fixture, pending *links.Hold) {
			f.fail(f.host.Cancel(f.Context(), pending.Token))
			f.fail(f.host.Confirm(f.Context(), pending.Token))
		}, "active"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			file := f.put("a")
			f.set("1", "cascade", file.ID)
			pending := f.prepare("2", c.field, file.ID)
			f.set("1", "cascade")
			if got := f.state(file.ID); got != "active" {
				t.Fatalf("with a pending link it is %s", got)
			}
			f.month() // the end is not forgotten meanwhile
			c.does(f, pending)
			if got := f.state(file.ID); got != c.want {
				t.Errorf("it is %s, want %s", got, c.want)
			}
			f.month()
			if got, want := f.state(file.ID), map[string]string{"trashed": "gone", "active": "active"}[c.want]; got != want {
				t.Errorf("after a month it is %s, want %s", got, want)
			}
		})
	}
}

// TestReconcileEndsBoth lets a confirmed link go and a pending one of the same file,
// in one run and in either order: the file goes to the trash.
func TestReconcileEndsBoth(t *testing.T) {
	for _, confirmedFirst := range []bool{true, false} {
		f := newFixture(t)
		file := f.put("a")
		if !confirmedFirst {
			f.prepare("2", "cascade", file.ID)
		}
		f.set("1", "cascade", file.ID)
		if confirmedFirst {
			f.prepare("2", "cascade", file.ID)
		}
		f.openHost(nil)
		if done := f.reconcile(); done.Released != 1 || done.LetGo != 1 {
			t.Fatalf("reconciled %+v", done)
		}
		if got := f.state(file.ID); got != "trashed" {
			t.Errorf("confirmed first %t: it is %s", confirmedFirst, got)
		}
	}
}
