package check

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/manifest"
)

// Served is Check of a store that is in use, without Repair. While another one of
// the same store is under way in this process, it waits for its end.
func Served(ctx context.Context, s *buckets.Store, opts *Options) (r *Report, err error) {
	var o Options
	if opts != nil {
		o = *opts
	}
	o.Repair, o.served = false, true
	if o.Progress != nil {
		o.Progress(Progress{Phase: "waiting"})
	}
	err = s.Stored(ctx, internal.Pass{}, func(in *buckets.Stored) (err error) {
		c := &Store{Meta: in.Meta, Log: in.Log}
		for _, name := range slices.Sorted(maps.Keys(in.Chunks)) {
			c.Domains = append(c.Domains, &Domain{Name: name, Chunks: in.Chunks[name]})
		}
		if r, err = c.Check(ctx, &o); errors.Is(err, manifest.ErrDamaged) {
			return nil // the report says so
		}
		return err
	})
	return r, err
}
