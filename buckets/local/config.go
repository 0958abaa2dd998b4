package local

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
)

// ErrNoDriver reports a configured backend of a kind that the program does not link.
var ErrNoDriver = errors.New("this program links no driver of S3: import github.com/cairn-store/cairn/buckets/s3config and pass its Driver")

// Drivers make drivers of what a configuration says of backends that are not
// directories. A field that is nil is a kind that the program does not link: nil
// Drivers link none.
type Drivers struct {
	S3 func(*schema.S3) backend.Driver // s3config.Driver
}

// Configure returns Options with the backends of cfg and the buckets of sc.
// Either may be nil: without cfg the only backend is "local", without sc the only
// bucket is "demo" in the only backend. A backend for which d has no driver is
// ErrNoDriver.
func Configure(cfg *schema.Config, sc *schema.Schema, d *Drivers) (*Options, error) {
	if cfg == nil {
		cfg = &schema.Config{}
	}
	opts, err := ConfigureBackends(cfg, d)
	if err != nil {
		return nil, err
	}
	if sc == nil {
		return opts, opts.placeDemo(slices.Sorted(maps.Keys(opts.Backends)))
	}
	opts.Buckets, err = buckets.Policies(sc)
	return opts, err
}

// ConfigureBackends returns Options with what cfg says of storage alone.
func ConfigureBackends(cfg *schema.Config, d *Drivers) (*Options, error) {
	if d == nil {
		d = &Drivers{}
	}
	opts := &Options{Backends: make(map[string]Backend)}
	for name, b := range cfg.Storage.Backends {
		if b == nil {
			b = &schema.Backend{}
		}
		var err error
		if opts.Backends[name], err = d.newBackend(b); err != nil {
			return nil, fmt.Errorf("backend %q is of type %s: %w", name, b.Type, err)
		}
	}
	if c := cfg.Storage.Collection; c != nil {
		opts.Collection = buckets.Collection{Off: c.Interval == schema.Off, Interval: c.Interval.Or(0), Rate: int64(c.Rate), MaxWait: c.MaxWait.Or(0)}
	}
	if c := cfg.Storage.Scrub; c != nil {
		opts.Scrubbing = buckets.Scrubbing{Off: c.Interval == schema.Off, Interval: c.Interval.Or(0), MaxAge: c.MaxAge.Or(0), Rate: int64(c.Rate)}
	}
	return opts, nil
}

func (d *Drivers) newBackend(b *schema.Backend) (Backend, error) {
	out := Backend{PackSize: int64(b.PackSize), MaxSize: int64(b.MaxSize)}
	if b.Filesystem != nil {
		out.Path = b.Filesystem.Path
	}
	if s := b.S3; s != nil || b.Type == "s3" {
		if s == nil || s.Bucket == "" {
			return out, errors.New("it names no bucket")
		}
		if d.S3 == nil {
			return out, ErrNoDriver
		}
		out.CacheDir, out.CacheSize = s.CacheDir, int64(s.CacheSize)
		out.Driver = d.S3(s)
	}
	return out, nil
}

// placeDemo puts the bucket "demo" into the only backend. Without any backend
// it lies in the usual one.
func (o *Options) placeDemo(backends []string) error {
	switch len(backends) {
	case 0:
		return nil
	case 1:
		o.Buckets = map[string]buckets.Policy{"demo": demoPolicy(backends[0])}
		return nil
	}
	return fmt.Errorf("there are %d backends and no schema that says which bucket is where", len(backends))
}
