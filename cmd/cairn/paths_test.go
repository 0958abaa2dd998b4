package main

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/internal/race"
)

// A path that is nothing is an error of every command that takes one, which says so in a
// line; what is empty is none.
func TestNothingThere(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		stage(t, s)
		s.run(0, "", "links", "forget", "--yes", "blog") // whose link keeps a file from the trash
		s.run(0, "", "rm", "demo/folder/b.txt", "demo/folder/c.txt")
		for _, c := range []struct {
			args   []string
			status int
			want   string // of stderr
		}{
			{[]string{"ls", "demo/nope"}, 1, "cairn: demo/nope: no such file or folder\n"},
			{[]string{"ls", "demo/nope/"}, 1, "cairn: demo/nope: no such file or folder\n"},
			{[]string{"ls", "demo/nope", "--search", "x"}, 1, "no such file or folder"},
			{[]string{"ls", "demo/nope", "--trash"}, 1, "no such file or folder"},
			{[]string{"ls", "nope"}, 1, `bucket "nope"`},
			{[]string{"ls", "nope/a"}, 1, `bucket "nope"`},
			{[]string{"ls", "demo/a.txt/x"}, 1, "no such file or folder"},
			{[]string{"ls", "demo/folder"}, 0, ""}, // all that was there is in the trash
			{[]string{"ls", "demo/folder", "--search", "nope"}, 0, ""},
			{[]string{"ls", "demo", "--search", "nope"}, 0, ""},
			{[]string{"ls", "demo"}, 0, ""},
			{[]string{"ls", "demo/"}, 0, ""},
			{[]string{"ls", "demo/a.txt"}, 0, ""},
			{[]string{"stat", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"get", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"get", "demo/folder/c.txt"}, 1, "no such file; one is in the trash, from where restore takes it"},
			{[]string{"versions", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"refs", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"cp", "demo/nope", "demo/x"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"mv", "demo/nope", "demo/x"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"rm", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"rm", "-r", "--yes", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"rm", "-r", "--yes", "nope"}, 1, `bucket "nope"`},
			{[]string{"rm", "--permanent", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"restore", "demo/nope"}, 1, "cairn: demo/nope: no such file in the trash\n"},
			{[]string{"restore", "demo/a.txt"}, 1, "cairn: demo/a.txt: no such file in the trash\n"},
			{[]string{"gc", "preview", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"gc", "preview", "--prefix", "nope/"}, 1, `bucket "nope"`},
			{[]string{"gc", "explain", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"rules", "explain", "read", "demo/nope"}, 1, "cairn: demo/nope: no such file\n"},
			{[]string{"report", "usage", "nope"}, 1, `bucket "nope"`},
			{[]string{"buckets", "nope"}, 1, `bucket "nope"`},
			{[]string{"links", "show", "nope"}, 1, "no such host"},
			{[]string{"keys", "rm", "nope"}, 1, "no such"},
			// A command line of which a part means nothing is refused before anything is done.
			{[]string{"rm", "demo/a.txt", "demo"}, 2, `"demo": want BUCKET/ID or BUCKET/PATH`},
			{[]string{"restore", "demo/a.txt", "demo/"}, 2, `"demo/": want BUCKET/ID or BUCKET/PATH`},
			{[]string{"stat", "/a.txt"}, 2, "want BUCKET/ID or BUCKET/PATH"},
			{[]string{"ls", "demo/a.txt"}, 0, ""},
			// What is there of several things is done, and the status says that something was not.
			{[]string{"ls", "demo/nope", "demo"}, 1, "cairn: ls demo/nope: no such file or folder\n"},
			{[]string{"rm", "demo/nope", "demo/a.txt", "demo/nope2"}, 1, "cairn: rm demo/nope: no such file\ncairn: rm demo/nope2: no such file\n"},
			{[]string{"restore", "demo/nope", "demo/a.txt"}, 1, "cairn: restore demo/nope: no such file in the trash\n"},
			{[]string{"ls", "demo/a.txt"}, 0, ""},
			{[]string{"rm", "-r", "--yes", "demo/nope", "demo/a.txt"}, 1, "cairn: rm demo/nope: no such file\n"},
		} {
			_, stderr := s.run(c.status, "", c.args...)
			if !strings.Contains(stderr, c.want) || c.want == "" && stderr != "" || c.status == 1 && strings.HasSuffix(c.want, "\n") && stderr != c.want {
				t.Errorf("%q: %s, want %s", c.args, stderr, c.want)
			}
		}
		if out, _ := s.run(0, "", "ls", "demo"); out != "" {
			t.Errorf("left: %s", out)
		}
	})
}

