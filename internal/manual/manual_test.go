//go:build unix

package manual

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cairn-store/cairn/internal/race"
)

const root = "../.."

// TestCommands runs the commands of each page in an empty folder, as a reader would,
// and compares what they print with what the page says.
func TestCommands(t *testing.T) {
	race.LeaveOut(t)
	for _, tool := range []string{"bash", "curl", "tar", "cmp", "sed", "base64"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the manual uses %s", tool)
		}
	}
	bin := t.TempDir()
	build := exec.Command("go", "build", "-trimpath", "-o", bin, "./cmd/cairn")
	build.Dir = root
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range append(pages, filepath.Join(root, "README.md")) {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			blocks, err := Parse(string(text))
			if err != nil {
				t.Fatal(err)
			}
			runBlocks(t, bin, blocks)
		})
	}
}

// runBlocks runs the blocks in one shell. Each has its output in a file of its own, to
// which ERR adds the commands that fail.
func runBlocks(t *testing.T, bin string, blocks []Block) {
	if len(blocks) == 0 {
		return
	}
	dir, out := t.TempDir(), t.TempDir()
	ports := strings.NewReplacer("8090", freePort(t), "8091", freePort(t))
	var script strings.Builder
	for i, b := range blocks {
		fmt.Fprintf(&script, "exec > %[1]s/%[2]d 2>&1\n: > %[1]s/%[2]d.begun\ntrap 'echo \"$BASH_COMMAND\" >> %[1]s/%[2]d.failed' ERR\n%[3]s\n", out, i, ports.Replace(b.Text))
	}
	fmt.Fprintf(&script, ": > %s/done\n", out)
	cmd := exec.Command("bash")
	cmd.Stdin = strings.NewReader(script.String())
	cmd.Dir = dir
	cmd.Env = []string{"PATH=" + bin + ":" + os.Getenv("PATH"), "HOME=" + dir, "TZ=UTC", "LC_ALL=C.UTF-8", "TMPDIR=" + t.TempDir(),
		"CAIRN_ADDR=127.0.0.1:" + ports.Replace("8090")}
	// Servers that a page leaves running end with its shell.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	group := cmd.Process.Pid
	hung := time.AfterFunc(20*time.Minute, func() { syscall.Kill(-group, syscall.SIGKILL) })
	err := cmd.Wait()
	hung.Stop()
	syscall.Kill(-group, syscall.SIGTERM)
	waitForGroup(group)
	if _, missing := os.Stat(filepath.Join(out, "done")); missing != nil {
		t.Errorf("the shell did not come to the end: %v", err)
	}
	for i, b := range blocks {
		if _, err := os.Stat(filepath.Join(out, strconv.Itoa(i)+".begun")); err != nil {
			break
		}
		raw, err := os.ReadFile(filepath.Join(out, strconv.Itoa(i)))
		if err != nil {
			t.Fatal(err)
		}
		got := string(raw)
		failed, _ := os.ReadFile(filepath.Join(out, strconv.Itoa(i)+".failed"))
		// A failure that is meant shows in what is compared.
		if strings.Trim(b.Prints, "… \n") == "" {
			if len(failed) > 0 {
				t.Errorf("line %d: failed: %s%s", b.Line, failed, got)
			}
			continue
		}
		if diff := Compare(ports.Replace(b.Prints), got); diff != "" {
			t.Errorf("line %d: the commands print\n%s\nwant\n%s\nwhich begins to differ at: %s\n(failed: %s)", b.Line, got, ports.Replace(b.Prints), diff, failed)
		}
	}
}

// waitForGroup waits until the processes of a group are gone, and ends them if they
// take long.
func waitForGroup(group int) {
	for i := range 200 {
		if syscall.Kill(-group, 0) != nil {
			return
		}
		if i == 150 {
			syscall.Kill(-group, syscall.SIGKILL)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return strconv.Itoa(ln.Addr().(*net.TCPAddr).Port)
}

func TestParse(t *testing.T) {
	t.Parallel()
	page := "# P\n\n```sh\necho a\n```\n\n```text\na\n```\n\n```sh\nx\n```\nwords\n```text\nnot of x\n```\n```yaml\na: b\n```\n```sh not run: a reason\nrm -rf /\n```\n"
	got, err := Parse(page)
	if err != nil || len(got) != 2 || got[0] != (Block{4, "echo a\n", "a\n"}) || got[1] != (Block{12, "x\n", ""}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, wrong := range []string{"```\n$ ls\n```\n", "```\ncairn ls\n```\n", "```sh not run:\nx\n```\n", "```sh\nx\n", "```text\ncurl x\n```\n"} {
		if _, err := Parse(wrong); err == nil {
			t.Errorf("%q is taken", wrong)
		}
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		want, got string
		same      bool
	}{
		{"a\n", "a\n", true},
		{"a\n", "a \n", true},
		{"a\n", "b\n", false},
		{"a\n", "a\nb\n", false},
		{"a\nb\n", "a\n", false},
		{"f_…  x\n", "f_123  x\n", true},
		{"f_…  x\n", "f_123  y\n", false},
		{"a\n…\nz\n", "a\nb\nc\nz\n", true},
		{"a\n…\nz\n", "a\nz\n", true},
		{"a\n…\n", "a\nb\n", true},
		{"…\nz\n", "a\nb\n", false},
		{"[a]…\n", "[a]b\n", true},
	} {
		if got := Compare(c.want, c.got) == ""; got != c.same {
			t.Errorf("want %q, got %q: %v", c.want, c.got, got)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)|\]\((#[^)]*)\)`)

// TestLinks finds links of the pages that lead nowhere.
func TestLinks(t *testing.T) {
	t.Parallel()
	pages, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "api/client/js/README.md"} {
		pages = append(pages, filepath.Join(root, name))
	}
	for _, name := range pages {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(text), -1) {
			to, anchor := name, m[2]+m[3]
			if m[1] != "" {
				to = filepath.Join(filepath.Dir(name), m[1])
			}
			there, err := os.ReadFile(to)
			if info, statErr := os.Stat(to); statErr == nil && info.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s: %s leads nowhere", name, m[0])
			} else if anchor != "" && !hasAnchor(string(there), anchor[1:]) {
				t.Errorf("%s: %s: no such heading in %s", name, m[0], to)
			}
		}
	}
}

var heading = regexp.MustCompile(`(?m)^#+ (.*)$`)

// hasAnchor reports whether a page has a heading of that anchor, as GitHub makes them.
func hasAnchor(page, anchor string) bool {
	for _, m := range heading.FindAllStringSubmatch(page, -1) {
		name := strings.ToLower(strings.ReplaceAll(m[1], " ", "-"))
		if regexp.MustCompile(`[^\pL\pN_-]`).ReplaceAllString(name, "") == anchor {
			return true
		}
	}
	return false
}
