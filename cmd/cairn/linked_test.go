package main

import (
	"context"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
)

// hostState keeps the state of a host in memory.
type hostState struct{ links.State }

func (m *hostState) Load(context.Context) (links.State, error)    { return m.State, nil }
func (m *hostState) Save(_ context.Context, st links.State) error { m.State = st; return nil }

// A linkedStore is a store with files in bucket demo, and a host alyx whose posts have a
// field of each policy.
type linkedStore struct {
	*testing.T
	store *buckets.Store
	demo  *buckets.Bucket
	keep  hostState
	host  *links.Host
	ids   map[string]string // of files, by name
}

func (s *linkedStore) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// open begins a session of the host.
func (s *linkedStore) open(restored bool) {
	s.Helper()
	opts := &links.Options{Name: "alyx", Restored: restored}
	for _, policy := range []schema.OnDelete{schema.OnDeleteKeep, schema.OnDeleteRestrict, schema.OnDeleteSetNull} {
		opts.Fields = append(opts.Fields, schema.Field{Collection: "posts", Name: string(policy), Bucket: "demo", Pin: schema.PinFile, OnDelete: policy})
	}
	var err error
	s.host, err = links.Open(s.Context(), s.store, &s.keep, opts)
	s.must(err)
}

func (s *linkedStore) put(names ...string) {
	s.Helper()
	for _, name := range names {
		f, err := s.demo.Put(s.Context(), name, strings.NewReader(name), nil)
		s.must(err)
		s.ids[name] = f.ID
	}
}

// prepare makes a pending link of a record to a file.
func (s *linkedStore) prepare(record, field, name string) (token string) {
	s.Helper()
	hold, err := s.host.Prepare(s.Context(), nil, links.Change{Collection: "posts", Record: record, Fields: map[string][]string{field: {s.ids[name]}}})
	s.must(err)
	return hold.Token
}

func (s *linkedStore) set(record, field, name string) {
	s.Helper()
	s.must(s.host.Confirm(s.Context(), s.prepare(record, field, name)))
}

// onLinkedStore makes a store, and calls test with a shell on its directory and with
// one on a server of it.
func onLinkedStore(t *testing.T, prepare func(s *linkedStore), test func(t *testing.T, s *shell)) {
	for _, kind := range []string{"data", "server"} {
		t.Run(kind, func(t *testing.T) {
			dir := t.TempDir()
			store, err := local.Open(t.Context(), dir, nil)
			s := &linkedStore{T: t, store: store, ids: make(map[string]string)}
			s.must(err)
			s.demo, err = store.Bucket("demo")
			s.must(err)
			s.open(false)
			prepare(s)
			if kind == "data" {
				s.must(store.Close())
				test(t, &shell{t, []string{"--data", dir}})
				return
			}
			srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
			t.Cleanup(func() { srv.Close(); store.Close() })
			test(t, &shell{t, []string{"--server", srv.URL}})
		})
	}
}