// putText stores a text, and returns the file.
func (s *shell) putText(bucketPath, text string) (f client.File) {
	s.t.Helper()
	bucket, path, _ := strings.Cut(bucketPath, "/")
	folder, name := splitPath(path)
	out, _ := s.run(0, text, "put", "--json", "--bucket", bucket, "--folder", folder, "--name", name, "-")
	if err := json.Unmarshal([]byte(out), &f); err != nil {
		s.t.Fatal(err)
	}
	return f
}

// paths lists the paths of files.
func (s *shell) paths(args ...string) (out []string) {
	s.t.Helper()
	text, _ := s.run(0, "", append([]string{"ls", "--json"}, args...)...)
	for line := range strings.Lines(text) {
		var f client.File
		if err := json.Unmarshal([]byte(line), &f); err != nil {
			s.t.Fatal(err)
		}
		out = append(out, f.Path)
	}
	return out
}

// restore, stat and rm --permanent find by path what is in the trash. Of several the last
// deleted is meant, except where something would be lost.
func TestPathsInTrash(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		var ids []string
		for _, text := range []string{"first", "second", "third"} {
			ids = append(ids, s.putText("demo/x/a.txt", text).ID)
			s.run(0, "", "rm", "demo/x/a.txt")
		}
		s.run(0, "", "rm", "demo/"+s.putText("demo/x/a.txt.bak", "another").ID)
		if out, stderr := s.run(0, "", "stat", "demo/x/a.txt"); !strings.Contains(out, ids[2]) || !strings.Contains(stderr, "3 files of this path are in the trash") {
			t.Errorf("stat: %s%s", out, stderr)
		}
		if _, stderr := s.run(1, "", "rm", "--permanent", "demo/x/a.txt"); !strings.Contains(stderr, "3 files of this path are in the trash: give BUCKET/ID") {
			t.Errorf("rm --permanent of several: %s", stderr)
		}
		_, stderr := s.run(0, "", "restore", "demo/x/a.txt")
		if !strings.Contains(stderr, ids[0]) || !strings.Contains(stderr, ids[1]) || strings.Contains(stderr, ids[2]) {
			t.Errorf("restore tells: %s", stderr)
		}
		if out, _ := s.run(0, "", "get", "demo/x/a.txt"); out != "third" {
			t.Errorf("restored %q", out)
		}
		s.run(0, "", "rm", "--permanent", "demo/"+ids[0])
		s.run(0, "", "rm", "--permanent", "demo/x/a.txt") // the active one
		s.run(0, "", "rm", "--permanent", "demo/x/a.txt") // the one in the trash
		if got := s.paths("--trash", "demo"); !slices.Equal(got, []string{"x/a.txt.bak"}) {
			t.Errorf("left in the trash: %v", got)
		}
	})
}

