// Package s3test gives tests services that speak S3: one in this process,
// versitygw where its binary is named, and a service that the environment names.
//
//	CAIRN_VERSITYGW          path of the versitygw binary, which is started on a loopback port
//	CAIRN_S3_ENDPOINT        URL of a service, with CAIRN_S3_BUCKET, CAIRN_S3_REGION,
//	                         CAIRN_S3_ACCESS_KEY_ID, CAIRN_S3_SECRET_ACCESS_KEY, CAIRN_S3_PATH_STYLE
package s3test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"github.com/cairn-store/cairn/backend/s3backend"
)

const bucket = "cairn-test"

// A Server is a service with a bucket for tests.
type Server struct {
	Name                 string
	Endpoint, Bucket     string
	Region               string
	AccessKey, SecretKey string
	PathStyle            bool
	external             bool // it runs on after the tests
}

// Each runs a test against every service at hand.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	t.Run("fake", func(t *testing.T) { test(t, Fake(t)) })
	t.Run("versitygw", func(t *testing.T) { test(t, Versity(t)) })
	if os.Getenv("CAIRN_S3_ENDPOINT") != "" {
		t.Run("environment", func(t *testing.T) { test(t, fromEnvironment()) })
	}
}

func fromEnvironment() *Server {
	return &Server{Name: "environment", external: true,
		Endpoint: os.Getenv("CAIRN_S3_ENDPOINT"), Bucket: cmp.Or(os.Getenv("CAIRN_S3_BUCKET"), bucket), Region: os.Getenv("CAIRN_S3_REGION"),
		AccessKey: os.Getenv("CAIRN_S3_ACCESS_KEY_ID"), SecretKey: os.Getenv("CAIRN_S3_SECRET_ACCESS_KEY"),
		PathStyle: os.Getenv("CAIRN_S3_PATH_STYLE") != "false"}
}

// Fake starts a service in this process. It keeps objects in memory and takes any
// credentials.
func Fake(t testing.TB) *Server {
	t.Helper()
	store := s3mem.New()
	if err := store.CreateBucket(bucket); err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(gofakes3.New(store).Server())
	t.Cleanup(srv.Close)
	return &Server{Name: "fake", Endpoint: srv.URL, Bucket: bucket, AccessKey: "test", SecretKey: "testsecret", PathStyle: true}
}

// Versity starts versitygw, or skips the test where there is none.
func Versity(t testing.TB) *Server {
	t.Helper()
	bin := os.Getenv("CAIRN_VERSITYGW")
	if bin == "" {
		t.Skip("CAIRN_VERSITYGW names no binary")
	}
	dir := t.TempDir()
	for _, d := range []string{"data/" + bucket, "meta"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	s := &Server{Name: "versitygw", Bucket: bucket, AccessKey: "cairntest", SecretKey: "cairntestsecret", PathStyle: true}
	addr := freeAddr(t)
	s.Endpoint = "http://" + addr
	cmd := exec.Command(bin, "--port", addr, "--access", s.AccessKey, "--secret", s.SecretKey, "--quiet", "--keep-alive",
		"--health", "/health", "posix", "--sidecar", filepath.Join(dir, "meta"), filepath.Join(dir, "data"))
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
		if answer, err := http.Get(s.Endpoint + "/health"); err == nil {
			answer.Body.Close()
			return s
		}
		time.Sleep(50 * time.Millisecond)
	}
	cmd.Process.Kill()
	cmd.Wait()
	t.Fatalf("versitygw does not start:\n%s", log)
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

// Options returns the options of a backend under a prefix of its own, whose
// objects are removed at the end of the test.
func (s *Server) Options(t testing.TB) *s3backend.Options {
	t.Helper()
	o := &s3backend.Options{Bucket: s.Bucket, Prefix: "t" + strings.ToLower(rand.Text()[:12]), Endpoint: s.Endpoint, Region: s.Region,
		PathStyle: s.PathStyle, AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey,
		Attempts: 6, RetryFor: 20 * time.Second, Stall: 10 * time.Second}
	if s.external {
		t.Cleanup(func() { s.cleanUp(t, o) })
	}
	return o
}

// Open opens a backend of Options.
func (s *Server) Open(t testing.TB) *s3backend.Backend {
	t.Helper()
	return Open(t, s.Options(t))
}

// Open opens a backend.
func Open(t testing.TB, o *s3backend.Options) *s3backend.Backend {
	t.Helper()
	b, err := s3backend.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func (s *Server) cleanUp(t testing.TB, o *s3backend.Options) {
	ctx := context.Background()
	b := Open(t, o)
	var errs []error
	for info, err := range b.List(ctx, "") {
		if err != nil {
			errs = append(errs, err)
			break
		}
		errs = append(errs, b.Delete(ctx, info.Key))
	}
	_, err := b.Sweep(ctx, time.Now().Add(time.Hour))
	if err := errors.Join(append(errs, err)...); err != nil {
		t.Errorf("clean up: %v", err)
	}
}
