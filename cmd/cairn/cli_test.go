package main

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/internal/race"
)

// A shell runs commands on one target.
type shell struct {
	t      *testing.T
	target []string
}

// run executes a command line, which must exit with status.
func (s *shell) run(status int, stdin string, args ...string) (stdout, stderr string) {
	s.t.Helper()
	var out, errOut bytes.Buffer
	args = append(append([]string{}, args...), s.target...)
	if got := run(s.t.Context(), args, strings.NewReader(stdin), &out, &errOut); got != status {
		s.t.Fatalf("cairn %q: exit status %d, want %d\n%s%s", args, got, status, &out, &errOut)
	}
	return out.String(), errOut.String()
}

// with returns a shell whose target are those flags of it that are given: not every
// command has all.
func (s *shell) with(flags ...string) *shell {
	var out []string
	for i := 0; i < len(s.target); i += 2 {
		if slices.Contains(flags, s.target[i]) {
			out = append(out, s.target[i:i+2]...)
		}
	}
	return &shell{s.t, out}
}

// targets runs a test on a directory and on a server.
func targets(t *testing.T, test func(t *testing.T, s *shell)) {
	t.Run("data", func(t *testing.T) {
		dir := newStore(t)
		test(t, &shell{t, []string{"--data", dir}})
	})
	t.Run("server", func(t *testing.T) {
		store, err := local.Open(t.Context(), t.TempDir(), nil)
		if err != nil {
			t.Fatal(err)
		}
		srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
		t.Cleanup(func() { srv.Close(); store.Close() })
		test(t, &shell{t, []string{"--server", srv.URL}})
	})
}

// newStore returns a directory with an empty store.
func newStore(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	store, err := local.Open(t.Context(), dir, nil)
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), 0o666); err != nil {
		t.Fatal(err)
	}
	return name
}

func TestPutAndGet(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		dir := t.TempDir()
		f := write(t, filepath.Join(dir, "a.txt"), "one")
		type line struct {
			ID        string
			Version   int
			Unchanged *bool
			Source    string
			NewBytes  *int64 `json:"new_bytes"`
			Checksums map[string]string
		}
		put := func(args ...string) (l line) {
			t.Helper()
			out, _ := s.run(0, "", append([]string{"put", "--json"}, args...)...)
			if err := json.Unmarshal([]byte(out), &l); err != nil || l.Unchanged == nil {
				t.Fatalf("%v: %s", err, out)
			}
			return l
		}
		first := put(f)
		if first.Version != 1 || *first.Unchanged || first.Source != f || *first.NewBytes != 3 || first.Checksums["sha256"] == "" {
			t.Errorf("first: %+v", first)
		}
		if again := put(f); again.ID != first.ID || !*again.Unchanged || again.Version != 1 {
			t.Errorf("again: %+v", again)
		}
		write(t, f, "two")
		if second := put("--digests", "none", f); second.ID != first.ID || second.Version != 2 || len(second.Checksums) != 1 {
			t.Errorf("second: %+v", second)
		}
		for ref, want := range map[string]string{"demo/" + first.ID: "two", "demo/a.txt": "two"} {
			if out, _ := s.run(0, "", "get", ref); out != want {
				t.Errorf("get %s: %q", ref, out)
			}
		}
		if out, _ := s.run(0, "", "get", "--version", "1", "demo/a.txt"); out != "one" {
			t.Errorf("version 1: %q", out)
		}
		s.run(0, "", "restore", "--version", "1", "demo/a.txt")
		s.run(0, "", "get", "demo/a.txt", "-o", filepath.Join(dir, "out"))
		if p, err := os.ReadFile(filepath.Join(dir, "out")); string(p) != "one" {
			t.Errorf("restored: %q, %v", p, err)
		}
		if out, _ := s.run(0, "", "versions", "demo/a.txt"); strings.Count(out, "m_") != 3 {
			t.Errorf("versions:\n%s", out)
		}
		s.run(0, "from standard input", "put", "--name", "in", "--folder", "x", "-")
		s.run(0, "", "cp", "demo/x/in", "demo/y/copy")
		if out, _ := s.run(0, "", "get", "demo/y/copy"); out != "from standard input" {
			t.Errorf("copy: %q", out)
		}
		s.run(0, "", "rm", "demo/x/in")
		out, _ := s.run(0, "", "ls", "--trash", "demo")
		s.run(0, "", "restore", "demo/"+strings.Fields(out)[0])
		s.run(0, "", "rm", "--permanent", "demo/x/in")
		if out, _ := s.run(0, "", "ls", "demo"); strings.Contains(out, "x/in") || !strings.Contains(out, "y/copy") {
			t.Errorf("ls:\n%s", out)
		}
		for args, want := range map[string]string{"--folders": "y/", "--search COPY": "y/copy", "--order -size --type text/*": "y/copy", "--search none": "", "--folders --search copy": "y/"} {
			out, _ := s.run(0, "", append([]string{"ls", "demo"}, strings.Fields(args)...)...)
			if lines := strings.Fields(out); want == "" && out != "" || want != "" && !slices.Contains(lines, want) {
				t.Errorf("ls %s:\n%s", args, out)
			}
		}
		if out, _ := s.run(0, "", "ls", "demo", "--folders", "--json"); !strings.Contains(out, "{\"folder\":\"y\"}\n") {
			t.Errorf("ls --folders --json:\n%s", out)
		}
		if _, stderr := s.run(1, "", "ls", "--order", "age"); !strings.Contains(stderr, "order \"age\": use name, ") {
			t.Errorf("ls --order age: %s", stderr)
		}
		if out, _ := s.run(0, "", "report", "usage", "demo"); !strings.Contains(out, "2 files") {
			t.Errorf("usage: %s", out)
		}
	})
}

