package pgstore_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

// TestPages: what takes many pages is yielded whole, in order, each once, as
// it was in one moment; and a listing that is given up gives its connection
// back.
func TestPages(t *testing.T) {
	ctx := t.Context()
	d, err := pgstore.Open(ctx, pgtest.Database(t), &pgstore.Options{Scans: 1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	const files = 1300
	var rs []manifest.Record
	for n := range files {
		f := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Folder: fmt.Sprint("folder ", n%3), Name: fmt.Sprint(n), Revision: 1, Versions: 2}
		for v := range uint64(2) {
			m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, Version: v + 1, Content: manifest.Content{Size: 1, Chunks: 1, Chunker: "c"}}
			m.Inline = []cas.Ref{{Digest: cas.Sum([]byte(m.ID)), Length: 1}}
			f.Current = m.ID
			rs = append(rs, manifest.Record{Manifest: m})
		}
		rs = append(rs, manifest.Record{File: f})
	}
	if err := d.Restore(ctx, 1, rs); err != nil {
		t.Fatal(err)
	}
	if err := d.Reindex(ctx); err != nil {
		t.Fatal(err)
	}
	listed := func(r *manifest.Range) (paths []string) {
		for l, err := range d.List(ctx, "b", r) {
			if err != nil {
				t.Fatal(err)
			}
			if l.Current == nil || l.Current.ID != l.File.Current || l.Key != l.File.Path() {
				t.Fatalf("%+v", l)
			}
			paths = append(paths, l.Key)
		}
		return paths
	}
	all := listed(nil)
	if len(all) != files || !slices.IsSorted(all) || len(slices.Compact(slices.Clone(all))) != files {
		t.Errorf("%d are listed", len(all))
	}
	from, _ := slices.BinarySearch(all, "folder 1/")
	to, _ := slices.BinarySearch(all, "folder 10")
	for _, r := range []*manifest.Range{{Prefix: "folder 1/"}, {Prefix: "folder 1/", After: "folder 0/999"}, {Prefix: "folder 1"}} {
		if got := listed(r); !slices.Equal(got, all[from:to]) {
			t.Errorf("%+v: %d are listed, want %d", r, len(got), to-from)
		}
	}
	if got := listed(&manifest.Range{Prefix: "folder 1/", After: all[from+300]}); !slices.Equal(got, all[from+301:to]) {
		t.Errorf("%d are listed behind the 300th, want %d", len(got), to-from-301)
	}
	// All rows, while others are changed.
	rows, roots, last := 0, 0, manifest.FileID("")
	for r, err := range d.AllRows(ctx, "") {
		if err != nil {
			t.Fatal(err)
		}
		if rows == 0 {
			if _, err := d.Update(ctx, "x", func(tx manifest.Tx) error { return tx.Purge(ctx, rs[len(rs)-1].File.ID, day) }); err != nil {
				t.Fatal(err)
			}
		}
		if want := uint64(2 - rows%2); r.Manifest.Version != want || r.Manifest.File != r.File.ID || r.File.ID < last {
			t.Fatalf("row %d: %+v", rows, r.Manifest)
		}
		last = r.File.ID
		rows++
	}
	for r, err := range d.Roots(ctx, "x") {
		if err != nil {
			t.Fatal(err)
		}
		roots += len(r.Chunks)
	}
	if rows != 2*files || roots != 2*files-2 {
		t.Errorf("%d rows, %d roots", rows, roots)
	}
	for range 3 {
		for range d.AllFiles(ctx) {
			break
		}
	}
}
