package buckets_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A longStore lists files that are nowhere stored, and counts what it yields.
type longStore struct {
	manifest.Store
	rows          []*manifest.Listed // in order of keys
	yielded, bare int
	ranges        int
}

// List implements manifest.Store.
func (s *longStore) List(_ context.Context, _ string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	s.ranges++
	rows := slices.Clone(s.rows)
	if r.Reverse {
		slices.Reverse(rows)
	}
	return func(yield func(*manifest.Listed, error) bool) {
		for _, l := range rows {
			if !strings.HasPrefix(l.Key, r.Prefix) || r.After != "" && (l.Key <= r.After) != r.Reverse || l.Key == r.After {
				continue
			}
			s.yielded++
			if r.Bare {
				s.bare++
				l = &manifest.Listed{Key: l.Key}
			}
			if !yield(l, nil) {
				return
			}
		}
	}
}

// addFiles adds n files of an owner below a folder.
func (s *longStore) addFiles(folder, owner string, n int) {
	for i := range n {
		f := &manifest.File{ID: manifest.NewFileID(), Bucket: "demo", Folder: folder, Name: fmt.Sprintf("%06d", i), Owner: owner,
			CreatedAt: time.UnixMilli(int64(i % 100)), UpdatedAt: time.UnixMilli(int64(n - i))}
		m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, MIMEType: "text/plain", Content: manifest.Content{Size: int64(i)}}
		s.rows = append(s.rows, &manifest.Listed{File: f, Current: m, Key: f.Path()})
	}
	slices.SortFunc(s.rows, func(a, b *manifest.Listed) int { return strings.Compare(a.Key, b.Key) })
}

// newLong returns a bucket in which everybody sees the files that are his, and
// the store that its rows come from.
func newLong(t *testing.T) (*longStore, *buckets.Bucket) {
	t.Helper()
	db, err := pebblestore.Open("meta", &pebblestore.Options{FS: crashfs.New().VFS()})
	must(t, err)
	chunks, err := cas.Open(t.Context(), membackend.New(nil), db.Index("d"), nil)
	must(t, err)
	meta := &longStore{Store: db}
	policy := buckets.Policy{Domain: "d", Access: access.Policy{Rules: compile(t, map[access.Op]string{access.OpRead: mine})}}
	s, err := buckets.New(t.Context(), meta, map[string]*cas.Store{"d": chunks}, map[string]buckets.Policy{"demo": policy}, nil)
	must(t, err)
	t.Cleanup(func() { must(t, errors.Join(s.Close(), db.Close())) })
	return meta, bucket(t, s, "demo")
}

