package buckets_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/buckets"
)

// Whatever happens to some files while a listing goes on in pages, every other
// file is listed exactly once: the cursor is what the listing went by, not
// what the row has become.
func TestListingSkipsNothing(t *testing.T) {
	changes := map[string]func(t *testing.T, b *buckets.Bucket, f *buckets.File){
		"renamed to the end":       func(t *testing.T, b *buckets.Bucket, f *buckets.File) { rename(t, b, f, "zz") },
		"renamed to the beginning": func(t *testing.T, b *buckets.Bucket, f *buckets.File) { rename(t, b, f, "!") },
		"renamed a little": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			rename(t, b, f, f.Name+"5")
		},
		"moved to another folder": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Folder: ptr("zzz")})
			must(t, err)
		},
		"trashed": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			_, err := b.Delete(t.Context(), f.ID, nil)
			must(t, err)
		},
		"purged": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			must(t, b.Purge(t.Context(), f.ID, nil))
		},
		"a new version": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			put(t, b, f.Name, "again", &buckets.PutOptions{Folder: f.Folder, OnConflict: buckets.ConflictVersion})
		},
		"another beside it": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			put(t, b, f.Name+"0", "x", &buckets.PutOptions{Folder: f.Folder})
		},
		"purged and made again": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			must(t, b.Purge(t.Context(), f.ID, nil))
			put(t, b, f.Name, "x", &buckets.PutOptions{Folder: f.Folder})
		},
	}
	for name, change := range changes {
		for _, opts := range []buckets.ListOptions{{}, {Prefix: "d/"}, {Folder: ptr("d")}} {
			t.Run(name+fmt.Sprintf(" %q", opts.Prefix), func(t *testing.T) {
				t.Parallel()
				skipsNothing(t, opts, false, change)
			})
		}
	}
	for name, change := range map[string]func(t *testing.T, b *buckets.Bucket, f *buckets.File){
		"undeleted": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			_, err := b.Undelete(t.Context(), f.ID)
			must(t, err)
		},
		"purged": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			must(t, b.Purge(t.Context(), f.ID, nil))
		},
		"another trashed": func(t *testing.T, b *buckets.Bucket, f *buckets.File) {
			_, err := b.Delete(t.Context(), put(t, b, "more", "x", nil).ID, nil)
			must(t, err)
		},
	} {
		t.Run("in the trash "+name, func(t *testing.T) {
			t.Parallel()
			skipsNothing(t, buckets.ListOptions{State: buckets.Trashed}, true, change)
		})
	}
}

func rename(t *testing.T, b *buckets.Bucket, f *buckets.File, name string) {
	t.Helper()
	_, err := b.Update(t.Context(), f.ID, &buckets.Patch{Name: &name})
	must(t, err)
}

// skipsNothing lists four files in pages of two as the HTTP API does, and changes
// one of them at one of the moments that there are: each of them, at each.
func skipsNothing(t *testing.T, opts buckets.ListOptions, trash bool, change func(t *testing.T, b *buckets.Bucket, f *buckets.File)) {
	const files, size = 4, 2
	b := demo(t)
	for victim := range files {
		for when := range files {
			var all []*buckets.File
			for i := range files {
				f := put(t, b, fmt.Sprintf("f%d", i), "x", &buckets.PutOptions{Folder: "d"})
				if trash {
					_, err := b.Delete(t.Context(), f.ID, nil)
					must(t, err)
				}
				all = append(all, f)
			}
			var got []string
			o := buckets.PageOptions{ListOptions: opts}
			o.Limit = size
			for more := true; more; more = o.After != "" {
				page, err := b.ListPage(t.Context(), &o)
				must(t, err)
				for _, f := range page.Files {
					if len(got) == when {
						change(t, b, all[victim])
					}
					got = append(got, f.ID)
				}
				o.After = page.Next
			}
			for i, f := range all {
				n := len(slices.DeleteFunc(slices.Clone(got), func(id string) bool { return id != f.ID }))
				if i != victim && n != 1 {
					t.Errorf("file %d is changed after %d were listed: file %d is listed %d times", victim, when, i, n)
				}
			}
			for _, state := range []buckets.State{buckets.Active, buckets.Trashed} {
				for f, err := range b.List(t.Context(), &buckets.ListOptions{State: state}) {
					must(t, err)
					must(t, b.Purge(t.Context(), f.ID, nil))
				}
			}
		}
	}
}
