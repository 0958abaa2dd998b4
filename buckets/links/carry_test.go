package links_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// rows returns the rows of all links of the store, which must be closed.
func (f *fixture) rows() map[manifest.LinkID]manifest.Link {
	f.Helper()
	db, err := pebblestore.Open(filepath.Join(f.dir, "meta"), nil)
	f.fail(err)
	out := make(map[manifest.LinkID]manifest.Link)
	for l, err := range db.AllLinks(context.Background(), "") {
		f.fail(err)
		out[l.ID] = *l
	}
	f.fail(db.Close())
	return out
}

// check checks the closed store.
func (f *fixture) check(repair bool) {
	f.Helper()
	report, err := local.Check(f.Context(), f.dir, &local.CheckOptions{Options: *f.opts, Repair: repair})
	f.fail(err)
	if !report.OK {
		f.Fatalf("check: %+v", report.Problems)
	}
}

// TestLinksTravelInPacks loses the database after what moves records from pack to
// pack: all links come back as they were, and nothing is removed before the host is
// reconciled.
func TestLinksTravelInPacks(t *testing.T) {
	race.LeaveOut(t)
	// Records that are worth a checkpoint, and a collection that writes one.
	makeRecords := func(f *fixture) {
		file := f.put("x")
		for n := range 400 {
			_, err := f.b.Update(f.Context(), file.ID, &buckets.Patch{Metadata: map[string]any{"n": n}})
			f.fail(err)
		}
	}
	makeCheckpoint := func(f *fixture) error {
		makeRecords(f)
		report, err := f.store.Collect(f.Context(), &collect.Options{Full: true})
		if err == nil && report.Domains[0].Checkpoint == 0 {
			return errors.New("no checkpoint was written")
		}
		return err
	}
	for _, c := range []struct {
		name string
		does func(f *fixture) error
	}{
		{"at once", func(*fixture) error { return nil }},
		{"after a checkpoint", func(f *fixture) error { return makeCheckpoint(f) }},
		{"after a move, without what was before", func(f *fixture) error {
			makeRecords(f)
			if _, err := f.store.Migrate(f.Context(), "docs", "two", nil); err != nil {
				return err
			}
			// The checkpoint of the domain that the bucket has left knows nothing of it.
			report, err := f.store.Collect(f.Context(), &collect.Options{Full: true})
			if err == nil && (report.Domains[0].Checkpoint == 0 || report.Domains[1].Checkpoint > 0) {
				return fmt.Errorf("checkpoints %d and %d", report.Domains[0].Checkpoint, report.Domains[1].Checkpoint)
			}
			return err
		}},
		{"after a move and changes", func(f *fixture) error {
			file := f.put("late")
			_, err := f.store.Migrate(f.Context(), "docs", "two", nil)
			f.set("9", "keep", file.ID)
			f.set("1", "restrict")
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := newFixture(t)
			f.fail(f.store.Close())
			f.opts.Backends = map[string]local.Backend{"local": {Path: filepath.Join(f.dir, "packs")}, "two": {Path: t.TempDir()}}
			f.openStore()
			f.openHost(nil)
			a, b, cc := f.put("a"), f.put("b"), f.put("c")
			f.set("1", "restrict", a.ID)
			f.set("2", "cascade", b.ID)
			f.set("2", "cascade") // released
			f.set("3", "f_set_null", cc.ID)
			f.prepare("4", "many", a.ID, cc.ID)
			f.fail(f.host.Cancel(t.Context(), f.prepare("5", "keep", a.ID).Token))
			_, err := f.b.Delete(t.Context(), cc.ID, nil)
			f.fail(err)
			f.fail(c.does(f))
			f.fail(f.store.Close())
			want := f.rows()
			if len(want) < 6 {
				t.Fatalf("%d links", len(want))
			}
			f.check(false)
			f.fail(os.RemoveAll(filepath.Join(f.dir, "meta")))
			f.check(true)
			if got := f.rows(); !maps.Equal(got, want) {
				t.Fatalf("got %v, want %v", got, want)
			}
			f.check(false)
			f.openStore()
			if err := f.b.Purge(t.Context(), cc.ID, nil); !errors.Is(err, buckets.ErrUnreconciled) {
				t.Errorf("purge before the host is there: %v", err)
			}
			f.openHost(nil)
			if waits, err := f.host.Unreconciled(t.Context()); err != nil || !waits {
				t.Fatalf("unreconciled: %t, %v", waits, err)
			}
			f.clock.pass(24 * time.Hour)
			if err := f.b.Purge(t.Context(), cc.ID, nil); !errors.Is(err, buckets.ErrUnreconciled) {
				t.Errorf("purge: %v", err)
			}
			f.month()
			if got := f.state(b.ID); got != "trashed" {
				t.Errorf("a file that was cascaded is %s", got)
			}
			rows := func(yield func(links.Row, error) bool) {
				yield(links.Row{Collection: "posts", Record: "3", Field: "f_set_null", Values: []string{cc.ID}}, nil)
			}
			f.checkEvents(0)
			_, err = f.host.Reconcile(t.Context(), func(_ context.Context, l links.Link) (bool, error) { return l.Record == "3", nil }, rows, nil)
			f.fail(err)
			f.checkEvents(1)
			f.sweep()
			if got := f.state(b.ID); got != "gone" {
				t.Errorf("after Reconcile it is %s", got)
			}
			f.fail(f.b.Purge(t.Context(), a.ID, nil))
		})
	}
}

// TestCheckOfLinks changes the row of a link behind the store's back: a check tells that
// the packs and the sums lack it, and a repair brings it to both.
func TestCheckOfLinks(t *testing.T) {
	f := newFixture(t)
	file := f.put("a")
	f.set("1", "restrict", file.ID)
	f.fail(f.store.Close())
	var l manifest.Link
	for _, l = range f.rows() {
	}
	l.Revision, l.State = l.Revision+1, manifest.LinkReleased
	db, err := pebblestore.Open(filepath.Join(f.dir, "meta"), nil)
	f.fail(err)
	f.fail(db.Restore(t.Context(), 1, []manifest.Record{{Link: &l}}))
	f.fail(db.Close())
	report, err := local.Check(t.Context(), f.dir, &local.CheckOptions{Options: *f.opts})
	f.fail(err)
	var kinds []string
	for _, p := range report.Problems {
		kinds = append(kinds, p.Kind)
	}
	if slices.Sort(kinds); report.OK || !slices.Contains(kinds, "index") || !slices.Contains(kinds, "metadata") {
		t.Fatalf("check: %+v", report.Problems)
	}
	f.check(true)
	f.check(false)
	if got := f.rows()[l.ID]; got != l {
		t.Errorf("got %+v, want %+v", got, l)
	}
	f.openStore()
	f.fail(f.b.Purge(t.Context(), file.ID, nil))
}
