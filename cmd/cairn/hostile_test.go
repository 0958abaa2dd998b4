package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

// A lie is a file as a hostile server, or a store with damage, tells of it.
type lie struct {
	path, content string
	tree          map[string]any
	manifestID    string // "" is a good one
}

func linkTo(path, target string) lie {
	return lie{path: path, content: target, tree: map[string]any{"symlink": target}}
}

// serveLies answers listings and downloads.
func serveLies(t *testing.T, lies []lie) string {
	var files []*client.File
	contents := make(map[string]string)
	for i, l := range lies {
		f := &client.File{ID: fmt.Sprintf("f_%035d0", i), ManifestID: fmt.Sprintf("m_%035d0", i), Bucket: "demo", Name: l.path, Path: l.path, Size: int64(len(l.content))}
		if l.manifestID != "" {
			f.ManifestID = l.manifestID
		}
		if l.tree != nil {
			f.Metadata = map[string]any{"tree": l.tree}
		}
		files = append(files, f)
		contents[f.ID], contents[f.ManifestID] = l.content, l.content
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch elements := strings.Split(r.URL.Path, "/"); {
		case r.URL.Path == "/api/files/demo":
			page := client.Page{Files: slices.Clone(files)}
			if r.URL.Query().Get("order") == "-name" {
				slices.Reverse(page.Files)
			}
			json.NewEncoder(w).Encode(page)
		case len(elements) == 6 && elements[5] == "download":
			fmt.Fprint(w, contents[elements[4]])
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// Whatever a server says, nothing is written outside of the folder, and nothing
// through a link.
func TestHostileTrees(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege there")
	}
	const id = "m_000000000000000000000000000000000000"
	part := ".cairn-" + id + partSuffix("f")
	for _, c := range []struct {
		name   string
		there  map[string]string // below the folder, before
		gets   [][]lie           // one after the other
		flags  []string
		status int
		want   []string // paths below the folder, of all but folders
	}{
		{"up", nil, [][]lie{{{path: "../outside/x"}, {path: "good"}}}, nil, 1, []string{"good"}},
		{"up and down", nil, [][]lie{{{path: "a/../../outside/x"}, {path: "good"}}}, nil, 1, []string{"good"}},
		{"absolute", nil, [][]lie{{{path: "/OUTSIDE/x"}, {path: "good"}}}, nil, 1, []string{"good"}},
		{"odd elements", nil, [][]lie{{{path: "a//b"}, {path: "./c"}, {path: "d/."}, {path: ""}, {path: "."}, {path: ".."}, {path: "e/"}, {path: "good"}}}, nil, 1, []string{"good"}},
		{"a NUL", nil, [][]lie{{{path: "a\x00b"}, {path: "good"}}}, nil, 1, []string{"good"}},
		{"a marker above", nil, [][]lie{{{path: "../outside/.cairn-folder", tree: map[string]any{"mode": "0000"}}, {path: "../.cairn-folder", tree: map[string]any{"mode": "0000"}}, {path: "good"}}}, nil, 1, []string{"good"}},
		{"an ID that is a path", nil, [][]lie{{{path: "f", content: "x", manifestID: "/../../outside/x"}, {path: "good"}}}, nil, 1, []string{"good"}},
		{"the name of a part", nil, [][]lie{{{path: part, content: "x"}, {path: "good"}}}, nil, 1, []string{"good"}},

		{"a link out", nil, [][]lie{{linkTo("l", "../outside"), {path: "good"}}}, nil, 1, []string{"good"}},
		{"an absolute link", nil, [][]lie{{linkTo("l", "/OUTSIDE"), {path: "good"}}}, nil, 1, []string{"good"}},
		{"a link out by a folder", nil, [][]lie{{{path: "d/x"}, linkTo("l", "d/../../outside")}}, nil, 1, []string{"d/x"}},
		{"a deep link out", nil, [][]lie{{linkTo("d/e/l", "../../../outside")}}, nil, 1, nil},
		{"a link to above", nil, [][]lie{{linkTo("l", ".."), linkTo("m", "../")}}, nil, 1, nil},
		{"links that stay", nil, [][]lie{{linkTo("d/e/l", "../../x"), linkTo("m", "d/e"), linkTo("n", "."), {path: "x"}}}, nil, 0, []string{"d/e/l", "m", "n", "x"}},
		{"a chain of links", nil, [][]lie{{linkTo("a", "."), linkTo("b", "a/../outside")}}, nil, 1, []string{"a"}},

		{"a link out that is wanted, and a file below it", nil, [][]lie{{linkTo("l", "../outside"), {path: "l/x", content: "y"}}}, []string{"--outside-links"}, 1, []string{"l/x"}},
		{"a link that is wanted, then a file below it", nil, [][]lie{{linkTo("l", "../outside")}, {{path: "l/x", content: "y"}}}, []string{"--outside-links"}, 1, []string{"l"}},
		{"a link that is wanted, then a marker of it", nil, [][]lie{{linkTo("l", "../outside")}, {{path: "l/.cairn-folder", tree: map[string]any{"mode": "0000"}}}}, []string{"--outside-links"}, 1, []string{"l"}},
		{"a link that is wanted, then a file in its place", nil, [][]lie{{linkTo("l", "../outside/precious")}, {{path: "l", content: "new"}}}, []string{"--outside-links"}, 0, []string{"l"}},
		{"a link inside, then a link below it that leads out", nil, [][]lie{{linkTo("a", ".")}, {linkTo("a/b/l", "../../x")}}, nil, 1, []string{"a"}},

		{"a link that is there, and a file below it", map[string]string{"l": "-> ../outside"}, [][]lie{{{path: "l/x", content: "y"}, {path: "good"}}}, nil, 1, []string{"good", "l"}},
		{"a link that is there, and a file in its place", map[string]string{"l": "-> ../outside/precious"}, [][]lie{{{path: "l", content: "new"}}}, nil, 0, []string{"l"}},
		{"a link in place of the part", map[string]string{part: "-> ../outside/precious"}, [][]lie{{{path: "f", content: "new"}, {path: "good"}}}, nil, 1, []string{part, "good"}},
		{"a link to a folder in place of a link", map[string]string{"l": "-> ../outside"}, [][]lie{{linkTo("l", "good"), {path: "good"}}}, nil, 0, []string{"good", "l"}},
		{"a folder in place of a link", map[string]string{"l/f": "x"}, [][]lie{{linkTo("l", "good"), {path: "good"}}}, nil, 1, []string{"good", "l/f"}},

		{"a link whose content says something else", nil, [][]lie{{{path: "l", content: "12345", tree: map[string]any{"symlink": "other"}}}}, nil, 0, []string{"l"}},
		{"attributes of other types", nil, [][]lie{{{path: "f", content: "1", tree: map[string]any{"symlink": 7, "mode": []int{1}, "mtime": map[string]any{}}}}}, nil, 0, []string{"f"}},
		{"attributes that are none", nil, [][]lie{{{path: "f", content: "1", tree: map[string]any{"mode": "rwx", "mtime": "yesterday"}}}}, nil, 0, []string{"f"}},
		{"more than permissions", nil, [][]lie{{{path: "f", content: "1", tree: map[string]any{"mode": "07755"}}, {path: "d/.cairn-folder", tree: map[string]any{"mode": "01040755"}}}}, nil, 0, []string{"f"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			top := t.TempDir()
			out, outside := filepath.Join(top, "out"), filepath.Join(top, "outside")
			makeTree(t, top, map[string]string{"outside/precious": "keep", "out/": ""})
			makeTree(t, out, c.there)
			before := describeTree(t, outside)
			for i, lies := range c.gets {
				for j := range lies {
					lies[j].path = strings.ReplaceAll(lies[j].path, "OUTSIDE", strings.Trim(outside, "/"))
				}
				status := 0
				if i == len(c.gets)-1 {
					status = c.status
				}
				s := &shell{t, []string{"--server", serveLies(t, lies)}}
				_, errOut := s.run(status, "", append([]string{"get", "-r", "demo", "-o", out}, c.flags...)...)
				if (errOut != "") != (status != 0) {
					t.Errorf("says %q", errOut)
				}
			}
			if after := describeTree(t, outside); after != before {
				t.Errorf("outside:\n%sbefore:\n%s", after, before)
			}
			if list, err := os.ReadDir(top); err != nil || len(list) != 2 {
				t.Errorf("beside: %v, %v", list, err)
			}
			var got []string
			err := filepath.WalkDir(out, func(name string, d fs.DirEntry, err error) error {
				if err != nil {
					return err
				}
				info, err := d.Info()
				if err == nil && info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky) != 0 {
					t.Errorf("%s: mode %v", name, info.Mode())
				}
				if rel, _ := filepath.Rel(out, name); !d.IsDir() {
					got = append(got, filepath.ToSlash(rel))
				}
				return err
			})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("wrote %q, %v; want %q", got, err, c.want)
			}
		})
	}
}
