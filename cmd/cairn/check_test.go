package main

import (
	"encoding/json"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/local"
)

// A server checks its store while it is in use: damage is told at once, with the
// path, until the same bytes were put again.
func TestCheckServer(t *testing.T) {
	dir := t.TempDir()
	store, err := local.Open(t.Context(), dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
	t.Cleanup(func() { srv.Close(); store.Close() })
	s, data := &shell{t, []string{"--server", srv.URL}}, &shell{t, []string{"--data", dir}}
	content := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(content)
	name := write(t, filepath.Join(t.TempDir(), "hurt.bin"), string(content))
	s.run(0, "", "put", name, write(t, filepath.Join(t.TempDir(), "well.txt"), "well"))
	check := func(status int, args ...string) (r client.Checked) {
		t.Helper()
		out, _ := s.run(status, "", append([]string{"check", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &r); err != nil || r.OK != (status == 0) {
			t.Fatalf("%v: %s", err, out)
		}
		return r
	}
	if r := check(0, "--rate", "1GiB"); r.Files != 2 || r.Packs == 0 || r.Bytes < int64(len(content)) || len(r.PacksByWriter) != 1 {
		t.Errorf("%+v", r)
	}
	flipStored(t, dir, content[500<<10:][:100])
	if r := check(1); r.DamagedCount != 1 || r.Damaged[0].Path != "demo/hurt.bin" || r.Kinds["chunk"] != 1 {
		t.Errorf("%+v", r)
	}
	if out, _ := s.run(1, "", "check"); strings.Count(out, "\n") != 3 || !strings.Contains(out, `manifest "demo/hurt.bin"`) || !strings.Contains(out, "1 problems, 1 damaged versions") {
		t.Errorf("check says %s", out)
	}
	s.run(0, "", "put", "--name", "again.bin", name)
	check(0)
	testPlan(t)

	for _, c := range []struct {
		shell  *shell
		status int
		args   []string
		want   string
	}{
		{s, 2, []string{"--repair"}, "stop the server and give --data in place of --server"},
		{s, 2, []string{"--repair", "--dry-run"}, "stop the server"},
		{s, 2, []string{"--dry-run"}, "--dry-run goes with --repair"},
		{s, 2, []string{"--rate", "fast"}, `--rate "fast": want bytes a second`},
		{s, 2, []string{"all"}, ""},
		{data, 1, nil, "talk to that process with --server"},
		{data, 1, []string{"--repair"}, "--repair needs the store for itself: stop that process"},
	} {
		if _, stderr := c.shell.run(c.status, "", append([]string{"check"}, c.args...)...); !strings.Contains(stderr, c.want) {
			t.Errorf("check %q on %s says %s", c.args, c.shell.target[0], stderr)
		}
	}
}

// A dry run of a repair says what that would do, and what heals what it cannot mend.
func testPlan(t *testing.T) {
	dir := t.TempDir()
	s := &shell{t, []string{"--data", dir}}
	content := make([]byte, 100<<10)
	rand.NewChaCha8([32]byte{2}).Read(content)
	s.run(0, "", "put", write(t, filepath.Join(t.TempDir(), "hurt.bin"), string(content)))
	flipStored(t, dir, content[50<<10:][:100])
	for range 2 { // nothing is changed
		out, _ := s.run(1, "", "check", "--repair", "--dry-run")
		for _, want := range []string{"are damaged (put the same bytes again)", "  a repair: another copy takes its place", `manifest "demo/hurt.bin"`} {
			if !strings.Contains(out, want) {
				t.Errorf("a dry run says %s, want %q", out, want)
			}
		}
	}
	if err := os.RemoveAll(filepath.Join(dir, "meta")); err != nil {
		t.Fatal(err)
	}
	if out, _ := s.run(1, "", "check"); !strings.Contains(out, "the metadata database is missing (check --repair mends it)") {
		t.Errorf("check says %s", out)
	}
	if out, _ := s.run(1, "", "check", "--repair", "--dry-run"); !strings.Contains(out, "make a database of 1 files, 1 versions: 1 files would be restored") {
		t.Errorf("a dry run says %s", out)
	}
	if out, _ := s.run(1, "", "check", "--repair"); !strings.Contains(out, "the metadata database is missing (repaired)") {
		t.Errorf("a repair says %s", out)
	}
}
