package report_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/buckets/schema"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// A host is a program whose records hold files of two buckets of a world.
type host struct {
	name    string
	buckets []string
	state   links.State
	*links.Host
	holds []string // tokens that were neither confirmed nor cancelled
}

func (h *host) Load(context.Context) (links.State, error)    { return h.state, nil }
func (h *host) Save(_ context.Context, st links.State) error { h.state = st; return nil }

func newHosts() []*host {
	return []*host{{name: "h0", buckets: []string{"a", "b"}}, {name: "h1", buckets: []string{"a"}}}
}

// begin begins a session of a host.
func (h *host) begin(w *world, restored, shared bool) {
	w.t.Helper()
	var err error
	h.Host, err = links.Open(w.t.Context(), w.store, h, &links.Options{Name: h.name, Restored: restored, Shared: shared, Fields: h.fields()})
	must(w.t, err)
}

// fields are one of each bucket, pin and policy.
func (h *host) fields() (fs []schema.Field) {
	for _, b := range h.buckets {
		for _, policy := range []schema.OnDelete{schema.OnDeleteKeep, schema.OnDeleteRestrict, schema.OnDeleteCascade, schema.OnDeleteSetNull} {
			for _, pin := range []schema.Pin{schema.PinManifest, schema.PinFile} {
				fs = append(fs, schema.Field{Collection: "posts", Name: fmt.Sprint(b, "_", pin, "_", policy), Bucket: b, Pin: pin, OnDelete: policy})
			}
		}
	}
	return fs
}

// stepLinks changes records of a host somehow.
func (w *world) stepLinks(h *host) {
	w.t.Helper()
	ctx := w.t.Context()
	record := fmt.Sprint(w.rnd.IntN(12))
	var err error
	switch n := w.rnd.IntN(20); {
	case h.Host == nil || n == 0:
		h.begin(w, w.rnd.IntN(8) == 0, w.rnd.IntN(2) == 0)
	case n == 1:
		must(w.t, h.End(ctx))
		h.Host = nil
	case n == 2:
		_, err = h.Reconcile(ctx, func(_ context.Context, l links.Link) (bool, error) { return l.Record > "2", nil }, nil, nil)
	case n == 3:
		err = h.HandleEvents(ctx, func(context.Context, links.Event) error { return nil })
	case n < 6 && len(h.holds) > 0:
		i := w.rnd.IntN(len(h.holds))
		if err = h.Confirm(ctx, h.holds[i]); n == 4 {
			err = h.Cancel(ctx, h.holds[i])
		}
		h.holds = slices.Delete(h.holds, i, i+1)
	case n == 6:
		var hold *links.Hold
		if hold, err = h.Prepare(ctx, nil, links.Change{Collection: "posts", Record: record, Deleted: true}); err == nil {
			err = h.Confirm(ctx, hold.Token)
		}
	case n < 9:
		b, berr := w.store.Bucket(h.buckets[0])
		must(w.t, berr)
		if id := w.someFile(b, manifest.State(w.rnd.IntN(2))); id != "" {
			err = b.Purge(ctx, id, nil)
		}
	default:
		name := h.buckets[w.rnd.IntN(len(h.buckets))]
		b, berr := w.store.Bucket(name)
		must(w.t, berr)
		id := w.someFile(b, manifest.Active)
		if id == "" {
			return
		}
		field := fmt.Sprint(name, "_", []schema.Pin{schema.PinManifest, schema.PinFile}[w.rnd.IntN(2)], "_",
			[]schema.OnDelete{schema.OnDeleteKeep, schema.OnDeleteRestrict, schema.OnDeleteCascade, schema.OnDeleteSetNull}[w.rnd.IntN(4)])
		var hold *links.Hold
		hold, err = h.Prepare(ctx, nil, links.Change{Collection: "posts", Record: record, Fields: map[string][]string{field: {id}}})
		if err == nil && w.rnd.IntN(4) == 0 {
			h.holds = append(h.holds, hold.Token)
		} else if err == nil {
			err = h.Confirm(ctx, hold.Token)
		}
	}
	for _, allowed := range []error{links.ErrLinkLost, links.ErrSession, links.ErrTooManyDrops, buckets.ErrExist, buckets.ErrReferenced, buckets.ErrUnreconciled, fs.ErrNotExist} {
		if errors.Is(err, allowed) {
			return
		}
	}
	must(w.t, err)
}

