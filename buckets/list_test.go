package buckets_test

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

func TestStatAndOpen(t *testing.T) {
	s := open(t, twoBuckets())
	a, b := bucket(t, s, "a"), bucket(t, s, "b")
	one := put(t, a, "f", "one", nil)
	two := put(t, a, "f", "two!", nil)
	for _, tt := range []struct {
		id      string
		opts    *buckets.GetOptions
		content string
		version uint64
		err     error
	}{
		{one.ID, nil, "two!", 2, nil},
		{one.ID, &buckets.GetOptions{Version: 1}, "one", 1, nil},
		{one.ID, &buckets.GetOptions{Version: 2}, "two!", 2, nil},
		{one.ManifestID, nil, "one", 1, nil},
		{two.ManifestID, nil, "two!", 2, nil},
		{one.ManifestID, &buckets.GetOptions{Version: 1}, "one", 1, nil},
		{one.ManifestID, &buckets.GetOptions{Version: 2}, "", 0, buckets.ErrNoVersion},
		{one.ID, &buckets.GetOptions{Version: 3}, "", 0, buckets.ErrNoVersion},
		{one.ID, &buckets.GetOptions{Version: 1 << 63}, "", 0, buckets.ErrNoVersion},
	} {
		f, err := a.Stat(t.Context(), tt.id, tt.opts)
		wantErr(t, tt.id, err, tt.err)
		o, oerr := a.Open(t.Context(), tt.id, tt.opts)
		wantErr(t, tt.id, oerr, tt.err)
		if tt.err != nil {
			continue
		}
		o.Close()
		if f.Version != tt.version || o.File.ManifestID != f.ManifestID || f.ID != one.ID || f.VersionsCount != 2 {
			t.Errorf("%s %v: %+v", tt.id, tt.opts, f)
		}
		if got := read(t, a, tt.id, tt.opts); got != tt.content {
			t.Errorf("%s %v: %q", tt.id, tt.opts, got)
		}
	}
	for _, id := range badIDs(one) {
		for _, opts := range []*buckets.GetOptions{nil, {Trashed: true}, {Version: 1}} {
			_, err := a.Stat(t.Context(), id, opts)
			wantErr(t, "stat "+id, err, buckets.ErrNoFile)
			_, err = a.Open(t.Context(), id, opts)
			wantErr(t, "open "+id, err, buckets.ErrNoFile)
		}
	}
	// What another bucket holds is not there.
	for _, id := range []string{one.ID, one.ManifestID} {
		refuses(t, b, id, buckets.ErrNoFile)
	}
	for _, id := range badIDs(one) {
		refuses(t, a, id, buckets.ErrNoFile)
	}
	for _, path := range []string{"", "/", "f/", "/f", "F", "g", "f\x00"} {
		_, err := a.StatPath(t.Context(), path)
		wantErr(t, "path "+path, err, buckets.ErrNoFile)
	}
	_, err := s.Bucket("c")
	wantErr(t, "unknown bucket", err, buckets.ErrNoBucket)
	if got := s.Buckets(); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("buckets %v", got)
	}
	if got := stat(t, a, one.ID, nil); got.Version != 2 || got.State != buckets.Active {
		t.Errorf("the file changed: %+v", got)
	}
}

// badIDs are IDs of nothing, some of them near those of f.
func badIDs(f *buckets.File) []string {
	return []string{"", "f_", "m_", "f", "x_" + f.ID[2:], "u_" + f.ID[2:], f.ID[2:], f.ID + "0", f.ID[:len(f.ID)-1],
		strings.ToUpper(f.ID), "f_" + f.ManifestID[2:], "m_" + f.ID[2:], f.ID + "\x00", " " + f.ID, "../" + f.ID,
		string(manifest.NewFileID()), string(manifest.NewVersionID()), strings.Repeat("f", 1<<16)}
}

// refuses calls every method that takes an ID.
func refuses(t *testing.T, b *buckets.Bucket, id string, want error) {
	t.Helper()
	ctx := t.Context()
	_, err := b.Stat(ctx, id, nil)
	wantErr(t, "stat", err, want)
	_, err = b.Open(ctx, id, nil)
	wantErr(t, "open", err, want)
	_, err = b.Replace(ctx, id, strings.NewReader("x"), nil)
	wantErr(t, "replace", err, want)
	_, err = b.Update(ctx, id, &buckets.Patch{Name: ptr("x")})
	wantErr(t, "update", err, want)
	_, err = b.Delete(ctx, id, nil)
	wantErr(t, "delete", err, want)
	_, err = b.Undelete(ctx, id)
	wantErr(t, "undelete", err, want)
	wantErr(t, "purge", b.Purge(ctx, id, nil), want)
	_, err = b.Copy(ctx, id, b, nil)
	wantErr(t, "copy", err, want)
	_, err = b.RestoreVersion(ctx, id, 1)
	wantErr(t, "restore version", err, want)
	wantErr(t, "delete version", b.DeleteVersion(ctx, id, 1), want)
	n := 0
	for _, err := range b.Versions(ctx, id) {
		wantErr(t, "versions", err, want)
		n++
	}
	if n != 1 {
		t.Errorf("versions of %q: %d", id, n)
	}
}

