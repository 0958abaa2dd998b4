package arch

import (
	"go/version"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestGoDirective holds the go directive of each module to what the newest of its
// dependencies demands: a higher one would force a newer Go on programs that embed
// Cairn, and nothing needs it. What our own builds are made with is the toolchain.
func TestGoDirective(t *testing.T) {
	eachFile(t, "go.mod", func(name string, text []byte) {
		cmd := exec.Command("go", "list", "-m", "-f", "{{if not (or .Main .Replace)}}{{.GoVersion}} {{.Path}}{{end}}", "all")
		cmd.Dir = filepath.Join(root, filepath.Dir(name))
		cmd.Stderr = os.Stderr
		list, err := cmd.Output()
		if err != nil {
			t.Errorf("%s: go list: %v", name, err)
			return
		}
		want, by := "", ""
		for line := range strings.Lines(string(list)) {
			v, module, _ := strings.Cut(strings.TrimSpace(line), " ")
			if version.Compare("go"+v, "go"+want) > 0 {
				want, by = v, module
			}
		}
		m := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(text)
		if m == nil || string(m[1]) != want {
			t.Errorf("%s: %q, want go %s, which %s demands", name, m, want, by)
		}
	})
}

// TestWayIn holds what `go doc` shows of the module's root to two screens.
func TestWayIn(t *testing.T) {
	const screens = 80 // lines
	text, err := exec.Command("go", "doc", path.Clean(module)).Output()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > screens {
		t.Errorf("go doc shows %d lines of package cairn, want at most %d", n, screens)
	}
	for _, name := range []string{"Open(", "Bucket(", "Put(", "List(", "Versions(", "NewServer(", "Close("} {
		if !strings.Contains(string(text), name) {
			t.Errorf("go doc of package cairn does not show %s…)", name)
		}
	}
}