// rm moves to the trash, or removes for good: what is active, what is in the
// trash, and versions.
func TestRemove(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		type removed struct {
			Bucket, ID string
			Permanent  bool
		}
		remove := func(want removed, args ...string) {
			t.Helper()
			out, _ := s.run(0, "", append([]string{"rm", "--json"}, args...)...)
			var got removed
			if err := json.Unmarshal([]byte(out), &got); err != nil || got != want {
				t.Errorf("rm %q: %s, want %+v", args, out, want)
			}
		}
		put := func(name string) string {
			t.Helper()
			out, _ := s.run(0, name, "put", "--json", "--name", name, "-")
			var f struct{ ID string }
			if err := json.Unmarshal([]byte(out), &f); err != nil {
				t.Fatal(err)
			}
			return f.ID
		}
		trashed := func() string {
			out, _ := s.run(0, "", "ls", "--trash", "demo")
			return out
		}
		a, b := put("a"), put("b")
		remove(removed{"demo", a, false}, "demo/a")
		if !strings.Contains(trashed(), a) {
			t.Errorf("not in the trash: %s", trashed())
		}
		remove(removed{"demo", a, true}, "--permanent", "demo/"+a)
		remove(removed{"demo", b, true}, "demo/b", "--permanent")
		if trashed() != "" {
			t.Errorf("still in the trash: %s", trashed())
		}
		s.run(1, "", "rm", "--permanent", "demo/"+b)
		if _, stderr := s.run(1, "", "rm", "demo/nope"); !strings.Contains(stderr, "demo/nope: no such file") {
			t.Errorf("no file: %s", stderr)
		}

		c := put("c")
		s.run(0, "other", "put", "--name", "c", "-")
		out, _ := s.run(0, "", "versions", "demo/c")
		lines := strings.Split(strings.TrimSpace(out), "\n")
		first := strings.Fields(lines[len(lines)-1])[1]
		remove(removed{"demo", first, true}, "demo/"+first)
		if out, _ := s.run(0, "", "versions", "demo/"+c); strings.Contains(out, first) || strings.Count(out, "m_") != 1 {
			t.Errorf("versions:\n%s", out)
		}
		s.run(0, "", "rm", "demo/c")
		put("d")
		put("e")
		if out, _ := s.run(0, "", "rm", "demo/d", "demo/e"); out != "" {
			t.Errorf("rm says %q", out)
		}
	})
}

