package main

import (
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/internal/race"
)

// describeTree returns what lies below dir, as lines of mode, time, path and content.
func describeTree(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, name)
		info, err := d.Info()
		if err != nil {
			return err
		}
		switch what := fmt.Sprintf("%v %s %q", info.Mode(), info.ModTime().UTC().Format(time.RFC3339Nano), rel); {
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(name)
			fmt.Fprintf(&out, "%q -> %q\n", rel, to)
			return err
		case d.IsDir():
			fmt.Fprintln(&out, what)
		default:
			p, err := os.ReadFile(name)
			fmt.Fprintf(&out, "%s %q\n", what, p)
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// makeRichTree makes a tree with all that is kept. Modes keep out nobody who owns it.
func makeRichTree(t *testing.T, dir string) {
	t.Helper()
	makeTree(t, dir, map[string]string{
		"run": "#!/bin/sh\n", "secret": "x", "open": "y", "deep/er/f": "1", "deep/er/none/": "", "deep/-first": "2", "empty/": "", "sticky/f": "z",
		"link": "-> deep/er/f", "deep/up": "-> ../run", "deep/er/dir": "-> ../er", "dangling": "-> not/there", "deep/er/none2/l": "-> ../../../open",
		nfc + "/" + nfc: "3", "read only/f": "4", "folder first/.z": "", "folder first/-": "",
	})
	for name, mode := range map[string]fs.FileMode{"run": 0o755, "secret": 0o600, "open": 0o666, "deep/-first": 0o444, "empty": 0o700, "deep/er/none": 0o777,
		"sticky/f": 0o640 | fs.ModeSetuid, "sticky": 0o750 | fs.ModeSticky, "read only/f": 0o400, "read only": 0o555} {
		if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
			t.Fatal(err)
		}
	}
	at := time.Date(2001, 2, 3, 4, 5, 6, 123456789, time.UTC)
	var all []string
	filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if name != dir && d.Type()&fs.ModeSymlink == 0 {
			all = append(all, name)
		}
		return err
	})
	for i, name := range all {
		if err := os.Chtimes(name, at, at.Add(time.Duration(i)*37*time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
}

// A tree comes back as it was, however often, and takes no version more where it has
// not changed.
func TestTreeComesBack(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("has other modes")
	}
	targets(t, func(t *testing.T, s *shell) {
		dir, out := filepath.Join(t.TempDir(), "in"), filepath.Join(t.TempDir(), "out")
		makeRichTree(t, dir)
		want := describeTree(t, dir)
		for _, mode := range [][2]string{{"urw", "-rw"}, {"dt", "d"}, {"trwx", "rwx"}} {
			want = strings.ReplaceAll(want, mode[0], mode[1]) // more than permissions is not kept
		}
		s.run(0, "", "put", dir)
		for range 2 {
			s.run(0, "", "get", "-r", "demo", "-o", out)
			if got := describeTree(t, out); got != want {
				t.Errorf("got:\n%swant:\n%s", got, want)
			}
		}
		// Listings show files and links alone.
		if got := s.stored(); !slices.Contains(got, "deep/er/dir") || slices.ContainsFunc(got, func(p string) bool { return strings.Contains(p, ".cairn") }) {
			t.Errorf("stored: %q", got)
		}
		if got, _ := s.run(0, "", "ls", "--folders", "--json", "demo"); strings.Contains(got, `"empty"`) || strings.Contains(got, ".cairn") {
			t.Errorf("folders: %s", got)
		}
		again, _ := s.run(0, "", "put", dir)
		for line := range strings.Lines(again) {
			if !strings.Contains(line, "version 1, unchanged") || strings.Contains(line, "changed, ") && !strings.Contains(line, "sent") {
				t.Errorf("again: %s", line)
			}
		}
		if !strings.Contains(again, "demo/f_") || !strings.Contains(again, "  empty/  ") {
			t.Errorf("again: %s", again)
		}
		// A time alone changes no content.
		now := time.Date(2022, 2, 2, 2, 2, 2, 2, time.UTC)
		for _, name := range []string{"run", "deep", "empty"} {
			if err := os.Chtimes(filepath.Join(dir, name), now, now); err != nil {
				t.Fatal(err)
			}
		}
		os.Chmod(filepath.Join(dir, "open"), 0o640)
		touched, _ := s.run(0, "", "put", dir)
		if strings.Count(touched, "unchanged, time or mode changed") != 3 || strings.Contains(touched, "version 2") {
			t.Errorf("touched:\n%s", touched)
		}
		// What was a file becomes a link, and the other way round, and a folder goes.
		os.Remove(filepath.Join(dir, "secret"))
		os.Remove(filepath.Join(dir, "link"))
		makeTree(t, dir, map[string]string{"secret": "-> run", "link": "no link any more"})
		s.run(0, "", "put", dir)
		s.run(0, "", "get", "-r", "demo", "-o", out)
		if to, err := os.Readlink(filepath.Join(out, "secret")); to != "run" {
			t.Errorf("a link in place of a file: %q, %v", to, err)
		}
		if info, err := os.Lstat(filepath.Join(out, "link")); err != nil || !info.Mode().IsRegular() {
			t.Errorf("a file in place of a link: %v, %v", info, err)
		}
		if info, err := os.Stat(filepath.Join(out, "run")); err != nil || !info.ModTime().Equal(now) {
			t.Errorf("a new time: %v, %v", info, err)
		}
	})
}

// Metadata of users stays beside what put keeps, and another upload of a link is a file.
func TestAttributesBesideMetadata(t *testing.T) {
	race.LeaveOut(t)
	if runtime.GOOS == "windows" {
		t.Skip("symbolic links need a privilege there")
	}
	targets(t, func(t *testing.T, s *shell) {
		dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
		makeTree(t, dir, map[string]string{"f": "1", "l": "-> f"})
		metadata := func(path string) map[string]any {
			t.Helper()
			text, _ := s.run(0, "", "stat", "--json", "demo/"+path)
			var f struct{ Metadata map[string]any }
			if err := json.Unmarshal([]byte(text), &f); err != nil {
				t.Fatal(err)
			}
			return f.Metadata
		}
		s.run(0, "", "put", filepath.Join(dir, "f"))
		if got := metadata("f"); len(got) != 0 {
			t.Errorf("of a single file: %v", got)
		}
		s.run(0, "", "put", dir)
		if got, ok := metadata("f")["tree"].(map[string]any); !ok || got["mode"] != "0644" && got["mode"] != "0600" || got["mtime"] == nil || got["symlink"] != nil {
			t.Errorf("of a file in a tree: %v", got)
		}
		if got, ok := metadata("l")["tree"].(map[string]any); !ok || !maps.Equal(got, map[string]any{"symlink": "f"}) {
			t.Errorf("of a link: %v", got)
		}
		// Content that comes otherwise has no time, and is no link.
		s.run(0, "other", "put", "--name", "f", "-")
		if got := metadata("f")["tree"].(map[string]any); len(got) != 0 {
			t.Errorf("after standard input: %v", got)
		}
		s.run(0, "x", "put", "--name", "l", "-")
		s.run(0, "", "get", "-r", "demo", "-o", out)
		if p, err := os.ReadFile(filepath.Join(out, "l")); string(p) != "x" {
			t.Errorf("a link that was replaced: %q, %v", p, err)
		}
	})
}

// A bucket that takes images alone takes no markers. What lies in the folders is
// stored all the same.
func TestFoldersThatAreNotTaken(t *testing.T) {
	race.LeaveOut(t)
	dir := t.TempDir()
	schema := write(t, filepath.Join(dir, "schema.yaml"), "buckets:\n  demo:\n    allowed_types: [image/*]\n")
	s := &shell{t, []string{"--data", filepath.Join(dir, "data"), "--schema", schema}}
	makeTree(t, filepath.Join(dir, "in"), map[string]string{"a/x.gif": "GIF89a", "a/b/y.gif": "GIF89a", "z/z.gif": "GIF89a"})
	_, errOut := s.run(0, "", "put", filepath.Join(dir, "in"))
	if strings.Count(errOut, "\n") != 1 || !strings.Contains(errOut, "times and modes of folders") {
		t.Errorf("says %q", errOut)
	}
	if got := s.stored(); !slices.Equal(got, []string{"a/b/y.gif", "a/x.gif", "z/z.gif"}) {
		t.Errorf("stored %q", got)
	}
	makeTree(t, filepath.Join(dir, "in"), map[string]string{"empty/": ""})
	if _, errOut := s.run(1, "", "put", filepath.Join(dir, "in")); !strings.Contains(errOut, "empty: ") {
		t.Errorf("an empty folder: %q", errOut)
	}
}

// Options of put, each with all that it may say.
func TestPutOptions(t *testing.T) {
	race.LeaveOut(t)
	tree := map[string]string{"d/a.tmp": "1", "d/b": "2", "d/build/c": "3", "d/sub/build": "4", "d/sub/x/a.tmp": "5", "d/docs/a/b/i.html": "6", "d/docs/i.html": "7",
		"d/caf" + nfd: "8"}
	all := []string{"a.tmp", "b", "build/c", "caf" + nfc, "docs/a/b/i.html", "docs/i.html", "sub/build", "sub/x/a.tmp"}
	without := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(all), func(n string) bool { return slices.Contains(names, n) })
	}
	for _, c := range []struct {
		name   string
		first  []string // a put before, of the same
		args   []string
		status int
		says   string // in what is printed
		want   []string
	}{
		{"no pattern matches", nil, []string{"--exclude", "nope", "d"}, 0, "", all},
		{"a name anywhere", nil, []string{"--exclude", "*.tmp", "d"}, 0, "", without("a.tmp", "sub/x/a.tmp")},
		{"files and folders", nil, []string{"--exclude", "build", "d"}, 0, "", without("build/c", "sub/build")},
		{"folders alone", nil, []string{"--exclude", "build/", "d"}, 0, "", without("build/c")},
		{"at the top", nil, []string{"--exclude", "/a.tmp", "d"}, 0, "", without("a.tmp")},
		{"a path", nil, []string{"--exclude", "sub/build", "d"}, 0, "", without("sub/build")},
		{"any depth", nil, []string{"--exclude", "docs/**/*.html", "d"}, 0, "", without("docs/a/b/i.html", "docs/i.html")},
		{"alternatives and two patterns", nil, []string{"--exclude", "{b,i.html}", "--exclude", "*.t?p", "d"}, 0, "", without("b", "a.tmp", "sub/x/a.tmp", "docs/a/b/i.html", "docs/i.html")},
		{"another Unicode form", nil, []string{"--exclude", "caf" + nfc, "d"}, 0, "", without("caf" + nfc)},
		{"an argument", nil, []string{"--exclude", "b", "d/b", "d/a.tmp"}, 0, "", []string{"a.tmp"}},
		{"all arguments", nil, []string{"--exclude", "b", "d/b"}, 0, "", nil},
		{"no pattern", nil, []string{"--exclude", "[", "d"}, 2, "--exclude", nil},
		{"an empty one", nil, []string{"--exclude", "", "d"}, 2, "--exclude", nil},

		{"taken: version", []string{"d/b"}, []string{"--on-conflict", "version", "d/b"}, 0, "unchanged", []string{"b"}},
		{"taken: new", []string{"d/b"}, []string{"--on-conflict", "new", "d/b"}, 0, "b (2)", []string{"b", "b (2)"}},
		{"taken: fail", []string{"d/b"}, []string{"--on-conflict", "fail", "d/b", "d/a.tmp"}, 1, "taken", []string{"a.tmp", "b"}},
		{"taken: skip", []string{"d/b"}, []string{"--on-conflict", "skip", "d/b", "d/a.tmp"}, 0, "skipped", []string{"a.tmp", "b"}},
		{"taken: skip in a tree", []string{"d"}, []string{"--on-conflict", "skip", "d"}, 0, "skipped", all},
		{"taken: fail in a tree", []string{"d/docs"}, []string{"--on-conflict", "fail", "d/docs"}, 1, "taken", []string{"a/b/i.html", "i.html"}},
		{"taken: a word", nil, []string{"--on-conflict", "rename", "d/b"}, 2, "version, new, fail, skip", nil},

		{"dry run", nil, []string{"--dry-run", "d"}, 0, "docs/a/b/i.html", nil},
		{"dry run of a version", []string{"d/b"}, []string{"--dry-run", "d/b"}, 0, "would be a new version", []string{"b"}},
		{"dry run that skips", []string{"d/b"}, []string{"--dry-run", "--on-conflict", "skip", "d/b"}, 0, "skipped", []string{"b"}},
		{"dry run that fails", []string{"d/b"}, []string{"--dry-run", "--on-conflict", "fail", "d/b"}, 1, "exists", []string{"b"}},
		{"dry run of a collision", nil, []string{"--dry-run", "d/b", "d/b"}, 1, "several files", nil},
		{"dry run in JSON", nil, []string{"--dry-run", "--json", "d/b"}, 0, `"action":"new","dry_run":true`, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			targets(t, func(t *testing.T, s *shell) {
				t.Chdir(t.TempDir())
				makeTree(t, ".", tree)
				if c.first != nil {
					s.run(0, "", append([]string{"put"}, c.first...)...)
				}
				out, errOut := s.run(c.status, "", append([]string{"put"}, c.args...)...)
				if !strings.Contains(out+errOut, c.says) {
					t.Errorf("says %q and %q, want %q", out, errOut, c.says)
				}
				if got := s.stored(); !slices.Equal(got, c.want) {
					t.Errorf("stored %q, want %q", got, c.want)
				}
			})
		})
	}
	// A dry run makes no store.
	t.Chdir(t.TempDir())
	makeTree(t, ".", tree)
	for _, data := range []string{"new", "d/sub"} {
		s := &shell{t, []string{"--data", data}}
		if out, _ := s.run(0, "", "put", "--dry-run", "d/b"); !strings.Contains(out, "would be stored") {
			t.Errorf("says %q", out)
		}
		if _, err := os.Stat(filepath.Join(data, ".lock")); err == nil {
			t.Errorf("%s: a store was made", data)
		}
	}
}