// linkSums are counts and bytes by kind, remedy and host.
type linkSums map[report.OrphanSum]report.OrphanSum

func (s linkSums) add(kind report.OrphanKind, by report.Remedy, host string, n int64) {
	key := report.OrphanSum{Kind: kind, Remedy: by, Host: host}
	sum := key
	sum.Count, sum.Bytes = s[key].Count+1, s[key].Bytes+n
	s[key] = sum
}

// recountLinks compares all files and links by themselves.
func (w *world) recountLinks() (sums linkSums, unlinked []report.UnlinkedFile, orphans []report.OrphanLink) {
	w.t.Helper()
	ctx := w.t.Context()
	sums = make(linkSums)
	hosts, err := w.db.Hosts(ctx)
	must(w.t, err)
	held := make(map[manifest.FileID]bool)
	for l, err := range w.db.AllLinks(ctx, "") {
		must(w.t, err)
		held[l.File] = held[l.File] || l.State != manifest.LinkLetGo
		if l.State != manifest.LinkPending && l.State != manifest.LinkConfirmed {
			continue
		}
		h := hosts[slices.IndexFunc(hosts, func(h *manifest.Host) bool { return h.Name == l.Host })]
		f, ferr := w.db.File(ctx, l.File)
		verr := ferr
		if l.Version != "" && ferr == nil {
			_, verr = w.db.Manifest(ctx, l.Version)
		}
		o := report.OrphanLink{Remedy: report.ByHost, Link: l}
		if h.Unreconciled {
			o.Remedy = report.ByReconcile
		}
		switch {
		case l.State == manifest.LinkPending && !slices.Contains(h.Live, l.Session):
			o.Kind, o.Remedy = report.OrphanEnded, report.ByReconcile
		case errors.Is(verr, fs.ErrNotExist):
			o.Kind = report.OrphanDangling
		case f.State == manifest.Trashed:
			o.Kind = report.OrphanTrashLink
		default:
			continue
		}
		sums.add(o.Kind, o.Remedy, l.Host, 0)
		orphans = append(orphans, o)
	}
	for f, err := range w.db.AllFiles(ctx) {
		must(w.t, err)
		refers, waits := false, false
		for _, h := range hosts {
			if slices.Contains(h.Buckets, f.Bucket) {
				refers, waits = true, waits || h.Unreconciled
			}
		}
		if !refers || held[f.ID] {
			continue
		}
		kind, by := report.OrphanUnlinked, report.ByNothing
		if f.State == manifest.Trashed {
			kind, by = report.OrphanUnlinkedTrash, report.ByTrash
		}
		if waits {
			by = report.ByReconcile
		}
		sums.add(kind, by, "", f.TotalSize)
		unlinked = append(unlinked, report.UnlinkedFile{Bucket: f.Bucket, Path: f.Path(), File: f.ID, State: f.State, Bytes: f.TotalSize})
	}
	return sums, unlinked, orphans
}

// checkLinks compares the report with a recount, and returns the kinds that there are.
// Lists are of top entries.
func (w *world) checkLinks(top int) map[report.OrphanKind]bool {
	w.t.Helper()
	o, err := w.store.ReportOrphans(w.t.Context(), &report.Options{Top: top})
	must(w.t, err)
	got, kinds := make(linkSums), make(map[report.OrphanKind]bool)
	for _, s := range o.Sums {
		if strings.HasPrefix(string(s.Kind), "unlinked_") || strings.HasSuffix(string(s.Kind), "_link") {
			got[report.OrphanSum{Kind: s.Kind, Remedy: s.Remedy, Host: s.Host}] = s
			kinds[s.Kind] = true
		}
	}
	want, unlinked, orphans := w.recountLinks()
	if !maps.Equal(got, want) {
		w.t.Fatalf("sums are %v, want %v", got, want)
	}
	slices.SortFunc(unlinked, func(a, b report.UnlinkedFile) int {
		return cmp.Or(cmp.Compare(b.Bytes, a.Bytes), strings.Compare(string(a.File), string(b.File)))
	})
	if want := unlinked[:min(top, len(unlinked))]; !slices.Equal(o.Unlinked, want) {
		w.t.Fatalf("files are %v, want %v", o.Unlinked, want)
	}
	named := make(map[report.OrphanKind]int)
	orphans = slices.DeleteFunc(orphans, func(l report.OrphanLink) bool { named[l.Kind]++; return named[l.Kind] > top })
	if !slices.EqualFunc(o.Links, orphans, func(a, b report.OrphanLink) bool {
		return a.Kind == b.Kind && a.Remedy == b.Remedy && *a.Link == *b.Link
	}) {
		w.t.Fatalf("links are %v, want %v", o.Links, orphans)
	}
	return kinds
}

