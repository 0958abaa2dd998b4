package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// A command that reads or changes a store makes none: on a path where there is none it
// says so, and leaves nothing there. What may make one does.
func TestNoStore(t *testing.T) {
	race.LeaveOut(t)
	for _, args := range [][]string{
		{"check"}, {"check", "--repair"}, {"ls"}, {"ls", "demo"}, {"get", "demo/x", "-o", "-"}, {"stat", "demo/x"}, {"versions", "demo/x"}, {"refs", "demo/x"},
		{"cp", "demo/x", "demo/y"}, {"rm", "demo/x"}, {"restore", "demo/x"}, {"keys", "ls"}, {"keys", "create", "--operator"}, {"keys", "rm", "x"},
		{"keys", "rotate-signing"}, {"report", "usage"}, {"report", "dedup"}, {"report", "orphans"}, {"report", "gc"}, {"report", "fragmentation"},
		{"gc"}, {"gc", "--dry-run"}, {"scrub"}, {"dump", "_alyx_files"}, {"links", "ls"}, {"migrate", "--bucket", "demo", "--to", "x"},
		{"rules", "explain", "read", "demo"},
	} {
		dir := t.TempDir()
		for _, at := range []string{filepath.Join(dir, "none"), dir} {
			out, errOut := (&shell{t, []string{"--data", at}}).run(1, "", args...)
			if !strings.Contains(errOut, "no store at "+at) || out != "" {
				t.Errorf("%v: %s%s", args, out, errOut)
			}
			if left, _ := os.ReadDir(at); len(left) > 0 {
				t.Errorf("%v leaves %v", args, left)
			}
		}
	}
	dir := t.TempDir()
	s := &shell{t, []string{"--data", filepath.Join(dir, "new")}}
	s.run(0, "", "put", write(t, filepath.Join(dir, "f"), "x"))
	s.run(0, "", "ls", "demo")
	// Packs without a database are what a repair makes one of, and nothing else does.
	if err := os.RemoveAll(filepath.Join(dir, "new", "meta")); err != nil {
		t.Fatal(err)
	}
	if _, errOut := s.run(1, "", "ls", "demo"); !strings.Contains(errOut, "check --repair") {
		t.Errorf("without a database: %s", errOut)
	}
	s.run(0, "", "check", "--repair")
	s.run(0, "", "check")
}

// Flags win over the environment, and exclude each other.
func TestTarget(t *testing.T) {
	race.LeaveOut(t)
	dir := t.TempDir()
	(&shell{t, []string{"--data", dir}}).run(0, "", "put", write(t, filepath.Join(t.TempDir(), "f"), "x"))
	const nowhere = "http://127.0.0.1:1"
	for _, c := range []struct {
		server string // CAIRN_SERVER
		flags  []string
		status int
		want   string
	}{
		{"", []string{"--data", dir}, 0, ""},
		{nowhere, []string{"--data", dir}, 0, ""},
		{nowhere, nil, 1, "127.0.0.1:1"},
		{nowhere, []string{"--server", "http://127.0.0.1:2"}, 1, "127.0.0.1:2"},
		{"", []string{"--server", nowhere}, 1, "127.0.0.1:1"},
		{"", []string{"--server", nowhere, "--data", dir}, 2, "--data and --server"},
		{nowhere, []string{"--server", "", "--data", dir}, 0, ""},
	} {
		t.Setenv("CAIRN_SERVER", c.server)
		if _, errOut := (&shell{t, c.flags}).run(c.status, "", "ls", "demo"); !strings.Contains(errOut, c.want) {
			t.Errorf("%+v: %s", c, errOut)
		}
	}
}
