package main

import (
	"bytes"
	"debug/buildinfo"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// The host does its work, and again where it has been before.
func TestRun(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		var out bytes.Buffer
		if err := run(t.Context(), dir, &out); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(out.String(), "version 1: first draft\nreport.txt, 12 bytes, ") {
			t.Errorf("%s", out.String())
		}
	}
}

// A host that stores on disk links neither the SDK of AWS nor what reads tokens, and
// its binary runs.
func TestBinary(t *testing.T) {
	name := filepath.Join(t.TempDir(), "minimal")
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	if out, err := exec.Command("go", "build", "-ldflags=-s -w", "-o", name, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	info, err := buildinfo.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range info.Deps {
		for _, none := range []string{"github.com/aws/", "github.com/go-jose/", "github.com/jackc/", "github.com/spf13/"} {
			if strings.HasPrefix(m.Path+"/", none) {
				t.Errorf("the binary links %s", m.Path)
			}
		}
	}
	if len(info.Deps) > maxModules {
		t.Errorf("the binary links %d modules, want at most %d", len(info.Deps), maxModules)
	}
	if out, err := exec.Command(name, t.TempDir()).CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// maxModules bounds what the host links: who adds a dependency to what every host
// links has to raise it.
const maxModules = 48