func TestTrees(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		dir, out := t.TempDir(), filepath.Join(t.TempDir(), "out")
		want := map[string]string{"a": "1", "b/c.txt": "2", "b/d/é e": "", "b/d/f": strings.Repeat("f", 2<<20)}
		for name, content := range want {
			write(t, filepath.Join(dir, filepath.FromSlash(name)), content)
		}
		if out, _ := s.run(0, "", "put", "--json", dir); strings.Count(out, "\n") != len(want) {
			t.Errorf("put:\n%s", out)
		}
		s.run(0, "", "get", "--recursive", "demo", "-o", out)
		for name, content := range want {
			if p, err := os.ReadFile(filepath.Join(out, filepath.FromSlash(name))); err != nil || string(p) != content {
				t.Errorf("%s: %d bytes, %v", name, len(p), err)
			}
		}
		s.run(0, "", "get", "-r", "demo/b/d", "-o", out+"2")
		if names, err := os.ReadDir(out + "2"); err != nil || len(names) != 2 {
			t.Errorf("a folder: %v, %v", names, err)
		}
		s.run(1, "", "get", "-r", "demo/nowhere", "-o", out+"3")
	})
}

func TestCalledWrongly(t *testing.T) {
	s := &shell{t, []string{"--data", newStore(t)}}
	for _, args := range [][]string{{"nope"}, {"put"}, {"put", "-"}, {"get"}, {"get", "demo"}, {"get", "-r", "demo"}, {"ls", "--nope"},
		{"check", "--dry-run"}, {"report"}, {"dump", "x"}, {"serve"}, {"serve", "--dev", "--addr", "0.0.0.0:0"}} {
		if _, stderr := s.run(2, "", args...); !strings.HasPrefix(stderr, "cairn: ") {
			t.Errorf("%q: %s", args, stderr)
		}
	}
	if _, stderr := s.run(1, "", "get", "demo/nope"); !strings.Contains(stderr, "demo/nope: no such file") {
		t.Errorf("no file: %s", stderr)
	}
	if _, stderr := s.run(1, "", "ls", "nope"); !strings.Contains(stderr, `bucket "nope"`) {
		t.Errorf("no bucket: %s", stderr)
	}
	bad := write(t, filepath.Join(t.TempDir(), "f"), "x")
	if _, stderr := s.run(1, "", "put", bad+"-missing", bad); !strings.Contains(stderr, "-missing") {
		t.Errorf("missing: %s", stderr)
	}
	if out, _ := s.run(0, "", "ls"); !strings.Contains(out, " demo/f\n") {
		t.Errorf("one bad path kept the good one out: %s", out)
	}
}

func TestReportCheckDump(t *testing.T) {
	s := &shell{t, []string{"--data", t.TempDir()}}
	f := write(t, filepath.Join(t.TempDir(), "f"), "hello")
	s.run(0, "", "put", f)
	s.run(0, "not to be damaged", "put", "--name", "g", "-")
	out, _ := s.run(0, "", "report", "dedup", "--json")
	for _, key := range []string{"logical_bytes", "unique_bytes", "stored_bytes", "files", "manifests", "chunks", "unique_chunks", "dedup_ratio", "index_bytes"} {
		if !strings.Contains(out, `"`+key+`":`) {
			t.Errorf("no %s in %s", key, out)
		}
	}
	if out, _ := s.run(0, "", "dump", "_alyx_files", "--json"); !strings.Contains(out, `"name":"f"`) || !strings.Contains(out, `"chunker":`) {
		t.Errorf("dump: %s", out)
	}
	if out, _ := s.run(0, "", "check", "--json"); !strings.Contains(out, `"ok":true`) {
		t.Errorf("check: %s", out)
	}
	packs, err := filepath.Glob(filepath.Join(s.target[1], "packs", "*", "*"))
	if err != nil || len(packs) != 1 {
		t.Fatalf("%v, %v", packs, err)
	}
	p, err := os.ReadFile(packs[0])
	if err != nil {
		t.Fatal(err)
	}
	i := bytes.Index(p, []byte("hello"))
	p[i] ^= 1
	write(t, packs[0], string(p))
	if out, _ := s.run(1, "", "check", "--json"); !strings.Contains(out, `"ok":false`) || strings.Count(out, `"manifest_id":"m_`) != 1 {
		t.Errorf("check of damage: %s", out)
	}
	if _, stderr := s.run(1, "", "get", "demo/f"); !strings.Contains(stderr, "damaged") || !strings.Contains(stderr, filepath.Base(packs[0])) {
		t.Errorf("get of what is damaged: %s", stderr)
	}
	if out, _ := s.run(0, "", "get", "demo/g"); out != "not to be damaged" {
		t.Errorf("get of another file: %q", out)
	}
	s.run(0, "", "put", "--name", "h", f) // carries the damaged chunk
	if out, _ := s.run(0, "", "get", "demo/f"); out != "hello" {
		t.Errorf("get of what an upload has healed: %q", out)
	}
	held, err := local.Open(t.Context(), s.target[1], nil)
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	if _, stderr := s.run(1, "", "ls"); !strings.Contains(stderr, "talk to that process with --server") {
		t.Errorf("locked: %s", stderr)
	}
}