// Folders that hold nothing move and go with what is above them.
func TestEmptyFoldersMoveAndGo(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		dir := t.TempDir()
		makeTree(t, dir, map[string]string{"a/empty/": "", "b/x": "1", "b/y/": "", "d/z": "2"})
		s.run(0, "", "put", dir)
		folders := func() (got []string) {
			out := filepath.Join(t.TempDir(), "out")
			s.run(0, "", "get", "-r", "demo", "-o", out)
			for name := range strings.FieldsSeq(strings.ReplaceAll(describeTree(t, out), "\"", " ")) {
				if info, err := os.Stat(filepath.Join(out, name)); err == nil && info.IsDir() {
					got = append(got, filepath.ToSlash(name))
				}
			}
			return got
		}
		for _, c := range []struct {
			args []string
			want []string
		}{
			{nil, []string{"a", "a/empty", "b", "b/y", "d"}},
			{[]string{"mv", "demo/a", "demo/c"}, []string{"b", "b/y", "c", "c/empty", "d"}},
			{[]string{"mv", "demo/b", "demo/d"}, []string{"c", "c/empty", "d", "d/y"}},
			{[]string{"rm", "-r", "--yes", "demo/c"}, []string{"d", "d/y"}},
			{[]string{"rm", "-r", "--yes", "--permanent", "demo/d/y"}, []string{"d"}},
			{[]string{"ls", "demo/d"}, []string{"d"}},
		} {
			if c.args != nil {
				s.run(0, "", c.args...)
			}
			if got := folders(); !slices.Equal(got, c.want) {
				t.Errorf("after %q: %q, want %q", c.args, got, c.want)
			}
		}
	})
}
