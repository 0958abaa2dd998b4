package buckets_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/internal/race"
)

// A modelEntry is a line of a listing as the model has it: a file or a folder.
type modelEntry struct {
	file   *buckets.File
	folder string
}

// modelListing is what a listing is, said in the plainest way.
func modelListing(files []*buckets.File, o *buckets.PageOptions, visible func(*buckets.File) bool) (out []modelEntry) {
	seen := make(map[string]bool)
	for _, f := range files {
		family, wild := strings.CutSuffix(o.MIMEType, "*")
		switch {
		case !visible(f), f.State != cmp.Or(o.State, buckets.Active), !strings.HasPrefix(f.Path(), o.Prefix):
			continue
		case !strings.Contains(strings.ToLower(f.Name), strings.ToLower(o.Search)):
			continue
		case !strings.HasPrefix(f.MIMEType, strings.ToLower(o.MIMEPrefix)):
			continue
		case o.MIMEType != "" && o.MIMEType != "*/*" && f.MIMEType != o.MIMEType && !(wild && strings.HasPrefix(f.MIMEType, family)):
			continue
		}
		base := o.Prefix
		if o.Folder != nil {
			if base = *o.Folder; base != "" {
				base += "/"
			}
			if !strings.HasPrefix(f.Path(), base) {
				continue
			}
		}
		first, _, deeper := strings.Cut(strings.TrimPrefix(f.Path(), base), "/")
		switch {
		case !deeper || o.Folder == nil && !o.Folders:
			out = append(out, modelEntry{file: f})
		case o.Folders && !seen[base+first]:
			seen[base+first] = true
			out = append(out, modelEntry{folder: base + first})
		}
	}
	slices.SortFunc(out, func(a, b modelEntry) int { return compareEntries(a, b, o) })
	return out
}

func compareEntries(a, b modelEntry, o *buckets.PageOptions) int {
	sign := 1
	if strings.HasPrefix(string(o.Order), "-") {
		sign = -1
	}
	by := buckets.Order(strings.TrimPrefix(string(o.Order), "-"))
	if by == "" && cmp.Or(o.State, buckets.Active) != buckets.Active && !o.Folders {
		return cmp.Compare(a.file.ID, b.file.ID)
	}
	if by == "" || by == buckets.OrderName {
		path := func(e modelEntry) string {
			if e.file != nil {
				return e.file.Path()
			}
			return e.folder + "/"
		}
		if c := cmp.Compare(path(a), path(b)); c != 0 || a.file == nil {
			return sign * c
		}
		return sign * cmp.Compare(a.file.ID, b.file.ID)
	}
	if a.file == nil || b.file == nil {
		if a.file == nil && b.file == nil {
			return cmp.Compare(a.folder, b.folder)
		}
		if a.file == nil {
			return -1
		}
		return 1
	}
	value := func(f *buckets.File) int64 {
		switch by {
		case buckets.OrderCreated:
			return f.CreatedAt.UnixMilli()
		case buckets.OrderUpdated:
			return f.UpdatedAt.UnixMilli()
		}
		return f.Size
	}
	return sign * cmp.Or(cmp.Compare(value(a.file), value(b.file)), cmp.Compare(a.file.ID, b.file.ID))
}

// describePage is a page as a line of text, files and folders each in order.
func describePage(entries []modelEntry) string {
	var files, folders []string
	for _, e := range entries {
		if e.file != nil {
			files = append(files, e.file.Path()+"="+e.file.ID)
		} else {
			folders = append(folders, e.folder)
		}
	}
	return fmt.Sprintf("files %q folders %q", files, folders)
}

func entriesOf(p *buckets.Page) (out []modelEntry) {
	for _, f := range p.Folders {
		out = append(out, modelEntry{folder: f})
	}
	for _, f := range p.Files {
		out = append(out, modelEntry{file: f})
	}
	return out
}

// randomFiles stores files with random names, folders, owners, types and sizes,
// and moves some to the trash.
func randomFiles(t *testing.T, rng *rand.Rand, owners []*buckets.Bucket, n int) (out []*buckets.File) {
	t.Helper()
	pick := func(all ...string) string { return all[rng.IntN(len(all))] }
	contents := []string{"\x89PNG\r\n\x1a\n", "GIF89a", "%PDF-1.7", `{"a": 1}`, "text"}
	for i := range n {
		var folder []string
		for range rng.IntN(4) {
			folder = append(folder, pick("a", "a-", "a.b", "B", "b", "é", "日"))
		}
		name := pick("x", "X", "note", "Note", "é", "É", "_", "%", "a") + pick("", "", "-"+fmt.Sprint(rng.IntN(9)), ".txt", ".TXT")
		b := owners[rng.IntN(len(owners))]
		content := pick(contents...) + strings.Repeat(".", rng.IntN(5))
		f := put(t, b, name, content, &buckets.PutOptions{Folder: strings.Join(folder, "/"), OnConflict: buckets.ConflictNew})
		if i%5 == 0 {
			var err error
			f, err = b.Update(t.Context(), f.ID, &buckets.Patch{Tags: &[]string{"t"}})
			must(t, err)
		}
		if i%4 == 0 {
			var err error
			f, err = b.Delete(t.Context(), f.ID, nil)
			must(t, err)
		}
		out = append(out, f)
	}
	return out
}