// mv moves files and folders within a bucket, with their IDs, and over nothing unless
// it is told to.
func TestMove(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		before := map[string]string{}
		for _, p := range []string{"a", "b", "dir/x", "dir/sub/y", "other/x", "trap"} {
			before[p] = s.putText("demo/"+p, "content of "+p).ID
		}
		for _, c := range []struct {
			args   string
			status int
			want   string // of what is printed
			paths  string // then, of all files
		}{
			{"demo/a demo/c", 0, "demo/a moved to demo/c\n", "b c dir/sub/y dir/x other/x trap"},
			{"demo/c demo/dir/", 0, "demo/c moved to demo/dir/c\n", "b dir/c dir/sub/y dir/x other/x trap"},
			{"demo/dir/c demo", 0, "demo/dir/c moved to demo/c\n", "b c dir/sub/y dir/x other/x trap"},
			{"demo/c demo/dir", 1, "demo/dir is a folder: end it in a slash to move into it", "b c dir/sub/y dir/x other/x trap"},
			{"demo/c demo/b", 1, "demo/b is there already: --on-conflict new or version says what to do", "b c dir/sub/y dir/x other/x trap"},
			{"--on-conflict new demo/c demo/b", 0, "demo/c moved to demo/b (2)\n", "b b (2) dir/sub/y dir/x other/x trap"},
			{"demo/" + before["a"] + " demo/a", 0, "demo/b (2) moved to demo/a\n", "a b dir/sub/y dir/x other/x trap"},
			{"--on-conflict version demo/a demo/b", 0, "demo/a moved to demo/b\n", "b dir/sub/y dir/x other/x trap"},
			{"demo/b demo/b", 1, "demo/b is there already", "b dir/sub/y dir/x other/x trap"},
			{"demo/dir demo/dir/sub", 2, "cannot be moved into itself", "b dir/sub/y dir/x other/x trap"},
			{"demo/dir demo/other", 1, "mv demo/dir/x: demo/other/x is there already", "b dir/x other/sub/y other/x trap"},
			{"demo/other demo/new/", 0, "demo/other/x moved to demo/new/other/x\n", "b dir/x new/other/sub/y new/other/x trap"},
			{"demo/new/other demo", 0, "", "b dir/x other/sub/y other/x trap"},
			{"demo/other/ demo/deep/er", 0, "", "b deep/er/sub/y deep/er/x dir/x trap"},
			{"demo/nope demo/x", 1, "demo/nope: no such file\n", "b deep/er/sub/y deep/er/x dir/x trap"},
			{"demo/b elsewhere/b", 2, "mv works within a bucket", "b deep/er/sub/y deep/er/x dir/x trap"},
			{"demo demo/x", 2, "want BUCKET/ID or BUCKET/PATH", "b deep/er/sub/y deep/er/x dir/x trap"},
			{"--on-conflict maybe demo/b demo/x", 2, "want new, version or fail", "b deep/er/sub/y deep/er/x dir/x trap"},
		} {
			out, stderr := s.run(c.status, "", append([]string{"mv"}, strings.Fields(c.args)...)...)
			if !strings.Contains(out+stderr, c.want) {
				t.Errorf("mv %s: %s%s, want %s", c.args, out, stderr, c.want)
			}
			if got := strings.Join(s.paths("demo"), " "); got != c.paths {
				t.Errorf("after mv %s: %s, want %s", c.args, got, c.paths)
			}
		}
		if out, _ := s.run(0, "", "get", "demo/b"); out != "content of a" {
			t.Errorf("after --on-conflict version: %q", out)
		}
		if out, _ := s.run(0, "", "versions", "demo/b"); strings.Count(out, "\n") != 2 || !strings.Contains(out, "m_") {
			t.Errorf("versions: %s", out)
		}
		var f client.File
		s.decodeJSON(&f, "mv", "demo/deep/er/x", "demo/back")
		if f.ID != before["other/x"] || f.Path != "back" {
			t.Errorf("moved as JSON: %+v", f)
		}
	})
}

// rm -r asks with the number of files, or wants --yes where nobody can answer.
func TestRemoveTree(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		for _, p := range []string{"a", "dir/x", "dir/sub/y", "dirt", "dir2/z"} {
			s.putText("demo/"+p, "content of "+p)
		}
		all := "a dir/sub/y dir/x dir2/z dirt"
		for _, c := range []struct {
			answer string // "-": nobody is there
			args   string
			status int
			want   string
			active string
		}{
			{"-", "-r demo/dir", 2, "this would remove 2 files (36 B) of demo/dir to the trash: give --yes", all},
			{"n\n", "-r demo/dir", 1, "remove 2 files (36 B) of demo/dir to the trash? [y/N] cairn: nothing was removed", all},
			{"", "-r demo/dir", 1, "nothing was removed", all},
			{"y\n", "-r demo/dir", 0, "2 files of 2 removed to the trash\n", "a dir2/z dirt"},
			{"-", "--yes demo/a", 2, "--yes goes with --recursive", "a dir2/z dirt"},
			{"-", "-r demo/a", 0, "", "dir2/z dirt"},
			{"-", "-r -y demo/dir2/ demo/nope", 1, "rm demo/nope: no such file\n", "dirt"},
			{"-", "-r --permanent demo/dir", 2, "remove 2 files (36 B) of demo/dir for good, with those in the trash: give --yes", "dirt"},
			{"yes\n", "-r --permanent demo", 0, "5 files of 5 removed for good, with those in the trash\n", ""},
			{"-", "-r -y demo", 0, "0 files of 0 removed to the trash\n", ""},
		} {
			var out, errOut strings.Builder
			args := append(append([]string{"rm"}, strings.Fields(c.args)...), s.target...)
			in := &answers{strings.NewReader(c.answer), 80}
			if c.answer == "-" {
				in.columns = 0
			}
			if got := run(t.Context(), args, in, &out, &errOut); got != c.status || !strings.Contains(errOut.String()+out.String(), c.want) {
				t.Errorf("rm %s: status %d: %s%s, want %d: %s", c.args, got, &out, &errOut, c.status, c.want)
			}
			if got := strings.Join(s.paths("demo"), " "); got != c.active {
				t.Errorf("after rm %s: %s, want %s", c.args, got, c.active)
			}
		}
		if got := s.paths("--trash", "demo"); len(got) > 0 {
			t.Errorf("left in the trash: %v", got)
		}
	})
}

// answers is what somebody types at a terminal.
type answers struct {
	*strings.Reader
	columns int
}