// What is found of links and files in a store with hosts that much has happened to is
// what a recount finds.
func TestOrphanLinksRandom(t *testing.T) {
	race.LeaveOut(t)
	for name, open := range map[string]func(t testing.TB, seed uint64) *world{"pebble": newPebbleWorld, "postgres": newPostgresWorld} {
		t.Run(name, func(t *testing.T) {
			kinds := make(map[report.OrphanKind]bool)
			seeds, least := uint64(4), 4
			if name == "postgres" { // each takes longer
				seeds, least = 1, 2
			}
			for seed := range seeds {
				w := open(t, 300+seed)
				if kinds := w.checkLinks(5); len(kinds) > 0 {
					t.Errorf("without hosts: %v", kinds)
				}
				hosts := newHosts()
				for i := range 120 {
					if w.rnd.IntN(3) > 0 {
						w.stepLinks(hosts[w.rnd.IntN(2)])
					} else {
						w.step()
					}
					if i%15 == 14 {
						maps.Copy(kinds, w.checkLinks(1+w.rnd.IntN(30)))
					}
				}
				w.close()
			}
			if len(kinds) < least {
				t.Errorf("only %v have been met", kinds)
			}
		})
	}
}

// What is said to take away files and links that lack each other does.
func TestOrphanLinksAreMended(t *testing.T) {
	for name, open := range map[string]func(t testing.TB, seed uint64) *world{"pebble": newPebbleWorld, "postgres": newPostgresWorld} {
		t.Run(name, func(t *testing.T) {
			w := open(t, 1)
			ctx := t.Context()
			b, err := w.store.Bucket("a")
			must(t, err)
			h := newHosts()[1]
			h.begin(w, false, false)
			put := func() string {
				t.Helper()
				f, err := b.Put(ctx, fmt.Sprint("f", w.rnd.Uint64()), strings.NewReader("hello"), nil)
				must(t, err)
				return f.ID
			}
			prepare := func(field string, ids ...string) string {
				t.Helper()
				hold, err := h.Prepare(ctx, nil, links.Change{Collection: "posts", Record: "1", Fields: map[string][]string{field: ids}})
				must(t, err)
				return hold.Token
			}
			link := func(field string, ids ...string) {
				t.Helper()
				must(t, h.Confirm(ctx, prepare(field, ids...)))
			}
			is := func(context.Context, links.Link) (bool, error) { return false, nil }
			for _, c := range []struct {
				name  string
				kind  report.OrphanKind
				by    report.Remedy
				plant func() (mend func())
			}{
				{"a file", report.OrphanUnlinked, report.ByNothing, func() func() {
					id := put()
					return func() { link("a_file_keep", id) }
				}},
				{"a file in the trash", report.OrphanUnlinkedTrash, report.ByTrash, func() func() {
					id := put()
					_, err := b.Delete(ctx, id, nil)
					must(t, err)
					return func() { must(t, b.Purge(ctx, id, nil)) }
				}},
				{"a removed file with set_null", report.OrphanDangling, report.ByHost, func() func() {
					id := put()
					link("a_file_set_null", id)
					must(t, b.Purge(ctx, id, nil))
					return func() {
						must(t, h.HandleEvents(ctx, func(context.Context, links.Event) error { return nil }))
					}
				}},
				{"a removed version", report.OrphanDangling, report.ByHost, func() func() {
					id := put()
					link("a_manifest_keep", id)
					_, err := b.Replace(ctx, id, strings.NewReader("world"), nil)
					must(t, err)
					must(t, b.DeleteVersion(ctx, id, 1))
					return func() { link("a_manifest_keep") }
				}},
				{"a deleted file", report.OrphanTrashLink, report.ByHost, func() func() {
					id := put()
					link("a_file_keep", id)
					_, err := b.Delete(ctx, id, nil)
					must(t, err)
					return func() {
						_, err := b.Undelete(ctx, id)
						must(t, err)
					}
				}},
				{"a session that has ended", report.OrphanEnded, report.ByReconcile, func() func() {
					prepare("a_file_keep", put())
					h.begin(w, false, false)
					return func() {
						_, err := h.Reconcile(ctx, is, nil, nil)
						must(t, err)
					}
				}},
				{"a host that is not reconciled", report.OrphanTrashLink, report.ByReconcile, func() func() {
					id := put()
					link("a_file_keep", id)
					_, err := b.Delete(ctx, id, nil)
					must(t, err)
					h.begin(w, true, false)
					return func() {
						_, err := h.Reconcile(ctx, is, nil, nil)
						must(t, err)
					}
				}},
			} {
				count := func() (n int64) {
					t.Helper()
					o, err := w.store.ReportOrphans(ctx, nil)
					must(t, err)
					for _, s := range o.Sums {
						if s.Kind == c.kind && s.Remedy == c.by {
							n += s.Count
						}
					}
					return n
				}
				before := count()
				mend := c.plant()
				if n := count(); n != before+1 {
					t.Errorf("%s: %d %s by %s, want %d", c.name, n, c.kind, c.by, before+1)
				}
				if mend(); count() > before {
					t.Errorf("%s: it is left", c.name)
				}
			}
		})
	}
}

