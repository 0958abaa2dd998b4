package links_test

import (
	"fmt"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/internal/race"
)

// TestResolve tells each of those who ask what they may know, of every state that a
// value can be in.
func TestResolve(t *testing.T) {
	f := newFixture(t)
	ann := f.b.As(who("ann"))
	public := func(name string) *buckets.File {
		file := f.put(name)
		_, err := ann.Update(t.Context(), file.ID, &buckets.Patch{Metadata: map[string]any{"public": true}})
		f.fail(err)
		return file
	}
	own, open := f.put("own"), public("open")
	trashed, openTrashed := f.put("trashed"), public("open trashed")
	purged := f.put("purged")
	f.set("1", "keep", own.ID)
	f.set("2", "set_null", purged.ID)
	f.set("3", "f_set_null", purged.ID)
	for _, file := range []*buckets.File{trashed, openTrashed} {
		_, err := ann.Delete(t.Context(), file.ID, nil)
		f.fail(err)
	}
	f.fail(ann.Purge(t.Context(), purged.ID, nil))
	open2 := map[string]any{"open": true}
	shut := map[string]any{"open": false}
	for _, c := range []struct {
		id     string
		record map[string]any
		want   map[string]links.Status // by who asks
	}{
		{own.ID, nil, map[string]links.Status{"host": links.Found, "operator": links.Found, "ann": links.Found, "bob": links.Absent}},
		{own.ManifestID, nil, map[string]links.Status{"host": links.Found, "ann": links.Found, "bob": links.Absent}},
		{own.ID, open2, map[string]links.Status{"bob": links.Found}},
		{own.ID, shut, map[string]links.Status{"bob": links.Absent}},
		{open.ID, nil, map[string]links.Status{"bob": links.Found}},
		{trashed.ID, nil, map[string]links.Status{"host": links.Deleted, "ann": links.Deleted, "bob": links.Absent}},
		{trashed.ID, open2, map[string]links.Status{"bob": links.Deleted}},
		{openTrashed.ManifestID, nil, map[string]links.Status{"bob": links.Deleted}},
		{purged.ID, nil, map[string]links.Status{"host": links.Deleted, "operator": links.Deleted, "ann": links.Absent, "bob": links.Absent}},
		{purged.ManifestID, open2, map[string]links.Status{"bob": links.Deleted}},
		{"f_" + own.ManifestID[2:], nil, map[string]links.Status{"host": links.Absent, "bob": links.Absent}},
		{"nonsense", open2, map[string]links.Status{"host": links.Absent, "bob": links.Absent}},
	} {
		for name, want := range c.want {
			var asks *access.Principal
			switch name {
			case "host":
			case "operator":
				asks = &access.Principal{Operator: true}
			default:
				asks = who(name)
			}
			out, err := f.host.Resolve(t.Context(), asks, []links.Item{{ID: c.id, Record: c.record}})
			f.fail(err)
			if out[0].Status != want || (out[0].File != nil) != (want == links.Found) {
				t.Errorf("%s as %s with record %v: %s, want %s", c.id, name, c.record, out[0].Status, want)
			}
		}
	}
}

// TestResolveKeepsOrder resolves a page of records with three files each.
func TestResolveKeepsOrder(t *testing.T) {
	race.LeaveOut(t)
	for name, open := range stores() {
		t.Run(name, func(t *testing.T) { testResolveKeepsOrder(t, open) })
	}
}

func testResolveKeepsOrder(t *testing.T, open func(f *fixture) (*buckets.Store, error)) {
	f := newFixtureIn(t, open)
	var items []links.Item
	for n := range 300 {
		file := f.put(fmt.Sprint(n))
		id := file.ID
		if n%3 == 0 {
			id = file.ManifestID
		}
		items = append(items, links.Item{ID: id}, links.Item{ID: id}) // each twice
	}
	out, err := f.host.Resolve(t.Context(), nil, items)
	f.fail(err)
	for i, r := range out {
		if r.ID != items[i].ID || r.File == nil || r.File.Name != fmt.Sprint(i/2) {
			t.Fatalf("item %d: %+v", i, r)
		}
	}
}

// BenchmarkResolve resolves a page of 100 records with three files each, of 1,000, as
// somebody whom the read rule is asked about.
func BenchmarkResolve(b *testing.B) {
	for name, open := range stores() {
		b.Run(name, func(b *testing.B) {
			f := newFixtureIn(b, open)
			ann := who("ann")
			var items []links.Item
			for n := range 1000 {
				file := f.put(fmt.Sprint(n))
				if n%10 < 3 {
					items = append(items, links.Item{ID: file.ID})
				}
			}
			for b.Loop() {
				out, err := f.host.Resolve(b.Context(), ann, items)
				f.fail(err)
				if out[299].Status != links.Found {
					b.Fatal(out[299])
				}
			}
		})
	}
}
