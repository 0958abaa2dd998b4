package main

import (
	"bytes"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// stub is a tool that copies its source.
func stub(restore string) tool {
	return tool{name: "stub", bin: "sh", ingest: []string{"sh", "-c", "rm -rf {repo} && cp -R {src} {repo}"},
		restore: []string{"sh", "-c", restore}, restored: "."}
}

func TestRound(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the stub is a shell script")
	}
	src := t.TempDir()
	if err := os.WriteFile(filepath.Join(src, "f"), make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	good := stub("cp -R {repo} {out}")
	rs, err := good.runRound(t.Context(), t.TempDir(), src)
	if err != nil || len(rs) != 3 || rs[0].stored != 5000 || rs[0].peak == 0 {
		t.Errorf("got results %+v, error %v, want three with 5000 bytes stored at first", rs, err)
	}
	bad := stub("mkdir -p {out} && head -c 4999 {repo}/f > {out}/f")
	if _, err := bad.runRound(t.Context(), t.TempDir(), src); err == nil {
		t.Error("a restore that lost a byte passes")
	}
	broken := stub("exit 3")
	if _, err := broken.runRound(t.Context(), t.TempDir(), src); err == nil {
		t.Error("a command that fails passes")
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer
	tools := []tool{{name: "cairn"}, {name: "slow"}, {name: "sad"}}
	results := map[string][]result{"sad failed": {{}}}
	for _, step := range []string{"ingest", "again", "restore"} {
		results["cairn "+step] = []result{{wall: 9 * time.Second}, {wall: time.Second}, {wall: 2 * time.Second}}
		results["slow "+step] = []result{{wall: 5 * time.Second}}
	}
	if err := printTable(&b, 4e6, tools, results); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"2.50", "failed"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %s in\n%s", want, b.String())
		}
	}
}