// While hosts work, no link looks as if its file were gone, or its session, though both
// come and go: each link is confirmed before its session ends, and has ended before its
// file is removed.
func TestOrphanLinksUnderLoad(t *testing.T) {
	for name, open := range map[string]func(t testing.TB, seed uint64) *world{"pebble": newPebbleWorld, "postgres": newPostgresWorld} {
		t.Run(name, func(t *testing.T) {
			w := open(t, 1)
			ctx := t.Context()
			b, err := w.store.Bucket("a")
			must(t, err)
			work := func(h *host, n int) error {
				f, err := b.Put(ctx, fmt.Sprint(h.name, n), strings.NewReader("hello"), nil)
				if err != nil {
					return err
				}
				for _, ids := range [][]string{{f.ID}, nil} {
					for _, field := range []string{"a_file_keep", "a_manifest_keep"} {
						if h.Host, err = links.Open(ctx, w.store, h, &links.Options{Name: h.name, Fields: h.fields()}); err != nil {
							return err
						}
						hold, err := h.Prepare(ctx, nil, links.Change{Collection: "posts", Record: fmt.Sprint(n), Fields: map[string][]string{field: ids}})
						if err != nil {
							return err
						}
						if err := errors.Join(h.Confirm(ctx, hold.Token), h.End(ctx)); err != nil {
							return err
						}
					}
				}
				return b.Purge(ctx, f.ID, nil)
			}
			var busy sync.WaitGroup
			var stop atomic.Bool
			var done atomic.Int64
			for _, h := range newHosts() {
				busy.Go(func() {
					for n := 0; !stop.Load(); n++ {
						if err := work(h, n%50); err != nil {
							t.Error(err)
							return
						}
						done.Add(1)
					}
				})
			}
			least := map[string]int{"pebble": 100, "postgres": 20}[name]
			for made := 0; made < least || done.Load() < 20 && !t.Failed(); made++ {
				o, err := w.store.ReportOrphans(ctx, nil)
				if err != nil || len(o.Links) > 0 {
					t.Errorf("%v: %+v", err, o)
					break
				}
			}
			stop.Store(true)
			busy.Wait()
		})
	}
}
