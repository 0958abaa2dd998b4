package links_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// TestEventOutlivesChange changes a field that has a file which is gone or in the trash.
// The host has not acknowledged that: it is still told, and so is who resolves the
// value. Once the field lets go of it, nobody is.
func TestEventOutlivesChange(t *testing.T) {
	set := fields()
	set = append(set, schema.Field{Collection: "posts", Name: "all", Bucket: "docs", Many: true, Pin: schema.PinManifest, OnDelete: schema.OnDeleteSetNull})
	for _, purged := range []bool{true, false} {
		f := newFixture(t)
		f.openHost(&links.Options{Fields: set})
		gone, other := f.put("gone"), f.put("other")
		f.set("1", "all", gone.ManifestID)
		if purged {
			f.fail(f.b.Purge(t.Context(), gone.ID, nil))
		} else {
			_, err := f.b.Delete(t.Context(), gone.ID, nil)
			f.fail(err)
		}
		for _, values := range [][]string{{gone.ManifestID, other.ManifestID}, {gone.ManifestID}} {
			hold := f.prepare("1", "all", values...)
			if got := hold.Values[0]["all"]; !slices.Equal(got, values) {
				t.Fatalf("purged %t: values %v, want %v", purged, got, values)
			}
			f.fail(f.host.Confirm(t.Context(), hold.Token))
			f.checkEvents(1)
			f.checkResolved(gone.ManifestID, links.Deleted)
		}
		f.set("1", "all", other.ManifestID)
		f.checkEvents(0)
	}
}

// TestEventsRepeat tells of a deleted file until that is acknowledged, each host of its
// own records, page by page. A file that is taken out of the trash is told of no more.
func TestEventsRepeat(t *testing.T) {
	f := newFixture(t)
	var deleted []*buckets.File
	for _, name := range []string{"a", "b", "c"} {
		deleted = append(deleted, f.put(name))
	}
	for _, record := range []string{"1", "2", "3"} {
		for _, file := range deleted {
			f.set(record+file.Name, "f_set_null", file.ID)
		}
	}
	first, keep := f.host, f.keep
	f.keep = &memory{}
	f.openHost(&links.Options{Name: "second", Fields: fields()})
	f.set("of the second", "f_set_null", deleted[0].ID)
	for _, file := range deleted {
		_, err := f.b.Delete(t.Context(), file.ID, nil)
		f.fail(err)
	}
	f.checkEvents(1)
	f.host, f.keep = first, keep
	f.checkEvents(9)
	seen := make(map[string]bool)
	var at links.Place
	for done := false; !done; {
		var page []links.Event
		var err error
		page, at, done, err = f.host.Events(t.Context(), at, 2)
		f.fail(err)
		if len(page) > 2 {
			t.Errorf("a page of %d", len(page))
		}
		for _, e := range page {
			if seen[e.Link.Record] {
				t.Errorf("%s twice", e.Link.Record)
			}
			seen[e.Link.Record] = true
		}
	}
	if len(seen) != 9 {
		t.Errorf("pages tell of %d", len(seen))
	}
	failed := errors.New("failed")
	err := f.host.HandleEvents(t.Context(), func(_ context.Context, e links.Event) error {
		if e.Link.Record == "2b" {
			return failed
		}
		return nil
	})
	if !errors.Is(err, failed) {
		t.Errorf("handled: %v", err)
	}
	f.checkEvents(1)
	f.clock.pass(time.Hour)
	_, err = f.b.Undelete(t.Context(), deleted[1].ID)
	f.fail(err)
	f.checkEvents(0)
	f.fail(f.host.HandleEvents(t.Context(), acknowledge))
	_, err = f.b.Delete(t.Context(), deleted[1].ID, nil)
	f.fail(err)
	f.checkEvents(1) // what was not acknowledged is told of again
}

// TestEventsAreBounded looks for events of a file that very many records of another host
// hold: a page is made of some of them, and the event is told by a later page.
func TestEventsAreBounded(t *testing.T) {
	race.LeaveOut(t)
	const most = 10_000
	f := newFixture(t)
	file := f.put("a")
	f.putLinks(most, func(i int, l *manifest.Link) {
		l.Host, l.File, l.Record, l.Field = "other", manifest.FileID(file.ID), fmt.Sprint(i), "f_keep"
	})
	f.set("1", "f_set_null", file.ID)
	_, err := f.b.Delete(t.Context(), file.ID, nil)
	f.fail(err)
	var pages []int
	var at links.Place
	for done := false; !done; {
		var page []links.Event
		page, at, done, err = f.host.Events(t.Context(), at, 100)
		f.fail(err)
		pages = append(pages, len(page))
	}
	if !slices.Equal(pages, []int{0, 1}) {
		t.Errorf("pages of %v events", pages)
	}
	f.fail(f.host.HandleEvents(t.Context(), acknowledge))
	if got := f.standing(file.ID); got != 100 { // as many as it asks for
		t.Errorf("%d links stand", got)
	}
}