// randomPageOptions chooses among all that a listing may be asked for.
func randomPageOptions(rng *rand.Rand) *buckets.PageOptions {
	o := &buckets.PageOptions{Folders: rng.IntN(2) == 0, Count: rng.IntN(2) == 0}
	pick := func(all ...string) string { return all[rng.IntN(len(all))] }
	o.Prefix = pick("", "", "a", "a/", "a/b", "é", "none", "b/a-/")
	if rng.IntN(3) == 0 {
		folder := pick("", "a", "a/b", "b", "none", "日")
		o.Folder = &folder
	}
	o.State = buckets.State(pick("", "", "active", "trashed"))
	o.Search = pick("", "", "", "NOTE", "x", "É", "_", "%", ".t", "none", "-1")
	o.MIMEType = pick("", "", "", "image/*", "image/png", "text/plain", "*/*", "video/*")
	o.MIMEPrefix = pick("", "", "", "image/", "Image", "text/p", "x")
	o.Order = append(buckets.Orders(), "", "")[rng.IntN(10)]
	o.Limit = []int{1, 2, 3, 7, 1000}[rng.IntN(5)]
	return o
}

// Every listing, whatever it chooses, however it is ordered and whatever its
// pages hold, is what the model says.
func TestListPageModel(t *testing.T) {
	race.LeaveOut(t)
	rules := map[access.Op]string{access.OpCreate: signedIn, access.OpUpdate: mine, access.OpDelete: mine, access.OpRead: mine}
	trusted, ann, bob, nobody := ruled(t, buckets.Policy{}, rules)
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	files := randomFiles(t, rng, []*buckets.Bucket{ann, ann, bob}, 120)
	viewers := []struct {
		name    string
		b       *buckets.Bucket
		visible func(*buckets.File) bool
	}{
		{"trusted", trusted, func(*buckets.File) bool { return true }},
		{"ann", ann, func(f *buckets.File) bool { return f.Owner == "ann" }},
		{"bob", bob, func(f *buckets.File) bool { return f.Owner == "bob" }},
		{"nobody", nobody, func(*buckets.File) bool { return false }},
	}
	for range 500 {
		o, who := randomPageOptions(rng), viewers[rng.IntN(len(viewers))]
		want := modelListing(files, o, who.visible)
		what := fmt.Sprintf("%s, %+v (folder %v)", who.name, *o, o.Folder != nil && *o.Folder != "")
		from := 0
		if rng.IntN(4) == 0 {
			o.Offset = rng.IntN(len(want) + 2)
			from = min(o.Offset, len(want))
		}
		for page := 0; ; page++ {
			p, err := who.b.ListPage(t.Context(), o)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			end := min(from+o.Limit, len(want))
			if got, want := describePage(entriesOf(p)), describePage(want[from:end]); got != want {
				t.Fatalf("%s, page %d:\n got %s\nwant %s", what, page, got, want)
			}
			if o.Count && page == 0 && (p.Total != len(want) || p.AtLeast) {
				t.Fatalf("%s: total %d %v, want %d: %s", what, p.Total, p.AtLeast, len(want), describePage(want))
			}
			if (p.Next == "") != (end == len(want)) {
				t.Fatalf("%s, page %d: next %q after %d of %d", what, page, p.Next, end, len(want))
			}
			if p.Next == "" {
				break
			}
			from, o.After, o.Offset = end, p.Next, 0
		}
	}
}

// While files are renamed, moved, changed and trashed between pages, every file
// that is left alone is listed once, and so is every folder that it lies in.
func TestListPagesUnderChange(t *testing.T) {
	b := demo(t)
	seed := rand.Uint64()
	t.Log("seed", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	var files []*buckets.File
	for _, f := range randomFiles(t, rng, []*buckets.Bucket{b}, 100) {
		if f.State == buckets.Active {
			files = append(files, f)
		}
	}
	still := files[:len(files)/2]
	for range 60 {
		o, moving := randomPageOptions(rng), files[len(files)/2:]
		o.Limit, o.Search, o.MIMEType, o.MIMEPrefix, o.State = 1+rng.IntN(9), "", "", "", ""
		got := make(map[string]int)
		for pages := 0; ; pages++ {
			p, err := b.ListPage(t.Context(), o)
			must(t, err)
			for _, e := range entriesOf(p) {
				if e.file != nil {
					got[e.file.ID]++
				} else {
					got[e.folder]++
				}
			}
			if o.After = p.Next; o.After == "" {
				break
			}
			if pages == 200 {
				// Files that change all the time have no end in the order of changes.
				moving = nil
			}
			for range min(3, len(moving)) {
				f := moving[rng.IntN(len(moving))]
				name, folder := fmt.Sprint(rng.IntN(1000)), []string{"", "a", "a/b", "é", "zz"}[rng.IntN(5)]
				_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Name: &name, Folder: &folder})
				if err == nil && rng.IntN(3) == 0 {
					_, err = b.Replace(t.Context(), f.ID, strings.NewReader(name), nil)
				}
				if err != nil && err != buckets.ErrExist {
					t.Fatal(err)
				}
			}
		}
		for _, e := range modelListing(still, o, func(*buckets.File) bool { return true }) {
			id := e.folder
			if e.file != nil {
				id = e.file.ID
			}
			if got[id] != 1 {
				t.Fatalf("%+v: %+v is listed %d times", *o, e, got[id])
			}
		}
	}
}
