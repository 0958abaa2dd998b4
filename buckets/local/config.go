package local

import (
	"fmt"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/schema"
)

// Configure returns Options of the backends of cfg and the buckets of sc.
// Either may be nil: without cfg there is the backend "local", without sc the
// bucket "demo" in the only backend.
func Configure(cfg *schema.Config, sc *schema.Schema) (*Options, error) {
	opts := &Options{Backends: make(map[string]string)}
	if cfg == nil {
		cfg = &schema.Config{}
	}
	for name, b := range cfg.Storage.Backends {
		if b.Filesystem != nil {
			opts.Backends[name] = b.Filesystem.Path
		}
	}
	if sc == nil {
		return opts, opts.demoIn(slices.Sorted(maps.Keys(opts.Backends)))
	}
	for name, b := range sc.Buckets {
		if be := cfg.Storage.Backends[b.Backend]; be != nil && be.Filesystem == nil {
			return nil, fmt.Errorf("bucket %q: backend %q is of type %s, which this version cannot use yet; use type filesystem", name, b.Backend, be.Type)
		}
	}
	var err error
	opts.Buckets, err = buckets.Policies(sc)
	return opts, err
}

// demoIn puts the bucket "demo" into the only backend, if that is not the
// usual one.
func (o *Options) demoIn(backends []string) error {
	switch len(backends) {
	case 0:
		return nil
	case 1:
		o.Buckets = map[string]buckets.Policy{"demo": demo(backends[0])}
		return nil
	}
	return fmt.Errorf("there are %d backends and no schema that says which bucket is where", len(backends))
}