func TestList(t *testing.T) {
	b := demo(t)
	all := []string{"a", "a/b", "a/b/c", "a0", "b.txt", "dir/x", "dir/y", "dir.txt", "dirt/z", "z"}
	for _, p := range all {
		folder, name := "", p
		if i := strings.LastIndex(p, "/"); i >= 0 {
			folder, name = p[:i], p[i+1:]
		}
		put(t, b, name, p, &buckets.PutOptions{Folder: folder})
	}
	slices.Sort(all)
	for _, tt := range []struct {
		opts buckets.ListOptions
		want string
	}{
		{buckets.ListOptions{}, strings.Join(all, " ")},
		{buckets.ListOptions{Prefix: "dir"}, "dir.txt dir/x dir/y dirt/z"},
		{buckets.ListOptions{Prefix: "dir/"}, "dir/x dir/y"},
		{buckets.ListOptions{Prefix: "nothing"}, ""},
		{buckets.ListOptions{Folder: ptr("")}, "a a0 b.txt dir.txt z"},
		{buckets.ListOptions{Folder: ptr("dir")}, "dir/x dir/y"},
		{buckets.ListOptions{Folder: ptr("/dir/")}, "dir/x dir/y"},
		{buckets.ListOptions{Folder: ptr("a")}, "a/b"},
		{buckets.ListOptions{Folder: ptr("a/b")}, "a/b/c"},
		{buckets.ListOptions{Folder: ptr("nothing")}, ""},
		{buckets.ListOptions{Folder: ptr("dir"), Prefix: "dir/y"}, "dir/y"},
		{buckets.ListOptions{Folder: ptr("dir"), Prefix: "di"}, "dir/x dir/y"},
		{buckets.ListOptions{Folder: ptr("dir"), Prefix: "a"}, ""},
		{buckets.ListOptions{Folder: ptr(""), Prefix: "d"}, "dir.txt"},
		{buckets.ListOptions{Limit: 3}, "a a/b a/b/c"},
		{buckets.ListOptions{State: buckets.Trashed}, ""},
		{buckets.ListOptions{State: buckets.Quarantined}, ""},
		{buckets.ListOptions{State: buckets.Active, Prefix: "z"}, "z"},
	} {
		if got := strings.Join(paths(t, b, &tt.opts), " "); got != tt.want {
			t.Errorf("%+v:\n got %s\nwant %s", tt.opts, got, tt.want)
		}
		// By pages, whatever their size, the list is the same.
		for limit := 1; limit < 4 && tt.opts.Limit == 0; limit++ {
			if got := strings.Join(pages(t, b, tt.opts, limit, nil), " "); got != tt.want {
				t.Errorf("%+v by %d:\n got %s\nwant %s", tt.opts, limit, got, tt.want)
			}
		}
	}
	for _, err := range b.List(t.Context(), &buckets.ListOptions{State: "lost"}) {
		wantErr(t, "state", err, fs.ErrInvalid)
	}
	for _, err := range b.List(t.Context(), &buckets.ListOptions{Folder: ptr("..")}) {
		wantErr(t, "folder", err, buckets.ErrName)
	}
}

// pages lists what opts choose in pages, with between called after each.
func pages(t *testing.T, b *buckets.Bucket, opts buckets.ListOptions, limit int, between func()) (out []string) {
	t.Helper()
	o := buckets.PageOptions{ListOptions: opts}
	o.Limit = limit
	for {
		page, err := b.ListPage(t.Context(), &o)
		must(t, err)
		for _, f := range page.Files {
			out = append(out, f.Path())
		}
		if o.After = page.Next; o.After == "" {
			return out
		}
		if between != nil {
			between()
		}
	}
}

// Files that come and go between pages neither repeat nor hide those that
// stay.
func TestListPagesStable(t *testing.T) {
	b := demo(t)
	var stay []string
	for i := range 30 {
		name := fmt.Sprintf("stay %03d", i)
		put(t, b, name, "x", nil)
		stay = append(stay, name)
	}
	gone := put(t, b, "stay 010 goes", "x", nil)
	n := 0
	got := pages(t, b, buckets.ListOptions{}, 4, func() {
		put(t, b, fmt.Sprintf("aaa %d", n), "x", nil)
		put(t, b, fmt.Sprintf("stay 0%02d and more", n), "x", nil)
		if n == 1 {
			must(t, b.Purge(t.Context(), gone.ID, nil))
		}
		n++
	})
	seen := make(map[string]bool)
	for _, p := range got {
		if seen[p] {
			t.Errorf("%s was listed twice", p)
		}
		seen[p] = true
	}
	for _, p := range stay {
		if !seen[p] {
			t.Errorf("%s was not listed", p)
		}
	}
	// The file that a cursor stands for may go too.
	opts := &buckets.PageOptions{ListOptions: buckets.ListOptions{Limit: 1}}
	page, err := b.ListPage(t.Context(), opts)
	must(t, err)
	first := page.Files[0]
	opts.After = page.Next
	_, err = b.Delete(t.Context(), first.ID, nil)
	must(t, err)
	if page, err = b.ListPage(t.Context(), opts); err != nil || len(page.Files) != 1 || page.Files[0].Path() <= first.Path() {
		t.Errorf("after %s comes %+v, %v", first.Path(), page, err)
	}
}

