package local

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
)

// Configure returns Options with the backends of cfg and the buckets of sc.
// Either may be nil: without cfg the only backend is "local", without sc the only
// bucket is "demo" in the only backend.
func Configure(cfg *schema.Config, sc *schema.Schema) (*Options, error) {
	if cfg == nil {
		cfg = &schema.Config{}
	}
	opts := ConfigureBackends(cfg)
	if sc == nil {
		return opts, opts.placeDemo(slices.Sorted(maps.Keys(opts.Backends)))
	}
	var err error
	opts.Buckets, err = buckets.Policies(sc)
	return opts, err
}

// ConfigureBackends returns Options with what cfg says of storage alone.
func ConfigureBackends(cfg *schema.Config) *Options {
	opts := &Options{Backends: make(map[string]Backend)}
	for name, b := range cfg.Storage.Backends {
		opts.Backends[name] = newBackend(b)
	}
	if c := cfg.Storage.Collection; c != nil {
		opts.Collection = buckets.Collection{Off: c.Interval == 0, Interval: time.Duration(c.Interval), Rate: int64(c.Rate), MaxWait: time.Duration(c.MaxWait)}
	}
	if c := cfg.Storage.Scrub; c != nil {
		opts.Scrubbing = buckets.Scrubbing{Off: c.Interval == 0, Interval: time.Duration(c.Interval), MaxAge: time.Duration(c.MaxAge), Rate: int64(c.Rate)}
	}
	return opts
}

func newBackend(b *schema.Backend) Backend {
	out := Backend{PackSize: int64(b.PackSize), MaxSize: int64(b.MaxSize)}
	if b.Filesystem != nil {
		out.Path = b.Filesystem.Path
	}
	if s := b.S3; s != nil {
		out.CacheDir, out.CacheSize = s.CacheDir, int64(s.CacheSize)
		out.SingleWriter = s.SingleWriter
		out.S3 = &s3backend.Options{Bucket: s.Bucket, Prefix: s.Prefix, Endpoint: s.Endpoint, Region: s.Region, PathStyle: s.ForcePathStyle,
			AccessKeyID: s.AccessKeyID, SecretAccessKey: s.SecretAccessKey, SessionToken: s.SessionToken,
			StorageClass: s.StorageClass, SSE: s.SSE, KMSKeyID: s.KMSKeyID, Checksums: s.Checksums, ReadBack: s.ReadBack}
	}
	return out
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
