package links_test

import (
	"errors"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/internal/race"
)

// TestPolicies is the table of policies: what follows from the deletion of a file, and
// from the end of its last link.
func TestPolicies(t *testing.T) {
	race.LeaveOut(t)
	for name, open := range stores() {
		t.Run(name, func(t *testing.T) { testPolicies(t, open) })
	}
}

func testPolicies(t *testing.T, open func(f *fixture) (*buckets.Store, error)) {
	for _, c := range []struct {
		policy  string
		deleted string // state of the file after it is deleted
		month   string // and after the window of the trash
		events  int
		ended   string // state after the last link has ended
		gone    string // and after the window of the trash
	}{
		{"keep", "trashed", "trashed", 0, "active", "active"},
		{"restrict", "active", "active", 0, "active", "active"},
		{"cascade", "trashed", "trashed", 0, "trashed", "gone"},
		{"set_null", "trashed", "trashed", 1, "active", "active"},
	} {
		for _, field := range []string{c.policy, "f_" + c.policy} {
			t.Run(field+"/file is deleted", func(t *testing.T) {
				f := newFixtureIn(t, open)
				file := f.put("a.txt")
				hold := f.prepare("1", field, file.ID)
				f.fail(f.host.Confirm(t.Context(), hold.Token))
				_, err := f.b.As(who("ann")).Delete(t.Context(), file.ID, nil)
				if refused := errors.Is(err, buckets.ErrReferenced); refused != (c.policy == "restrict") || err != nil && !refused {
					t.Fatalf("delete: %v", err)
				}
				if got := f.state(file.ID); got != c.deleted {
					t.Errorf("deleted: %s, want %s", got, c.deleted)
				}
				f.checkEvents(c.events)
				f.month()
				if got := f.state(file.ID); got != c.month {
					t.Errorf("after a month: %s, want %s", got, c.month)
				}
				f.checkEvents(c.events)
				want := links.Deleted
				if c.policy == "restrict" {
					want = links.Found
				}
				f.checkResolved(hold.Values[0][field][0], want)
				f.fail(f.host.HandleEvents(t.Context(), acknowledge))
				f.checkEvents(0)
			})
			t.Run(field+"/last link ends", func(t *testing.T) {
				f := newFixtureIn(t, open)
				file := f.put("a.txt")
				f.set("1", field, file.ID)
				f.set("2", field, file.ID)
				f.set("1", field)
				if got := f.state(file.ID); got != "active" {
					t.Fatalf("with a link left: %s", got)
				}
				hold, err := f.host.Prepare(t.Context(), nil, links.Change{Collection: "posts", Record: "2", Deleted: true})
				f.fail(err)
				f.fail(f.host.Confirm(t.Context(), hold.Token))
				if got := f.state(file.ID); got != c.ended {
					t.Errorf("ended: %s, want %s", got, c.ended)
				}
				f.month()
				if got := f.state(file.ID); got != c.gone {
					t.Errorf("after a month: %s, want %s", got, c.gone)
				}
			})
			t.Run(field+"/purge", func(t *testing.T) {
				f := newFixtureIn(t, open)
				file := f.put("a.txt")
				f.set("1", field, file.ID)
				err := f.b.As(who("ann")).Purge(t.Context(), file.ID, nil)
				if refused := errors.Is(err, buckets.ErrReferenced); refused != (c.policy == "restrict") || err != nil && !refused {
					t.Fatalf("purge: %v", err)
				}
				f.checkEvents(c.events)
			})
			t.Run(field+"/never confirmed", func(t *testing.T) {
				f := newFixtureIn(t, open)
				file := f.put("a.txt")
				hold := f.prepare("1", field, file.ID)
				f.fail(f.host.Cancel(t.Context(), hold.Token))
				if got := f.state(file.ID); got != "active" {
					t.Errorf("a link that was cancelled: %s", got)
				}
				f.prepare("1", field, file.ID)
				_, err := f.b.As(who("ann")).Delete(t.Context(), file.ID, nil)
				f.fail(err)
				f.checkEvents(0)
				f.month()
				if got := f.state(file.ID); got != "trashed" {
					t.Errorf("a pending link does not hold: %s", got)
				}
			})
		}
	}
}
