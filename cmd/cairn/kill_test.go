package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/internal/race"
)

// soak returns n, or n times CAIRN_SOAK when that is set.
func soak(n int) int {
	if f, err := strconv.Atoi(os.Getenv("CAIRN_SOAK")); err == nil && f > 0 {
		return n * f
	}
	return n
}

// built is the directory of the binary that tests start and kill.
var built string

func TestMain(m *testing.M) {
	var err error
	if built, err = os.MkdirTemp("", "cairn-test-"); err != nil {
		panic(err)
	}
	status := pgtest.Main(m)
	os.RemoveAll(built)
	os.Exit(status)
}

// buildCairn builds the binary that users run, once for all tests.
func buildCairn(t *testing.T) string {
	t.Helper()
	if err := buildOnce(); err != nil {
		t.Fatal(err)
	}
	return binaryPath()
}

func binaryPath() string {
	name := "cairn"
	if runtime.GOOS == "windows" {
		name += ".exe"
	}
	return filepath.Join(built, name)
}

var buildOnce = sync.OnceValue(func() error {
	build := exec.Command("go", "build", "-trimpath", "-o", binaryPath(), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	return nil
})

// A running is a server that can be killed.
type running struct {
	cmd *exec.Cmd
	url string
}

func start(t *testing.T, bin, dir string, flags ...string) *running {
	t.Helper()
	return startWith(t, bin, append([]string{"--dev", "--data", dir}, flags...)...)
}

func startWith(t *testing.T, bin string, flags ...string) *running {
	t.Helper()
	return startLogged(t, bin, io.Discard, flags...)
}

func startLogged(t *testing.T, bin string, log io.Writer, flags ...string) *running {
	t.Helper()
	cmd := exec.Command(bin, append([]string{"serve", "--addr", "127.0.0.1:0"}, flags...)...)
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if i := strings.Index(lines.Text(), "http://127.0.0.1:"); i >= 0 {
			go io.Copy(io.Discard, out)
			url, _, _ := strings.Cut(lines.Text()[i:], " ")
			return &running{cmd, strings.TrimRight(url, "/")}
		}
	}
	cmd.Process.Kill()
	t.Fatalf("the server did not print its URL: %v", cmd.Wait())
	return nil
}

func (r *running) kill() {
	r.cmd.Process.Kill()
	r.cmd.Wait()
}

// An ack is what the server has promised to keep.
type ack struct {
	id     string
	sha256 string
}

// upload posts content of random size until the server is gone.
func upload(url string, seed uint64, acked func(ack)) {
	r := rand.New(rand.NewPCG(seed, 2))
	for n := 0; ; n++ {
		size := r.IntN(20 << 10)
		if n%5 == 0 {
			size = r.IntN(3 << 20)
		}
		p := make([]byte, size)
		for i := 0; i < len(p); i += 8 {
			v := r.Uint64()
			for j := i; j < min(i+8, len(p)); j++ {
				p[j] = byte(v)
				v >>= 8
			}
		}
		resp, err := http.Post(fmt.Sprintf("%s/api/files/demo?name=f-%d-%d", url, seed, n), "application/octet-stream", bytes.NewReader(p))
		if err != nil {
			return
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusCreated {
			return
		}
		var f struct{ ID string }
		if json.Unmarshal(body, &f) != nil {
			return
		}
		sum := sha256.Sum256(p)
		acked(ack{f.ID, hex.EncodeToString(sum[:])})
	}
}

// TestKill kills the server at random moments of uploads. Every file that it
// acknowledged must read back identical after a plain restart, every file
// that it lists must be whole, and check must find nothing.
func TestKill(t *testing.T) {
	race.LeaveOut(t)
	if testing.Short() {
		t.Skip("starts and kills servers")
	}
	bin, dir := buildCairn(t), t.TempDir()
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	var mu sync.Mutex
	var all []ack
	for round := range soak(5) {
		srv := start(t, bin, dir)
		var wg sync.WaitGroup
		for range 4 {
			s := r.Uint64()
			wg.Go(func() {
				upload(srv.url, s, func(a ack) {
					mu.Lock()
					defer mu.Unlock()
					all = append(all, a)
				})
			})
		}
		time.Sleep(time.Duration(20+r.IntN(600)) * time.Millisecond)
		srv.kill()
		wg.Wait()
		if out, err := exec.Command(bin, "check", "--data", dir, "--json").CombinedOutput(); err != nil {
			t.Fatalf("round %d: check: %v\n%s", round, err, out)
		}
		verifyAcked(t, bin, dir, all)
		if t.Failed() {
			t.Fatalf("round %d", round)
		}
		if len(all) > 2000 {
			all = all[len(all)-2000:] // the others have been verified often
		}
	}
	t.Logf("%d kills", soak(5))
}

// verifyAcked reads every acknowledged file and every listed one.
func verifyAcked(t *testing.T, bin, dir string, all []ack) {
	t.Helper()
	srv := start(t, bin, dir)
	defer srv.kill()
	for _, a := range all {
		if got := download(t, srv.url, a.id); got != a.sha256 {
			t.Errorf("file %s reads back as %s, want %s", a.id, got, a.sha256)
		}
	}
	resp, err := http.Get(srv.url + "/api/files/demo?limit=1000")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var list struct {
		Files []struct {
			ID        string
			Checksums struct{ SHA256 string }
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&list); err != nil {
		t.Fatal(err)
	}
	for _, f := range list.Files {
		if got := download(t, srv.url, f.ID); got != f.Checksums.SHA256 {
			t.Errorf("listed file %s reads back as %s, its row says %s", f.ID, got, f.Checksums.SHA256)
		}
	}
}

func download(t *testing.T, url, id string) string {
	t.Helper()
	resp, err := http.Get(url + "/api/files/demo/" + id + "/download")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	h := sha256.New()
	if _, err := io.Copy(h, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
		return fmt.Sprintf("status %d, %v", resp.StatusCode, err)
	}
	return hex.EncodeToString(h.Sum(nil))
}
