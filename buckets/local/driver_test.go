package local_test

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/buckets/s3config"
	"github.com/cairn-store/cairn/buckets/schema"
)

// A driver of a host's own is a value like any other.
type ownDriver struct{ packs backend.Backend }

func (d ownDriver) Open(context.Context) (backend.Backend, error) { return d.packs, nil }
func (ownDriver) Place() string                                   { return "its shelf" }

// A remoteShelf is reached by several machines.
type remoteShelf struct {
	*membackend.Backend
	swept []time.Time
}

func (*remoteShelf) SingleWriter() bool { return true }

func (*remoteShelf) Probe(context.Context, bool) ([]backend.Finding, error) {
	return []backend.Finding{{Name: "reach", Needed: true, Detail: "too high"}, {Name: backend.ConditionalPut}}, nil
}

func (r *remoteShelf) Sweep(_ context.Context, before time.Time) (int, error) {
	r.swept = append(r.swept, before)
	return 1, nil
}

func TestDriverOfAHost(t *testing.T) {
	near, far := membackend.New(nil), &remoteShelf{Backend: membackend.New(nil)}
	for _, c := range []struct {
		name  string
		packs backend.Backend
		owned bool // one store at a time
	}{{"near", near, false}, {"far", far, true}} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			cache := t.TempDir()
			opts := &local.Options{Backends: map[string]local.Backend{"shelf": {Driver: ownDriver{c.packs}, CacheDir: cache}}, Buckets: map[string]buckets.Policy{"b": {Domain: "shelf"}}}
			s, err := local.Open(t.Context(), dir, opts)
			must(t, err)
			f, err := bucket(t, s, "b").Put(t.Context(), "a", strings.NewReader("bytes"), nil)
			must(t, err)
			must(t, s.Close())
			if empty, _ := filepath.Glob(filepath.Join(dir, "packs", "*")); len(empty) > 0 {
				t.Errorf("packs lie beside the database: %v", empty)
			}
			s, err = local.Open(t.Context(), dir, opts)
			must(t, err)
			got, err := content(bucket(t, s, "b"), f.ID)
			must(t, errors.Join(err, s.Close()))
			if !bytes.Equal(got, []byte("bytes")) {
				t.Errorf("read %q", got)
			}
			if kept, _ := filepath.Glob(filepath.Join(cache, "shelf", "*", "*")); c.owned && len(kept) == 0 {
				t.Error("nothing that was read is in the cache")
			}
			if _, err := local.Open(t.Context(), t.TempDir(), opts); errors.Is(err, backend.ErrOwned) != c.owned || err == nil {
				t.Errorf("another directory: %v", err)
			}
			// Its packs are gone: the message names the driver's place.
			opts.Backends["shelf"] = local.Backend{Driver: ownDriver{membackend.New(nil)}}
			if _, err := local.Open(t.Context(), dir, opts); !errors.Is(err, local.ErrNoBackend) || !strings.Contains(err.Error(), "its shelf") {
				t.Errorf("an empty backend: %v", err)
			}
		})
	}
	opts := &local.Options{Backends: map[string]local.Backend{"near": {Driver: ownDriver{near}}, "far": {Driver: ownDriver{far}}, "dir": {}}}
	for name, want := range map[string]error{"near": local.ErrNotRemote, "dir": local.ErrNotRemote, "far": nil} {
		if _, err := local.Probe(t.Context(), opts, name, false); !errors.Is(err, want) {
			t.Errorf("probe %s: %v, want %v", name, err, want)
		}
	}
	if err := local.ProbeAll(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "reach: too high") {
		t.Errorf("probe of all: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := local.Sweep(ctx, opts); err != nil || len(far.swept) != 1 {
		t.Errorf("swept %v: %v", far.swept, err)
	}
}

// The zero Backend is the store's own directory, which no two can be.
func TestZeroBackend(t *testing.T) {
	dir := t.TempDir()
	opts := &local.Options{Backends: map[string]local.Backend{"own": {}}, Buckets: map[string]buckets.Policy{"b": {Domain: "own"}}}
	s, err := local.Open(t.Context(), dir, opts)
	must(t, err)
	_, err = bucket(t, s, "b").Put(t.Context(), "a", strings.NewReader("bytes"), nil)
	must(t, errors.Join(err, s.Close()))
	if packs, _ := filepath.Glob(filepath.Join(dir, "packs", "*")); len(packs) == 0 {
		t.Error("no packs in the store's own directory")
	}
	opts.Backends["again"] = local.Backend{}
	if _, err := local.Open(t.Context(), dir, opts); err == nil || !strings.Contains(err.Error(), `"again" and "own" both have no path`) {
		t.Errorf("two backends in one directory: %v", err)
	}
}

// A configuration may name what a program does not link.
func TestNoDriver(t *testing.T) {
	far := &schema.S3{Bucket: "b", Prefix: "p", SingleWriter: true}
	cfg := &schema.Config{Storage: schema.Storage{Backends: map[string]*schema.Backend{"r2": {Type: "s3", S3: far, PackSize: 8 << 20}}}}
	_, err := local.Configure(cfg, nil, nil)
	for _, want := range []string{`backend "r2"`, "type s3", "buckets/s3config"} {
		if !errors.Is(err, local.ErrNoDriver) || !strings.Contains(err.Error(), want) {
			t.Errorf("without a driver: %v, want %q in it", err, want)
		}
	}
	opts, err := local.Configure(cfg, nil, &local.Drivers{S3: s3config.Driver})
	must(t, err)
	if b := opts.Backends["r2"]; b.Driver.Place() != `its bucket "b" or prefix "p"` || b.PackSize != 8<<20 {
		t.Errorf("with a driver: %+v", b)
	}
	cfg.Storage.Backends["r2"].S3 = nil
	if _, err := local.Configure(cfg, nil, &local.Drivers{S3: s3config.Driver}); err == nil || !strings.Contains(err.Error(), "names no bucket") {
		t.Errorf("without a bucket: %v", err)
	}
}