// What is on this machine is not received again, and a file appears whole.
func TestGetWithSeeds(t *testing.T) {
	targets(t, func(t *testing.T, s *shell) {
		dir := t.TempDir()
		content := make([]byte, 6<<20)
		rand.NewChaCha8([32]byte{1}).Read(content)
		f := write(t, filepath.Join(dir, "f"), string(content))
		s.run(0, "", "put", f)
		changed := string(content[:1000]) + strings.Repeat("+", 100) + string(content[1000:])
		s.run(0, "", "put", write(t, f, changed))
		get := func(args ...string) (got struct {
			Size, Version int64
			Received      int64  `json:"received_bytes"`
			Reused        int64  `json:"reused_bytes"`
			ManifestID    string `json:"manifest_id"`
		}) {
			t.Helper()
			out, _ := s.run(0, "", append([]string{"get", "--json", "demo/f"}, args...)...)
			if err := json.Unmarshal([]byte(out), &got); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			return got
		}
		old := write(t, filepath.Join(dir, "old"), string(content))
		out := filepath.Join(dir, "out")
		got := get("--seed", old, "-o", out)
		if p, err := os.ReadFile(out); err != nil || string(p) != changed {
			t.Errorf("%d bytes, %v", len(p), err)
		}
		if got.Size != int64(len(changed)) || got.Version != 2 || s.target[0] == "--server" && (got.Received > 1<<20 || got.Reused+got.Received != got.Size) {
			t.Errorf("with a seed: %+v", got)
		}
		// What lies there already counts, too.
		if got := get("--version", "1", "-o", out); s.target[0] == "--server" && got.Received > 1<<20 {
			t.Errorf("over another version: %+v", got)
		}
		if names, err := filepath.Glob(filepath.Join(dir, ".cairn-*")); err != nil || len(names) > 0 {
			t.Errorf("left: %v, %v", names, err)
		}
		s.run(0, "", "get", "demo/f", "-o", os.DevNull)
		s.run(2, "", "get", "demo/f", "--seed", old)
		s.run(1, "", "get", "demo/f", "--seed", dir, "-o", out)
	})
}

func TestDoctor(t *testing.T) {
	race.LeaveOut(t)
	store, err := local.Open(t.Context(), t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
	t.Cleanup(func() { srv.Close(); store.Close() })
	s := &shell{t, nil}
	if out, _ := s.run(0, "", "doctor", "--url", srv.URL, "--slow", "100ms"); !strings.Contains(out, "nothing is wrong") {
		t.Errorf("%s", out)
	}
	// A page of another origin may not use a server that has no origins.
	out, _ := s.run(1, "", "doctor", "--url", srv.URL, "--slow", "100ms", "--origin", "https://app.example.com", "--json")
	var r struct {
		Good   bool
		Checks []struct{ Check, Status string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.Good || len(r.Checks) < 9 {
		t.Errorf("%v: %s", err, out)
	}
	s.run(1, "", "doctor", "--url", srv.URL, "--bucket", "nope")
	s.run(2, "", "doctor")
}
