package links_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/internal/race"
)

// Forget ends links in steps, without their policies, and then the host: what it has
// held goes on its ways, after the window of the trash.
func TestForget(t *testing.T) {
	f := newFixture(t)
	file, restricted, deleted := f.put("cascade").ID, f.put("restrict").ID, f.put("deleted").ID
	f.set("1", "f_cascade", file)
	f.set("1", "f_restrict", restricted)
	f.set("1", "f_keep", deleted)
	f.prepare("2", "f_cascade", file)
	_, err := f.b.Delete(t.Context(), deleted, nil)
	f.fail(err)
	f.openHost(&links.Options{Fields: fields(), Restored: true}) // what ends now waits
	f.set("1", "f_cascade")
	n, done, err := links.Forget(t.Context(), f.store, "host")
	if err != nil || !done || n != 4 {
		t.Fatalf("forgot %d links (done %t), %v", n, done, err)
	}
	if _, _, err := links.Forget(t.Context(), f.store, "host"); !errors.Is(err, links.ErrNoHost) {
		t.Errorf("forgotten twice: %v", err)
	}
	if _, err := links.FindHost(t.Context(), f.store, "host"); !errors.Is(err, links.ErrNoHost) {
		t.Errorf("there still: %v", err)
	}
	if _, err := f.host.Prepare(t.Context(), nil, links.Change{Collection: "posts", Record: "3", Fields: map[string][]string{"f_keep": {file}}}); !errors.Is(err, links.ErrSession) {
		t.Errorf("its session goes on: %v", err)
	}
	if got := f.state(file); got != "active" {
		t.Errorf("the policy of a link that was ended so followed: %s", got)
	}
	_, err = f.b.Delete(t.Context(), restricted, nil)
	f.fail(err)
	f.sweep()
	if got := f.state(deleted); got != "trashed" {
		t.Errorf("at once: %s", got)
	}
	f.month()
	if a, b := f.state(deleted), f.state(restricted); a != "gone" || b != "gone" {
		t.Errorf("after a month: %s, %s", a, b)
	}
	f.openHost(nil) // it was not gone for good after all
	if is, err := f.host.Unreconciled(t.Context()); err != nil || !is {
		t.Errorf("back again: unreconciled %t, %v", is, err)
	}
}

// A host of many links is forgotten in several calls.
func TestForgetInSteps(t *testing.T) {
	race.LeaveOut(t)
	f := newFixture(t)
	file := f.put("a").ID
	for i := range 6 { // of 200 links each
		var changes []links.Change
		for k := range 100 {
			changes = append(changes, links.Change{Collection: "posts", Record: fmt.Sprint(i, "-", k), Fields: map[string][]string{"f_keep": {file}, "f_set_null": {file}}})
		}
		hold, err := f.host.Prepare(t.Context(), nil, changes...)
		f.fail(err)
		f.fail(f.host.Confirm(t.Context(), hold.Token))
	}
	for i, want := range []int64{1000, 200} {
		n, done, err := links.Forget(t.Context(), f.store, "host")
		if err != nil || n != want || done != (i == 1) {
			t.Fatalf("call %d: %d links (done %t), %v", i, n, done, err)
		}
	}
}
