package main

import (
	"encoding/json"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// makeTree makes files, folders (names that end with a slash) and symbolic links
// (contents that begin with "-> ") below dir.
func makeTree(t *testing.T, dir string, tree map[string]string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(tree)) {
		path, content := filepath.Join(dir, filepath.FromSlash(name)), tree[name]
		var err error
		if to, isLink := strings.CutPrefix(content, "-> "); isLink {
			if err = os.MkdirAll(filepath.Dir(path), 0o777); err == nil {
				err = os.Symlink(to, path)
			}
		} else if strings.HasSuffix(name, "/") {
			err = os.MkdirAll(path, 0o777)
		} else {
			write(t, path, content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// stored returns the paths that the bucket holds.
func (s *shell) stored() (paths []string) {
	s.t.Helper()
	out, _ := s.run(0, "", "ls", "--json", "demo")
	for line := range strings.Lines(out) {
		var f struct{ Path string }
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			s.t.Fatalf("%v: %s", err, line)
		}
		paths = append(paths, f.Path)
	}
	return paths
}

const nfc, nfd = "\u00e9", "e\u0301"

// What would be stored under one path is refused before anything is sent, and all
// of it named.
func TestCollisions(t *testing.T) {
	race.LeaveOut(t)
	for _, c := range []struct {
		name    string
		tree    map[string]string
		args    []string
		collide []string // paths of sources that are named; none is stored then
		want    []string
	}{
		{"two folders with one name each", map[string]string{"d1/x": "1", "d2/x": "2"}, []string{"d1", "d2"}, []string{"d1/x", "d2/x"}, nil},
		{"two files of one name", map[string]string{"d1/x": "1", "d2/x": "2"}, []string{"d1/x", "d2/x"}, []string{"d1/x", "d2/x"}, nil},
		{"three, and others beside them", map[string]string{"a/x": "1", "b/x": "2", "c/x": "3", "a/y": "4", "b/z": "5", "c/z": "6"},
			[]string{"a", "b", "c"}, []string{"a/x", "b/x", "c/x", "b/z", "c/z"}, nil},
		{"the same twice", map[string]string{"x": "1"}, []string{"x", "x"}, []string{"x"}, nil},
		{"a file and one in a folder", map[string]string{"x": "1", "d/x": "2"}, []string{"x", "d"}, []string{"x", "d/x"}, nil},
		{"deep", map[string]string{"d1/s/t/x": "1", "d2/s/t/x": "2", "d2/s/u": "3"}, []string{"d1", "d2"}, []string{"d1/s/t/x", "d2/s/t/x"}, nil},
		{"a file and a folder", map[string]string{"d1/x": "1", "d2/x/y": "2"}, []string{"d1", "d2"}, []string{"d1/x", "d2/x"}, nil},
		{"Unicode twins in a folder", map[string]string{"d/" + nfc: "1", "d/" + nfd: "2", "d/z": "3"}, []string{"d"}, []string{"d/" + nfc, "d/" + nfd}, nil},
		{"Unicode twins of folders", map[string]string{"d/" + nfc + "/a": "1", "d/" + nfd + "/b": "2"}, []string{"d"}, []string{"d/" + nfc, "d/" + nfd}, nil},
		{"Unicode twins as arguments", map[string]string{"a/" + nfc: "1", "b/" + nfd: "2"}, []string{"a/" + nfc, "b/" + nfd}, []string{"a/" + nfc, "b/" + nfd}, nil},
		{"folders that share folders and no file", map[string]string{"d1/s/a": "1", "d2/s/b": "2", "d2/s/": ""}, []string{"d1", "d2"}, nil, []string{"s/a", "s/b"}},
		{"case", map[string]string{"d1/x": "1", "d2/X": "2"}, []string{"d1", "d2"}, nil, []string{"X", "x"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			targets(t, func(t *testing.T, s *shell) {
				dir := t.TempDir()
				makeTree(t, dir, c.tree)
				args := []string{"put"}
				for _, arg := range c.args {
					args = append(args, filepath.Join(dir, filepath.FromSlash(arg)))
				}
				if c.collide == nil {
					s.run(0, "", args...)
				} else {
					out, errOut := s.run(1, "", args...)
					for _, path := range c.collide {
						if !strings.Contains(errOut, filepath.Join(dir, filepath.FromSlash(path))) {
							t.Errorf("%s is not named in:\n%s", path, errOut)
						}
					}
					if out != "" || !strings.Contains(errOut, "nothing was stored") {
						t.Errorf("%s%s", out, errOut)
					}
				}
				if got := s.stored(); !slices.Equal(got, c.want) {
					t.Errorf("stored %q, want %q", got, c.want)
				}
			})
		})
	}
}

// A refused put makes no store where there was none.
func TestRefusedPutMakesNoStore(t *testing.T) {
	dir := t.TempDir()
	makeTree(t, dir, map[string]string{"d1/x": "1", "d2/x": "2"})
	d1, d2 := filepath.Join(dir, "d1"), filepath.Join(dir, "d2")
	for _, c := range []struct {
		status int
		args   []string
	}{{1, []string{d1, d2}}, {2, []string{"--name", "n", d1}}, {2, []string{"--name", "n", "-", "-"}}, {2, []string{"-"}}, {1, []string{filepath.Join(dir, "none")}}} {
		data := filepath.Join(t.TempDir(), "new")
		(&shell{t, []string{"--data", data}}).run(c.status, "", append([]string{"put"}, c.args...)...)
		if _, err := os.Stat(data); err == nil {
			t.Errorf("%q makes a store", c.args)
		}
	}
}

// What put is told to store, and does not, it says, and its status with it.
func TestPutArguments(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege there")
	}
	part := ".cairn-m_" + strings.Repeat("0", 36) + "-00000000"
	for _, c := range []struct {
		name   string
		tree   map[string]string
		args   []string
		status int
		says   string
		want   []string
	}{
		{"a link to a file", map[string]string{"f": "1", "l": "-> f"}, []string{"l"}, 0, "", []string{"l"}},
		{"a link to a folder", map[string]string{"d/f": "1", "l": "-> d"}, []string{"l"}, 0, "", []string{"f"}},
		{"a link to a link", map[string]string{"d/f": "1", "l": "-> d", "m": "-> l"}, []string{"m"}, 0, "", []string{"f"}},
		{"a link to nothing", map[string]string{"l": "-> none", "f": "1"}, []string{"l", "f"}, 1, "l:", []string{"f"}},
		{"a link to itself", map[string]string{"l": "-> l"}, []string{"l"}, 1, "l:", nil},
		{"nothing", nil, []string{"none"}, 1, "none", nil},
		{"a name for a folder", map[string]string{"d/f": "1"}, []string{"--name", "n", "d"}, 2, "--folder", nil},
		{"a name for a link to a folder", map[string]string{"d/f": "1", "l": "-> d"}, []string{"--name", "n", "l"}, 2, "--folder", nil},
		{"a name for two", map[string]string{"f": "1", "g": "2"}, []string{"--name", "n", "f", "g"}, 2, "single file", nil},
		{"a name for a link to a file", map[string]string{"f": "1", "l": "-> f"}, []string{"--name", "n", "l"}, 0, "", []string{"n"}},
		{"the rest of a get in a folder", map[string]string{"d/f": "1", "d/" + part: "2", "d/.cairn-mine": "3"}, []string{"d"}, 0, "left out", []string{".cairn-mine", "f"}},
		{"the rest of a get", map[string]string{part: "2"}, []string{part}, 1, "rename it", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			targets(t, func(t *testing.T, s *shell) {
				dir := t.TempDir()
				makeTree(t, dir, c.tree)
				args := []string{"put"}
				for i, arg := range c.args {
					if arg != "--name" && (i == 0 || c.args[i-1] != "--name") {
						arg = filepath.Join(dir, arg)
					}
					args = append(args, arg)
				}
				if _, errOut := s.run(c.status, "", args...); !strings.Contains(errOut, c.says) {
					t.Errorf("says %q, want %q", errOut, c.says)
				}
				if got := s.stored(); !slices.Equal(got, c.want) {
					t.Errorf("stored %q, want %q", got, c.want)
				}
			})
		})
	}
}

// A put leaves the store that it works on out, and any that is open, by whatever
// name, and does not grow with what it has stored.
func TestPutAroundStore(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege there")
	}
	for _, c := range []struct {
		name, data, put string
		status          int
		want            []string
	}{
		{"the store in the folder", "s", ".", 0, []string{"d/f"}},
		{"not made yet", "new", ".", 0, []string{"d/f"}},
		{"by another name", "d/../s", ".", 0, []string{"d/f"}},
		{"by a link", "OUT/store", ".", 0, []string{"d/f"}},
		{"the folder by a link", "s", "OUT/here", 0, []string{"d/f"}},
		{"the store", "s", "s", 1, nil},
		{"the store by a link", "s", "OUT/store", 1, nil},
		{"a folder of the store", "s", "s/packs", 1, nil},
		{"a file of the store", "s", "s/.lock", 1, nil},
		{"a folder of it by a link to the store", "s", "OUT/store/packs", 1, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir, outside := t.TempDir(), t.TempDir()
			t.Chdir(dir)
			write(t, "d/f", "1")
			if c.data != "new" {
				s := &shell{t, []string{"--data", "s"}}
				s.run(0, "x", "put", "--name", "x", "-")
				s.run(0, "", "rm", "--permanent", "demo/x")
			}
			makeTree(t, outside, map[string]string{"store": "-> " + filepath.Join(dir, "s"), "here": "-> " + dir})
			data, put := strings.ReplaceAll(c.data, "OUT", outside), strings.ReplaceAll(c.put, "OUT", outside)
			s := &shell{t, []string{"--data", data}}
			for range 2 {
				_, errOut := s.run(c.status, "", "put", put)
				if !strings.Contains(errOut, "store") || strings.Count(errOut, "\n") != 1 {
					t.Errorf("says %q", errOut)
				}
			}
			if got := s.stored(); !slices.Equal(got, c.want) {
				t.Errorf("stored %q, want %q", got, c.want)
			}
			s.run(0, "", "check")
		})
	}
}

