package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// What a release ships is right: the examples are valid, and the unit and the image call
// commands and flags that there are.
func TestReleaseFiles(t *testing.T) {
	release := filepath.Join("..", "..", "release")
	t.Setenv("CAIRN_JWT_SECRET", strings.Repeat("s", 64))
	out, _ := (&shell{t, nil}).run(0, "", "schema", "check", "--config", filepath.Join(release, "deb", "alyx.yml"), "--schema", filepath.Join(release, "deb", "schema.yaml"))
	if !strings.Contains(out, "good") || strings.Contains(out, "warning") {
		t.Errorf("the examples of the package: %s", out)
	}
	for file, begin := range map[string]string{"cairn.service": "ExecStart=/usr/bin/cairn ", "Dockerfile": `HEALTHCHECK --interval=30s --timeout=6s --start-period=10s CMD ["/cairn", `} {
		text, err := os.ReadFile(filepath.Join(release, file))
		if err != nil {
			t.Fatal(err)
		}
		_, rest, ok := strings.Cut(string(text), "\n"+begin)
		line, _, _ := strings.Cut(rest, "\n")
		args := strings.Fields(strings.NewReplacer(`"`, "", "]", "", ",", "").Replace(line))
		if !ok || len(args) == 0 {
			t.Fatalf("%s has no line %q", file, begin)
		}
		if out, errOut := (&shell{t, nil}).run(0, "", append(args, "--help")...); !strings.Contains(out+errOut, "cairn "+args[0]) {
			t.Errorf("%s: %q: %s", file, args, out)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		return
	}
	// It wants the program and the user to be there: what it says of them does not count.
	said, _ := exec.Command("systemd-analyze", "verify", "--man=no", filepath.Join(release, "cairn.service")).CombinedOutput()
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, "cairn.service") && !strings.Contains(line, "/usr/bin/cairn is not executable") {
			t.Errorf("the unit: %s", line)
		}
	}
}

// The version of the sources is one that Debian's and Go's tools can compare, or unknown.
func TestVersionOfSources(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip("there is no bash")
	}
	dir := t.TempDir() // as a source archive is, before git has filled it in and after
	text, err := os.ReadFile(filepath.Join("..", "..", "release", "version.sh"))
	if err != nil {
		t.Fatal(err)
	}
	script := write(t, filepath.Join(dir, "release", "version.sh"), string(text))
	commit := strings.Repeat("0123456789", 4)
	for source, want := range map[string]string{
		"$Format:%H %ct %(describe)$":     "unknown unknown 0",
		commit + " 1796004595":            "0.0.0-20261130020955-012345678901 " + commit + " 1796004595",
		commit + " 1796004595 v1.2.0":     "1.2.0 " + commit + " 1796004595",
		commit + " 1 v1.2.0-rc.1-4-g0123": "1.2.0-rc.1-4-g0123 " + commit + " 1",
	} {
		write(t, filepath.Join(dir, "release", "source.txt"), source+"\n")
		got, err := exec.Command(bash, script).CombinedOutput()
		if strings.TrimSpace(string(got)) != want || err != nil {
			t.Errorf("%s: %s, %v, want %s", source, got, err, want)
		}
	}
}
