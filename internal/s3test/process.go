package s3test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Versity starts versitygw, or skips the test where there is none.
func Versity(t testing.TB) *Server {
	t.Helper()
	return startProcess(t, "versitygw", "CAIRN_VERSITYGW", func(s *Server, addr, dir string) []string {
		return []string{"--port", addr, "--access", s.AccessKey, "--secret", s.SecretKey, "--quiet", "--keep-alive",
			"posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data")}
	})
}

// Rclone starts rclone serve s3, or skips the test where there is none. It
// compares a body with its Content-MD5, not with the sum that is signed.
func Rclone(t testing.TB) *Server {
	t.Helper()
	return startProcess(t, "rclone", "CAIRN_RCLONE", func(s *Server, addr, dir string) []string {
		return []string{"serve", "s3", "--config", "", "--log-level", "ERROR", "--addr", addr,
			"--auth-key", s.AccessKey + "," + s.SecretKey, filepath.Join(dir, "data")}
	})
}

// startProcess starts the binary that a variable names, and waits until it
// answers.
func startProcess(t testing.TB, name, variable string, args func(s *Server, addr, dir string) []string) *Server {
	t.Helper()
	bin := os.Getenv(variable)
	if bin == "" {
		t.Skipf("%s names no binary", variable)
	}
	dir := t.TempDir()
	for _, d := range []string{"data/" + bucket, "meta"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{Name: name, Bucket: bucket, AccessKey: "cairntest", SecretKey: "cairntestsecret", PathStyle: true}
	addr := freeAddr(t)
	s.Endpoint = "http://" + addr
	cmd := exec.Command(bin, args(s, addr, dir)...)
	log := &strings.Builder{}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	for range 200 {
		if answer, err := http.Get(s.Endpoint); err == nil {
			answer.Body.Close()
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	t.Fatalf("%s does not start:\n%s", name, log)
	return nil
}

func freeAddr(t testing.TB) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}