// checkWidth fails if a line about links does not fit into 60 columns.
func checkWidth(t *testing.T, out string) {
	t.Helper()
	for line := range strings.Lines(out) {
		if n := len([]rune(line)) - 1; n > 60 && !strings.Contains(line, "version") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

// Explanations and previews tell which records hold a file, and what follows.
func TestLinksAreExplained(t *testing.T) {
	onLinkedStore(t, func(s *linkedStore) {
		s.put("a.txt", "b.txt", "c.txt", "free.txt")
		s.set("1", "restrict", "a.txt")
		s.set("2", "keep", "a.txt")
		s.set("3", "set_null", "b.txt")
		s.prepare("4", "keep", "c.txt")
		_, err := s.demo.Delete(s.Context(), s.ids["c.txt"], nil)
		s.must(err)
	}, func(t *testing.T, s *shell) {
		var x client.Explained
		s.decodeJSON(&x, "gc", "explain", "demo/a.txt")
		if len(x.Linked) != 1 || x.Linked[0].Standing != 2 || x.Linked[0].Restrict != 1 || len(x.Linked[0].Records) != 2 {
			t.Errorf("a.txt: %+v", x)
		}
		// Links of one millisecond come in any order.
		first := slices.IndexFunc(x.Linked[0].Records, func(r client.Reference) bool { return r.Record == "1" })
		if r := x.Linked[0].Records[max(first, 0)]; r.Host != "alyx" || r.Collection != "posts" || r.Record != "1" || r.Field != "restrict" || r.OnDelete != "restrict" || r.State != "confirmed" {
			t.Errorf("a.txt is held by %+v", r)
		}
		out, _ := s.run(0, "", "gc", "explain", "demo/a.txt")
		for _, want := range []string{"kept: the file is there; links of records hold it", "2 links stand", "alyx: posts/1.restrict, on_delete: restrict, confirmed",
			"1 with on_delete: restrict: its removal is refused"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		checkWidth(t, out)
		if out, _ := s.run(0, "", "gc", "explain", "demo/free.txt"); strings.Contains(out, "link") {
			t.Errorf("of a file without links\n%s", out)
		}
		var p client.RemovalPreview
		s.decodeJSON(&p, "gc", "preview", "--prefix", "demo")
		if l := p.Links; l.Standing != 4 || l.Refused != 1 || len(l.Refusing) != 1 || len(l.Told) != 1 || len(l.Unreconciled) != 0 {
			t.Errorf("preview %+v", l)
		}
		out, _ = s.run(0, "", "gc", "preview", "--prefix", "demo")
		for _, want := range []string{"links of records: 4 links stand", "1 removal is refused: on_delete: restrict", "demo/a.txt", "alyx: posts/1.restrict",
			"told of it by on_delete: set_null: alyx"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		checkWidth(t, out)
	})
}

// While a host is not reconciled they say that nothing is removed.
func TestUnreconciledIsExplained(t *testing.T) {
	onLinkedStore(t, func(s *linkedStore) {
		s.put("a.txt")
		s.open(true)
	}, func(t *testing.T, s *shell) {
		for _, args := range [][]string{{"gc", "explain", "demo/a.txt"}, {"gc", "preview", "demo/a.txt"}} {
			if out, _ := s.run(0, "", args...); !strings.Contains(out, "host alyx is not reconciled: nothing is removed for good") {
				t.Errorf("%v:\n%s", args, out)
			}
		}
	})
}

// The report tells of files without links and of links without files.
func TestReportOrphansOfRecords(t *testing.T) {
	race.LeaveOut(t)
	onLinkedStore(t, func(s *linkedStore) {
		s.put("a.txt", "b.txt", "free.txt", "old.txt", "c.txt")
		s.set("1", "keep", "a.txt")
		s.must(s.demo.Purge(s.Context(), s.ids["a.txt"], nil))
		s.set("2", "set_null", "b.txt")
		for _, name := range []string{"b.txt", "old.txt"} {
			_, err := s.demo.Delete(s.Context(), s.ids[name], nil)
			s.must(err)
		}
		s.prepare("3", "keep", "c.txt")
		s.must(s.host.End(s.Context()))
	}, func(t *testing.T, s *shell) {
		var r client.OrphanReport
		s.decodeJSON(&r, "report", "orphans")
		got := make(map[string]int64)
		for _, sum := range r.Sums {
			got[sum.Kind+" "+sum.Remedy+" "+sum.Host] = sum.Count
		}
		for _, want := range []string{"unlinked_file nothing ", "unlinked_trash trash ", "dangling_link host alyx", "trashed_link host alyx", "ended_link reconcile alyx"} {
			if got[want] != 1 {
				t.Errorf("no %q in %v", want, got)
			}
		}
		if len(r.Unlinked) != 2 || r.Unlinked[0].Path == "" || len(r.Links) != 3 || r.Links[0].Record != "1" || r.Links[0].Field != "keep" || r.Links[0].Host != "alyx" {
			t.Errorf("%+v", r)
		}
		out, _ := s.run(0, "", "gc", "explain", r.Links[0].FileID)
		if !strings.Contains(out, "it is gone: these records refer to nothing") || !strings.Contains(out, "alyx: posts/1.keep") {
			t.Errorf("explained:\n%s", out)
		}
		out, _ = s.run(0, "", "report", "orphans")
		for _, want := range []string{"files that no record refers to; nothing does by itself", "links to what is gone, of alyx; the host", "demo/free.txt", "alyx: posts/1.keep"} {
			if !strings.Contains(out, want) {
				t.Errorf("no %q in\n%s", want, out)
			}
		}
		for line := range strings.Lines(out) {
			if n := len([]rune(line)) - 1; n > 80 {
				t.Errorf("%d columns: %q", n, line)
			}
		}
		s.checkPlots("report", "orphans")
	})
}