func TestListTrash(t *testing.T) {
	s := open(t, twoBuckets())
	a, other := bucket(t, s, "a"), bucket(t, s, "b")
	put(t, other, "f0", "x", nil)
	var ids []string
	for i := range 9 {
		f := put(t, a, fmt.Sprintf("f%d", i), "x", &buckets.PutOptions{Folder: fmt.Sprintf("d%d", i%2)})
		if _, err := a.Delete(t.Context(), f.ID, nil); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, f.ID)
	}
	put(t, a, "active", "x", nil)
	slices.Sort(ids)
	list := func(o buckets.ListOptions) (got []string) {
		for f, err := range a.List(t.Context(), &o) {
			must(t, err)
			if f.State != buckets.Trashed || f.DeletedAt.IsZero() {
				t.Errorf("%+v", f)
			}
			got = append(got, f.ID)
		}
		return got
	}
	if got := list(buckets.ListOptions{State: buckets.Trashed}); !slices.Equal(got, ids) {
		t.Errorf("%v, want %v", got, ids)
	}
	if got := pages(t, a, buckets.ListOptions{State: buckets.Trashed}, 2, nil); len(got) != 9 {
		t.Errorf("by pages: %v", got)
	}
	if got := list(buckets.ListOptions{State: buckets.Trashed, Folder: ptr("d1")}); len(got) != 4 {
		t.Errorf("of a folder: %d", len(got))
	}
	if got := list(buckets.ListOptions{State: buckets.Trashed, Prefix: "d0/f4"}); len(got) != 1 {
		t.Errorf("of a prefix: %d", len(got))
	}
}

func TestDump(t *testing.T) {
	s := open(t, twoBuckets())
	a, b := bucket(t, s, "a"), bucket(t, s, "b")
	who := &access.Principal{ID: "alice", Operator: true}
	big := string(noise(9, 12_000_000)) // more chunks than a row holds
	f1 := put(t, a.As(who), "big", big, &buckets.PutOptions{Folder: "d", MIMEType: "x/y", Tags: []string{"t"},
		Metadata: map[string]any{"n": 9007199254740993}, Digests: []string{"md5"}})
	f2 := put(t, a, "big", "small", &buckets.PutOptions{Folder: "d"})
	f3 := put(t, b, "trashed", "x", nil)
	_, err := b.Delete(t.Context(), f3.ID, nil)
	must(t, err)
	_, err = a.Update(t.Context(), f1.ID, &buckets.Patch{Access: &map[string]string{"read": "true"}})
	must(t, err)
	rows := make(map[string]buckets.Row)
	for r, err := range s.Dump(t.Context()) {
		must(t, err)
		rows[r.ID] = r
	}
	if len(rows) != 3 {
		t.Fatalf("%d rows", len(rows))
	}
	r := rows[f1.ManifestID]
	if r.FileID != f1.ID || r.Version != 1 || r.Bucket != "a" || r.Name != "big" || r.Folder != "d" || r.Size != int64(len(big)) ||
		r.Root != f1.Checksums["root"] || r.Digests["md5"] != f1.Checksums["md5"] || r.DeclaredMIMEType != "x/y" ||
		string(r.Metadata) != `{"n":9007199254740993}` || !slices.Equal(r.Tags, []string{"t"}) || r.Owner != "alice" ||
		r.Access["read"] != "true" || r.State != buckets.Active || r.DeletedAt != nil || r.Chunker == "" {
		t.Errorf("%+v", r)
	}
	if r.Segments == nil || len(r.Segments.Top) != 64 {
		t.Errorf("segments %+v", r.Segments)
	}
	if r := rows[f2.ManifestID]; r.Version != 2 || r.FileID != f1.ID || r.Segments != nil || r.Owner != "alice" {
		t.Errorf("%+v", r)
	}
	if r := rows[f3.ManifestID]; r.State != buckets.Trashed || r.DeletedAt == nil || string(r.Metadata) != "{}" || r.Tags == nil ||
		r.Access == nil || r.Digests == nil {
		t.Errorf("%+v", r)
	}
}
