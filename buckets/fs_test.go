package buckets_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/names"
)

func TestFS(t *testing.T) {
	b := demo(t)
	if err := fstest.TestFS(b.FS(t.Context())); err != nil {
		t.Errorf("empty: %v", err)
	}
	files := []string{"a", "b.txt", "dir/x", "dir/sub/deep/er/y", "dir/sub/z", "dir.txt", "dir0", "empty", "é/ü", "\U0010ffff"}
	for _, p := range files {
		content := p
		if p == "empty" {
			content = ""
		}
		folder, name := "", p
		if i := strings.LastIndex(p, "/"); i >= 0 {
			folder, name = p[:i], p[i+1:]
		}
		put(t, b, name, content, &buckets.PutOptions{Folder: folder})
	}
	put(t, b, names.FolderMarker, "", &buckets.PutOptions{Folder: "dir/sub"}) // markers are not seen
	put(t, b, names.FolderMarker, "", &buckets.PutOptions{Folder: "nothing"})
	put(t, b, "hidden", "by a folder", nil)
	put(t, b, "inside", "the folder", &buckets.PutOptions{Folder: "hidden"})
	gone := put(t, b, "trashed", "x", nil)
	_, err := b.Delete(t.Context(), gone.ID, nil)
	must(t, err)
	fsys := b.FS(t.Context())
	if err := fstest.TestFS(fsys, append(files, "hidden/inside")...); err != nil {
		t.Error(err)
	}
	if _, err := fs.Stat(fsys, "nothing"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a folder with a marker alone: %v", err)
	}
	if list, err := fs.ReadDir(fsys, "dir/sub"); err != nil || len(list) != 2 {
		t.Errorf("a folder with a marker: %v, %v", list, err)
	}
	if info, err := fs.Stat(fsys, "hidden"); err != nil || !info.IsDir() {
		t.Errorf("hidden: %v, %v", info, err)
	}
	big := string(noise(1, 3_000_000)) // TestFS reads a file byte by byte
	put(t, b, "big", big, &buckets.PutOptions{Folder: "dir"})
	if p, err := fs.ReadFile(fsys, "dir/big"); err != nil || string(p) != big {
		t.Errorf("big: %d bytes, %v", len(p), err)
	}
	info, err := fs.Stat(fsys, "dir/x")
	must(t, err)
	if f, ok := info.Sys().(*buckets.File); !ok || f.Path() != "dir/x" || !info.ModTime().Equal(f.VersionCreatedAt) {
		t.Errorf("%+v", info.Sys())
	}
	for _, p := range []string{"trashed", "none", "dir/none", "a/b"} {
		_, err := fsys.Open(p)
		wantErr(t, p, err, fs.ErrNotExist)
	}
	for _, p := range []string{"", "/", "/a", "a/", "../a", "dir//x", "."} {
		f, err := fsys.Open(p)
		if p == "." {
			must(t, f.Close())
			continue
		}
		var pe *fs.PathError
		if !errors.As(err, &pe) || !errors.Is(err, fs.ErrInvalid) {
			t.Errorf("%q: %v", p, err)
		}
	}
}

// Names at the end of the order are listed like all others.
func TestFSLastNames(t *testing.T) {
	b := demo(t)
	for _, name := range []string{"\U0010ffff", "\U0010ffff\U0010ffff", "\U0010ffffx", "a"} {
		put(t, b, name, name, &buckets.PutOptions{Folder: "d"})
	}
	put(t, b, "e", "after the folder", nil)
	fsys := b.FS(t.Context())
	if err := fstest.TestFS(fsys, "d/\U0010ffff", "d/\U0010ffff\U0010ffff", "d/\U0010ffffx", "d/a", "e"); err != nil {
		t.Error(err)
	}
}
