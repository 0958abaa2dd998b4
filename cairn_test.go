package cairn_test

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/cairn-store/cairn"
	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/s3config"
	"github.com/cairn-store/cairn/buckets/schema"
)

// inMemory is a driver of a host's own.
type inMemory struct{ packs backend.Backend }

func (d inMemory) Open(context.Context) (backend.Backend, error) { return d.packs, nil }
func (inMemory) Place() string                                   { return "memory" }

// Buckets and backends come from structs, from what was parsed, from drivers, or from
// all of these.
func TestOptions(t *testing.T) {
	dir := t.TempDir()
	parse := func(dir string) *cairn.Options {
		opts, err := cairn.Parse(fmt.Appendf(nil, `
storage:
  backends:
    near: {type: filesystem, filesystem: {path: '%s/near'}}
    far: {type: filesystem, filesystem: {path: '%[1]s/far'}}
`, filepath.ToSlash(dir)), []byte(`buckets: {a: {backend: near, rules: {read: "true"}}, b: {backend: far, rules: {read: "true"}}}`))
		if err != nil {
			t.Fatal(err)
		}
		return opts
	}
	both := parse(t.TempDir())
	both.Buckets = map[string]cairn.Policy{"c": {Domain: "memory"}, "d": {Domain: "near"}}
	both.Backends = map[string]cairn.Backend{"memory": {Driver: inMemory{membackend.New(nil)}}}
	for _, c := range []struct {
		name    string
		opts    *cairn.Options
		buckets []string
		domain  string // of the last
	}{
		{"nil", nil, []string{"demo"}, "local"},
		{"zero", &cairn.Options{}, []string{"demo"}, "local"},
		{"empty files", &cairn.Options{Config: &schema.Config{}}, []string{"demo"}, "local"},
		{"policies", &cairn.Options{Buckets: map[string]cairn.Policy{"x": {}, "y": {}}}, []string{"x", "y"}, "local"},
		{"schema's structs", &cairn.Options{Schema: &schema.Schema{Buckets: map[string]*schema.Bucket{"x": {}}}}, []string{"x"}, "local"},
		{"nil structs", &cairn.Options{Config: &schema.Config{Storage: schema.Storage{Backends: map[string]*schema.Backend{"own": nil}}},
			Schema: &schema.Schema{Buckets: map[string]*schema.Bucket{"x": nil}}}, []string{"x"}, "own"},
		{"no bucket", &cairn.Options{Schema: &schema.Schema{}}, nil, ""},
		{"a driver", &cairn.Options{Backends: map[string]cairn.Backend{"memory": {Driver: inMemory{membackend.New(nil)}}}}, []string{"demo"}, "memory"},
		{"config's structs", &cairn.Options{Config: &schema.Config{Storage: schema.Storage{Backends: map[string]*schema.Backend{"disk": {Filesystem: &schema.Filesystem{Path: dir + "/disk"}}}}}},
			[]string{"demo"}, "disk"},
		{"parsed", parse(dir), []string{"a", "b"}, "far"},
		{"all", both, []string{"a", "b", "c", "d"}, "near"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := cairn.Open(t.Context(), t.TempDir(), c.opts)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			if got := s.Buckets(); !reflect.DeepEqual(got, c.buckets) && len(got)+len(c.buckets) > 0 {
				t.Fatalf("buckets %q, want %q", got, c.buckets)
			}
			for i, name := range c.buckets {
				b, err := s.Bucket(name)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := b.Put(t.Context(), "f", strings.NewReader(name), nil); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				if got := b.Policy().Domain; i == len(c.buckets)-1 && got != c.domain {
					t.Errorf("%s is in %q, want %q", name, got, c.domain)
				}
			}
		})
	}
	if both.Buckets["a"].Domain != "" || len(both.Buckets) != 2 || len(both.Backends) != 1 {
		t.Errorf("Open has changed its options: %+v", both)
	}
}

// What cannot be opened says what to do.
func TestOptionsRefused(t *testing.T) {
	far := &schema.Config{Storage: schema.Storage{Backends: map[string]*schema.Backend{"r2": {Type: "s3", S3: &schema.S3{Bucket: "b", Region: "auto", Endpoint: "http://127.0.0.1:1"}}}}}
	_, err := cairn.Open(t.Context(), t.TempDir(), &cairn.Options{Config: far})
	if !errors.Is(err, local.ErrNoDriver) || !strings.Contains(err.Error(), `backend "r2" is of type s3`) || !strings.Contains(err.Error(), "buckets/s3config") {
		t.Errorf("no driver: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err = cairn.Open(ctx, t.TempDir(), &cairn.Options{Config: far, S3: s3config.Driver}); err == nil || errors.Is(err, local.ErrNoDriver) {
		t.Errorf("with a driver: %v", err)
	}
	rule := &schema.Schema{Buckets: map[string]*schema.Bucket{"x": {Rules: schema.Rules{Read: "auth.id =="}}}}
	if _, err = cairn.Open(t.Context(), t.TempDir(), &cairn.Options{Schema: rule}); err == nil || !strings.Contains(err.Error(), `bucket "x": rule read`) {
		t.Errorf("a rule that does not compile: %v", err)
	}
	var wrong schema.Problems
	if _, err = cairn.Parse([]byte("storage: {backend: {}}"), nil); !errors.As(err, &wrong) || wrong[0].File != "alyx.yml" || wrong[0].Line != 1 {
		t.Errorf("a wrong config: %v", err)
	}
	if _, err = cairn.Parse(nil, []byte("buckets:\n  a: {trash: soon}")); !errors.As(err, &wrong) || wrong[0].File != "schema.yaml" || wrong[0].Line != 2 {
		t.Errorf("a wrong schema: %v", err)
	}
}

// An audit is told of what the program changes.
func TestAudit(t *testing.T) {
	var lines strings.Builder
	audit := &buckets.Audit{Write: func(p []byte) error { lines.Write(p); return nil }}
	s, err := cairn.Open(t.Context(), t.TempDir(), &cairn.Options{Audit: audit, Buckets: map[string]cairn.Policy{"notes": {}}})
	if err != nil {
		t.Fatal(err)
	}
	b, err := s.Bucket("notes")
	if err == nil {
		_, err = b.Put(t.Context(), "a", strings.NewReader("a"), nil)
	}
	if err = errors.Join(err, s.Close()); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(lines.String(), `"action":"file.create","actor":{"kind":"program"},"bucket":"notes"`) {
		t.Errorf("lines: %s", &lines)
	}
}