// The store of a server in another process, in the folder that is put to it.
func TestPutAroundServer(t *testing.T) {
	race.LeaveOut(t)
	if testing.Short() {
		t.Skip("starts a server")
	}
	bin, dir := buildCairn(t), t.TempDir()
	srv := start(t, bin, filepath.Join(dir, "data"))
	defer srv.kill()
	write(t, filepath.Join(dir, "f"), "1")
	s := &shell{t, []string{"--server", srv.url}}
	if _, errOut := s.run(0, "", "put", dir); !strings.Contains(errOut, "left out") {
		t.Errorf("says %q", errOut)
	}
	s.run(1, "", "put", filepath.Join(dir, "data"))
	if got := s.stored(); !slices.Equal(got, []string{"f"}) {
		t.Errorf("stored %q", got)
	}
}

// One path that fails does not keep the others from being written.
func TestGetTreeGoesOn(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		for _, path := range []string{"a", "a/b", "c/d", "c/e/f", "z"} {
			s.run(0, path, "put", "--name", filepath.Base(path), "--folder", strings.Trim(filepath.Dir(path), "."), "-")
		}
		for _, c := range []struct {
			name  string
			there map[string]string // below the folder that is written to, before
			fails []string          // one of these at least is named
			want  []string
		}{
			{"a file and a folder", nil, []string{"a", "a/b"}, []string{"c/d", "c/e/f", "z"}},
			{"a file where a folder is to be", map[string]string{"c": "x"}, []string{"c/d"}, []string{"c", "z"}},
			{"a folder where a file is to be", map[string]string{"z/y": "x"}, []string{"z"}, []string{"c/d", "c/e/f", "z/y"}},
		} {
			out := filepath.Join(t.TempDir(), "out")
			makeTree(t, out, c.there)
			_, errOut := s.run(1, "", "get", "-r", "demo", "-o", out)
			if !slices.ContainsFunc(c.fails, func(path string) bool { return strings.Contains(errOut, "get "+path+": ") }) || strings.Contains(errOut, "canceled") {
				t.Errorf("%s: says %q", c.name, errOut)
			}
			var got []string
			err := filepath.WalkDir(out, func(name string, d fs.DirEntry, err error) error {
				rel, _ := filepath.Rel(out, name)
				if rel = filepath.ToSlash(rel); err == nil && !d.IsDir() && rel != "a" && rel != "a/b" {
					got = append(got, rel)
				}
				return err
			})
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%s: wrote %q, %v; want %q", c.name, got, err, c.want)
			}
		}
	})
}