// A page looks at no more rows than it may, whatever there is, and pages come to
// the end. Totals are exact up to 10000 entries.
func TestListPageIsBounded(t *testing.T) {
	race.LeaveOut(t)
	const most = 25_000 + 1 // one to learn that there are more
	meta, trusted := newLong(t)
	ann := trusted.As(&access.Principal{ID: "ann"})
	for _, tt := range []struct {
		name   string
		fill   func()
		b      *buckets.Bucket
		opts   buckets.PageOptions
		pages  int // at the most, of 1000 entries
		shown  int
		total  int
		least  bool
		err    error
		ranges int // of the first page, at the most
	}{
		{name: "nothing", fill: func() {}, b: trusted, pages: 1, ranges: 2},
		{name: "as far as is counted", fill: func() { meta.addFiles("", "ann", 10_000) }, b: ann, pages: 10, shown: 10_000, total: 10_000, ranges: 2},
		{name: "one more", fill: func() { meta.addFiles("", "ann", 10_001) }, b: ann, pages: 11, shown: 10_001, total: 10_000, least: true, ranges: 2},
		{name: "far more", fill: func() { meta.addFiles("", "ann", 12_000) }, b: trusted, pages: 12, shown: 12_000, total: 10_000, least: true, ranges: 2},
		{name: "others' files first", fill: func() { meta.addFiles("a", "bob", 30_000); meta.addFiles("b", "ann", 5) }, b: ann, pages: 2, shown: 5, least: true, ranges: 2},
		{name: "others' files last", fill: func() { meta.addFiles("a", "ann", 5); meta.addFiles("b", "bob", 30_000) }, b: ann, pages: 2, shown: 5, total: 5, least: true, ranges: 2},
		{name: "a name that nobody has", fill: func() { meta.addFiles("", "bob", 30_000) }, b: trusted, opts: buckets.PageOptions{ListOptions: buckets.ListOptions{Search: "x"}}, pages: 2, least: true, ranges: 2},
		{name: "a type that nothing has", fill: func() { meta.addFiles("", "bob", 30_000) }, b: trusted, opts: buckets.PageOptions{ListOptions: buckets.ListOptions{MIMEType: "image/*"}}, pages: 2, least: true, ranges: 2},
		{name: "a folder of very many", fill: func() { meta.addFiles("a", "ann", 30_000); meta.addFiles("b", "ann", 1) }, b: ann, opts: buckets.PageOptions{Folders: true}, pages: 1, shown: 2, total: 2, ranges: 4},
		{name: "a folder of very many, backwards", fill: func() { meta.addFiles("a", "ann", 30_000); meta.addFiles("b", "ann", 1) }, b: trusted, opts: buckets.PageOptions{Folders: true, Order: "-name"}, pages: 1, shown: 2, total: 2, ranges: 4},
		{name: "a folder below the one asked for", fill: func() { meta.addFiles("a/b", "ann", 30_000); meta.addFiles("a", "ann", 1) }, b: ann, opts: buckets.PageOptions{ListOptions: buckets.ListOptions{Folder: ptr("a")}}, pages: 1, shown: 1, total: 1, ranges: 4},
		{name: "folders of others", fill: func() { meta.addFiles("a", "bob", 30_000); meta.addFiles("b", "ann", 1) }, b: ann, opts: buckets.PageOptions{Folders: true}, pages: 2, shown: 1, least: true, ranges: 2},
		{name: "many small folders", fill: func() {
			for i := range 400 {
				meta.addFiles(fmt.Sprintf("%04d", i), "ann", 50)
			}
		}, b: ann, opts: buckets.PageOptions{Folders: true}, pages: 1, shown: 400, total: 400, ranges: 2},
		{name: "by size, as many as can be", fill: func() { meta.addFiles("", "ann", 10_000) }, b: ann, opts: buckets.PageOptions{Order: "-size"}, pages: 10, shown: 10_000, total: 10_000, ranges: 1},
		{name: "by size, one more", fill: func() { meta.addFiles("", "ann", 10_001) }, b: ann, opts: buckets.PageOptions{Order: "size"}, err: buckets.ErrListTooLong, ranges: 1},
		{name: "by time, too many of others", fill: func() { meta.addFiles("", "bob", 30_000) }, b: ann, opts: buckets.PageOptions{Order: "created"}, err: buckets.ErrListTooLong, ranges: 1},
		{name: "by time, of a folder", fill: func() { meta.addFiles("a", "ann", 9); meta.addFiles("b", "ann", 30_000) }, b: ann, opts: buckets.PageOptions{ListOptions: buckets.ListOptions{Folder: ptr("a")}, Order: "updated"}, pages: 1, shown: 9, total: 9, ranges: 1},
		{name: "from as far as can be", fill: func() { meta.addFiles("", "ann", 12_000) }, b: ann, opts: buckets.PageOptions{Offset: 10_000}, pages: 2, shown: 2_000, total: 10_000, least: true, ranges: 3},
		{name: "from further than can be", fill: func() { meta.addFiles("", "ann", 12_000) }, b: trusted, opts: buckets.PageOptions{Offset: 10_001}, err: buckets.ErrListTooLong, ranges: 1},
		{name: "from beyond the end", fill: func() { meta.addFiles("", "ann", 12) }, b: trusted, opts: buckets.PageOptions{Offset: 10_001}, pages: 1, total: 12, ranges: 3},
		{name: "from beyond what is looked at", fill: func() { meta.addFiles("a", "ann", 5); meta.addFiles("b", "bob", 30_000) }, b: ann, opts: buckets.PageOptions{Offset: 6}, err: buckets.ErrListTooLong, ranges: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			meta.rows = nil
			tt.fill()
			opts, shown, pages := tt.opts, 0, 0
			opts.Count = true
			for ; pages == 0 || opts.After != ""; pages++ {
				meta.yielded, meta.ranges = 0, 0
				p, err := tt.b.ListPage(t.Context(), &opts)
				if !errors.Is(err, tt.err) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if meta.yielded > 2*most || pages == 0 && meta.ranges > tt.ranges {
					t.Fatalf("page %d: %d rows of %d ranges were read", pages, meta.yielded, meta.ranges)
				}
				if err != nil {
					return
				}
				if opts.Offset == 0 && opts.Order == "" && meta.yielded > most+2 {
					t.Errorf("page %d: %d rows were read", pages, meta.yielded)
				}
				if pages == 0 && (p.Total != tt.total || p.AtLeast != tt.least) {
					t.Errorf("total %d %v, want %d %v", p.Total, p.AtLeast, tt.total, tt.least)
				}
				shown += len(p.Files) + len(p.Folders)
				opts.After, opts.Offset = p.Next, 0
			}
			if shown != tt.shown || pages > tt.pages {
				t.Errorf("%d shown on %d pages, want %d on %d", shown, pages, tt.shown, tt.pages)
			}
		})
	}
	meta.rows, meta.bare = nil, 0
	meta.addFiles("", "ann", 20_000)
	_, err := trusted.ListPage(t.Context(), &buckets.PageOptions{ListOptions: buckets.ListOptions{Limit: 10}, Count: true})
	if must(t, err); meta.bare < 9_990 {
		t.Errorf("%d files were counted without their rows", meta.bare)
	}
}

