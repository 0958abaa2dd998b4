// Package s3test gives tests services that speak S3: one in this process, with
// quirks where a test wants them, versitygw and rclone where their binaries are
// named, and a service that the environment names.
//
//	CAIRN_VERSITYGW          path of the versitygw binary, which is started on a loopback port
//	CAIRN_RCLONE             path of rclone, whose serve s3 is started likewise
//	CAIRN_S3_ENDPOINT        URL of a service, with CAIRN_S3_BUCKET, CAIRN_S3_REGION,
//	                         CAIRN_S3_ACCESS_KEY_ID, CAIRN_S3_SECRET_ACCESS_KEY, CAIRN_S3_PATH_STYLE,
//	                         CAIRN_S3_SINGLE_WRITER (true where it has no conditional PUT)
package s3test

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

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
	SingleWriter         bool // it has no conditional PUT: what its s3backend.Options say
	external             bool // it runs on after the tests
}

// Each runs a test against every service at hand.
func Each(t *testing.T, test func(t *testing.T, s *Server)) {
	t.Run("fake", func(t *testing.T) { test(t, Fake(t)) })
	t.Run("versitygw", func(t *testing.T) { test(t, Versity(t)) })
	t.Run("rclone", func(t *testing.T) { test(t, Rclone(t)) })
	if os.Getenv("CAIRN_S3_ENDPOINT") != "" {
		t.Run("environment", func(t *testing.T) { test(t, fromEnvironment()) })
	}
}

func fromEnvironment() *Server {
	return &Server{Name: "environment", external: true,
		Endpoint: os.Getenv("CAIRN_S3_ENDPOINT"), Bucket: cmp.Or(os.Getenv("CAIRN_S3_BUCKET"), bucket), Region: os.Getenv("CAIRN_S3_REGION"),
		AccessKey: os.Getenv("CAIRN_S3_ACCESS_KEY_ID"), SecretKey: os.Getenv("CAIRN_S3_SECRET_ACCESS_KEY"),
		PathStyle: os.Getenv("CAIRN_S3_PATH_STYLE") != "false", SingleWriter: os.Getenv("CAIRN_S3_SINGLE_WRITER") == "true"}
}

// Fake starts a service in this process. It keeps objects in memory, takes any
// credentials, and compares bodies with their signed sums.
func Fake(t testing.TB) *Server { return Quirky(t) }

// Options returns the options of a backend under a prefix of its own, whose
// objects are removed at the end of the test.
func (s *Server) Options(t testing.TB) *s3backend.Options {
	t.Helper()
	o := &s3backend.Options{Bucket: s.Bucket, Prefix: "t" + strings.ToLower(rand.Text()[:12]), Endpoint: s.Endpoint, Region: s.Region,
		PathStyle: s.PathStyle, AccessKeyID: s.AccessKey, SecretAccessKey: s.SecretKey, SingleWriter: s.SingleWriter,
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