func (a *answers) Columns() int { return a.columns }

// sign prints a URL that opens the file, and says what it wants where there is no server.
func TestSign(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		f := s.putText("demo/a.txt", "content")
		if s.target[0] == "--data" {
			if _, stderr := (&shell{t, nil}).run(2, "", "sign", "demo/a.txt"); !strings.Contains(stderr, "only a server can answer the URL: give --server") {
				t.Errorf("without a server: %s", stderr)
			}
			return
		}
		for args, want := range map[string]string{"": "/download?", "--operation view --expires 2m": "/view?", "--operation upload --max-uses 1": f.ID, "--version 1 --ip 127.0.0.1": "m_"} {
			out, stderr := s.run(0, "", append([]string{"sign", "demo/a.txt"}, strings.Fields(args)...)...)
			if !strings.HasPrefix(out, "http://") || !strings.Contains(out, want) || strings.Count(out, "\n") != 1 || stderr != "" {
				t.Errorf("sign %s: %s%s", args, out, stderr)
			}
		}
		for args, want := range map[string]string{"--operation delete": "want download, view or upload", "--expires soon": "", "--max-uses x": "max-uses"} {
			status := 2
			if want == "" {
				status, want = 1, "expires_in"
			}
			if _, stderr := s.run(status, "", append([]string{"sign", "demo/a.txt"}, strings.Fields(args)...)...); !strings.Contains(stderr, want) {
				t.Errorf("sign %s: %s", args, stderr)
			}
		}
	})
}

// ls, buckets and reports cover all buckets where none is named.
func TestAllBuckets(t *testing.T) {
	race.LeaveOut(t)
	const two = "buckets: {one: {max_file_size: 5MiB, allowed_types: [text/plain], rules: {read: 'true'}}, two: {rules: {read: 'true'}}, empty: {rules: {read: 'true'}}}\n"
	s := &shell{t, declared(t, goodConfig, two)}
	s.putText("one/a", "in one")
	s.putText("two/dir/b", "in two")
	for args, want := range map[string][]string{
		"ls": {" one/a\n", " two/dir/b\n"}, "ls --folders": {" one/a\n", "two/dir/\n"}, "ls one two": {" one/a\n", " two/dir/b\n"}, "ls two": {" dir/b\n"},
		"buckets": {"one ", "two ", "empty ", "5.0 MiB", "text/plain"}, "report usage": {"one\n", "two\n", "2 files"}, "report dedup": {"one\n", "two\n"},
		"report fragmentation": {"one/a\n", "two/dir/b\n"}, "report gc": {"nothing waits"}, "report orphans": {""},
		"ls --json": {`"bucket":"one"`, `"bucket":"two"`}, "buckets --json": {`"bucket":"empty"`, `"max_file_size":5242880`},
	} {
		out, _ := s.run(0, "", strings.Fields(args)...)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s:\n%s, want %q in it", args, out, w)
			}
		}
	}
}

// Bash asks the program itself to complete buckets and paths.
func TestCompletion(t *testing.T) {
	race.LeaveOut(t)
	targets(t, func(t *testing.T, s *shell) {
		for _, p := range []string{"photos/a.jpg", "photos/b.jpg", "plan.txt"} {
			s.putText("demo/"+p, p)
		}
		for typed, want := range map[string]string{
			"": "demo/\n:6\n", "de": "demo/\n:6\n", "x": ":6\n", "demo/": "demo/photos/\ndemo/plan.txt\n:4\n", "demo/ph": "demo/photos/\n:6\n",
			"demo/photos/": "demo/photos/a.jpg\ndemo/photos/b.jpg\n:4\n", "nope/": ":4\n",
		} {
			out, _ := s.runBare("__complete", "ls", s.target[0], s.target[1], typed)
			if out != want {
				t.Errorf("%q is completed to %q, want %q", typed, out, want)
			}
		}
		none := filepath.Join(t.TempDir(), "none")
		if out, _ := s.runBare("__complete", "ls", "--data", none, "de"); out != ":4\n" {
			t.Errorf("without a store: %q", out)
		}
		for typed, want := range map[string]string{"re": "restore", "report u": "usage", "completion f": "fish", "ls --tra": "--trash", "keys r": "rotate-signing"} {
			if out, _ := s.runBare(append([]string{"__complete"}, strings.Fields(typed)...)...); !strings.Contains(out, want) {
				t.Errorf("%q is completed to %q, want %s", typed, out, want)
			}
		}
	})
}

// runBare runs a command line as it stands, without the target.
func (s *shell) runBare(args ...string) (stdout, stderr string) {
	s.t.Helper()
	return (&shell{s.t, nil}).run(0, "", args...)
}
