package api_test

import (
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
)

// Markers of folders, and folders that hold nothing else, are in no listing unless
// they are asked for. What has their name and a content is a file like any other.
func TestFolderMarkers(t *testing.T) {
	w := newWorld(t)
	for _, f := range []struct{ folder, name, content string }{
		{"", "a.txt", "x"}, {"docs", "x.txt", "x"}, {"docs", ".cairn-folder", ""}, {"empty", ".cairn-folder", ""}, {"full", ".cairn-folder", "x"},
		{"docs/none", ".cairn-folder", ""}, {"", ".cairn-folder", ""},
	} {
		if _, err := w.c.Upload(t.Context(), "demo", f.name, strings.NewReader(f.content), &client.UploadOptions{Folder: f.folder}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		query, want string
		total       int
	}{
		{"", "a.txt docs/x.txt full/.cairn-folder", 3},
		{"order=-name", "full/.cairn-folder docs/x.txt a.txt", 3},
		{"limit=1", "a.txt | docs/x.txt | full/.cairn-folder", 3},
		{"order=size&limit=2", "a.txt docs/x.txt | full/.cairn-folder", 3},
		{"search=.cairn", "full/.cairn-folder", 1},
		{"prefix=empty/", "", 0},
		{"folder=docs", "docs/x.txt", 1},
		{"folder=empty", "", 0},
		{"delimiter=/", "docs/ full/ a.txt", 3},
		{"delimiter=/&folder=docs", "docs/x.txt", 1},
		{"offset=1&limit=1", "docs/x.txt | full/.cairn-folder", 3},
		{"markers=false", "a.txt docs/x.txt full/.cairn-folder", 3},
		{"markers=true", ".cairn-folder a.txt docs/.cairn-folder docs/none/.cairn-folder docs/x.txt empty/.cairn-folder full/.cairn-folder", 7},
		{"markers=true&delimiter=/", "docs/ empty/ full/ .cairn-folder a.txt", 5},
		{"markers=true&prefix=empty/", "empty/.cairn-folder", 1},
		{"markers=true&limit=4", ".cairn-folder a.txt docs/.cairn-folder docs/none/.cairn-folder | docs/x.txt empty/.cairn-folder full/.cairn-folder", 7},
	} {
		got, first := w.readPages(tt.query)
		if got != tt.want || first.Total == nil || *first.Total != tt.total {
			t.Errorf("%q: %q, %v in all; want %q, %d", tt.query, got, first.Total, tt.want, tt.total)
		}
	}
	w.want(400, "invalid-request", "GET", "/api/files/demo?markers=1", nil)
}