// A cursor goes on with the listing that gave it and with no other. It tells
// nothing: the place that it stands for may be the path of somebody else's file.
func TestCursors(t *testing.T) {
	race.LeaveOut(t)
	meta, trusted := newLong(t)
	meta.addFiles("secret", "bob", 30_000)
	meta.addFiles("shared", "ann", 3)
	ann := trusted.As(&access.Principal{ID: "ann"})
	one := func(b *buckets.Bucket, o buckets.PageOptions) (*buckets.Page, error) {
		o.Limit = 1
		return b.ListPage(t.Context(), &o)
	}
	given, err := one(ann, buckets.PageOptions{})
	must(t, err)
	for _, b := range []*buckets.Bucket{ann, trusted} {
		if _, err = one(b, buckets.PageOptions{After: given.Next}); err != nil {
			t.Error(err)
		}
	}
	raw, err := base64.RawURLEncoding.DecodeString(given.Next)
	if err != nil || strings.Contains(string(raw), "secret") || strings.Contains(string(raw), "0") && strings.Contains(string(raw), "249") {
		t.Errorf("a cursor shows a path: %q, %v", raw, err)
	}
	all := map[string]buckets.PageOptions{
		"plain": {}, "by name": {Order: "name"}, "backwards": {Order: "-name"}, "folders": {Folders: true},
		"prefix": {ListOptions: buckets.ListOptions{Prefix: "s"}}, "folder": {ListOptions: buckets.ListOptions{Folder: ptr("shared")}},
		"the root": {ListOptions: buckets.ListOptions{Folder: ptr("")}}, "a folder called none": {ListOptions: buckets.ListOptions{Folder: ptr("none")}},
		"search": {ListOptions: buckets.ListOptions{Search: "0"}}, "type": {ListOptions: buckets.ListOptions{MIMEType: "text/*"}},
		"quarantined":    {ListOptions: buckets.ListOptions{State: buckets.Quarantined}},
		"search, prefix": {ListOptions: buckets.ListOptions{Search: "0", Prefix: "s"}}, "prefix s0": {ListOptions: buckets.ListOptions{Prefix: "s0"}},
	}
	meta.rows = meta.rows[len(meta.rows)-3:]
	for from, o := range all {
		page, err := one(ann, o)
		if err != nil || page.Next == "" {
			continue
		}
		for to, p := range all {
			p.After = page.Next
			same := from == to || from == "plain" && to == "by name" || from == "by name" && to == "plain"
			who := ann
			if to == "quarantined" {
				who = trusted // it is for those who may delete
			}
			if _, err := one(who, p); errors.Is(err, buckets.ErrCursor) == same {
				t.Errorf("the cursor of %s is used for %s: %v", from, to, err)
			}
		}
	}
	for _, order := range buckets.Orders() {
		page, err := one(ann, buckets.PageOptions{Order: order})
		must(t, err)
		for _, other := range buckets.Orders() {
			_, err := one(ann, buckets.PageOptions{Order: other, After: page.Next})
			if errors.Is(err, buckets.ErrCursor) == (order == other) {
				t.Errorf("the cursor of order %s is used for %s: %v", order, other, err)
			}
		}
	}
	for _, bad := range []string{"!", "=", "a", "AAAA", given.Next + "A", given.Next[:len(given.Next)-1], given.Next[1:], strings.ToUpper(given.Next),
		base64.RawURLEncoding.EncodeToString([]byte("secret/000001")), strings.Repeat("A", 10_000), "\x00"} {
		if _, err := one(ann, buckets.PageOptions{After: bad}); !errors.Is(err, buckets.ErrCursor) {
			t.Errorf("cursor %.40q: %v", bad, err)
		}
	}
	for what, o := range map[string]buckets.PageOptions{"order": {Order: "age"}, "minus": {Order: "--name"}, "offset": {Offset: -1},
		"both": {Offset: 1, After: given.Next}, "type": {ListOptions: buckets.ListOptions{MIMEType: "image"}}, "search": {ListOptions: buckets.ListOptions{Search: "\xff"}},
		"long": {ListOptions: buckets.ListOptions{Search: strings.Repeat("x", 256)}}, "state": {ListOptions: buckets.ListOptions{State: "lost"}}} {
		if _, err := one(ann, o); !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}
