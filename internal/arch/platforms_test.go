package arch

import (
	"go/build/constraint"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// No file of ours is chosen by the system and the architecture together. So what builds
// for each system, and for each architecture, builds for every pair: `make test` need not
// check them all.
func TestPlatforms(t *testing.T) {
	systems, architectures := []string{"linux", "darwin", "windows", "unix"}, []string{"amd64", "arm64"}
	root := filepath.Join("..", "..")
	cmd := exec.Command("git", "ls-files", "*.go")
	cmd.Dir = root
	list, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	for name := range strings.FieldsSeq(string(list)) {
		tags := strings.Split(strings.TrimSuffix(strings.TrimSuffix(filepath.Base(name), ".go"), "_test"), "_")[1:]
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			continue // removed, and not committed yet
		}
		for line := range strings.Lines(string(text)) {
			if x, err := constraint.Parse(strings.TrimSpace(line)); err == nil {
				x.Eval(func(tag string) bool { tags = append(tags, tag); return true })
				x.Eval(func(tag string) bool { tags = append(tags, tag); return false })
			}
			if strings.HasPrefix(line, "package ") {
				break
			}
		}
		bySystem := slices.ContainsFunc(tags, func(tag string) bool { return slices.Contains(systems, tag) })
		byArchitecture := slices.ContainsFunc(tags, func(tag string) bool { return slices.Contains(architectures, tag) })
		if bySystem && byArchitecture {
			t.Errorf("%s is chosen by system and architecture: %v; let one of them choose, or add the pair to TestTypesOfPlatforms", name, tags)
		}
	}
}
