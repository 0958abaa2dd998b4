package arch

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestBounds checks that the constants and tests that the table of bounds in
// ARCHITECTURE.md names are there.
func TestBounds(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Bounds\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !ok {
		t.Fatal("ARCHITECTURE.md has no section Bounds")
	}
	tests := testNames(t, root)
	quoted := regexp.MustCompile("`([^`]+)`")
	rows := 0
	for line := range strings.Lines(section) {
		cells := strings.Split(line, "|")
		if !strings.HasPrefix(line, "| ") || strings.TrimSpace(cells[1]) == "what" {
			continue
		}
		if rows++; len(cells) != 6 {
			t.Errorf("want four cells: %s", line)
			continue
		}
		where := quoted.FindAllStringSubmatch(cells[3], -1)
		if len(where) < 2 {
			t.Errorf("want a file and its constants: %s", line)
			continue
		}
		source, err := os.ReadFile(filepath.Join(root, where[0][1]))
		if err != nil {
			t.Errorf("%s: %v", strings.TrimSpace(cells[1]), err)
			continue
		}
		for _, name := range where[1:] {
			if !regexp.MustCompile(`(?m)^\s*(const |var )?` + name[1] + `\b.*=`).Match(source) {
				t.Errorf("%s has no constant %s", where[0][1], name[1])
			}
		}
		names := quoted.FindAllStringSubmatch(cells[4], -1)
		if len(names) == 0 {
			t.Errorf("no test is named: %s", line)
		}
		for _, name := range names {
			if test, _, _ := strings.Cut(name[1], "/"); !tests[test] {
				t.Errorf("there is no test %s", test)
			}
		}
	}
	if rows == 0 {
		t.Error("the table of bounds is empty")
	}
}

// testNames are the names of all tests of the module, those in suites too.
func testNames(t *testing.T, root string) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		suite := strings.HasSuffix(filepath.Dir(name), "test") && strings.HasSuffix(name, ".go")
		if d.IsDir() || !suite && !strings.HasSuffix(name, "_test.go") {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range declared.FindAllSubmatch(text, -1) {
			names[string(m[1])] = true
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}
