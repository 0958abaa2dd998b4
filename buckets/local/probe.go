package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/cairn-store/cairn/backend/owner"
	"github.com/cairn-store/cairn/backend/s3backend"
)

// ErrNotS3 reports a backend that cannot be probed.
var ErrNotS3 = errors.New("backend is not of type s3")

// Probe tests whether the service of a backend in S3 has the properties that
// Cairn relies on; thorough tests more and takes longer. An unknown name is
// fs.ErrNotExist.
func Probe(ctx context.Context, opts *Options, name string, thorough bool) ([]s3backend.Finding, error) {
	where, ok := opts.Backends[name]
	if !ok {
		return nil, fmt.Errorf("backend %q: %w", name, fs.ErrNotExist)
	}
	if where.S3 == nil {
		return nil, fmt.Errorf("backend %q: %w", name, ErrNotS3)
	}
	b, err := where.openS3(ctx)
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", name, err)
	}
	found, err := b.Probe(ctx, thorough)
	for i := range found {
		if f := &found[i]; f.Name == s3backend.ConditionalPut && !f.OK && !where.SingleWriter {
			f.Needed, f.Detail = true, fmt.Sprintf("%s: %v", f.Detail, owner.ErrNotExclusive)
		}
	}
	if err == nil && thorough && s3backend.Refuse(found) == nil {
		found = append(found, findOwner(ctx, b))
	}
	return found, err
}

// findOwner tells whose the packs are: serve refuses another's.
func findOwner(ctx context.Context, b *s3backend.Backend) s3backend.Finding {
	f := s3backend.Finding{Name: "owner", OK: true, Needed: true, Detail: "none yet"}
	switch c, err := owner.Current(ctx, b); {
	case err != nil:
		f.OK, f.Detail = false, err.Error()
	case c != nil:
		f.Detail = fmt.Sprintf("%s; a server on another data directory is refused without --take-ownership", c)
	}
	return f
}

// ProbeAll probes all backends in S3, not thoroughly. Its error names the
// property that Cairn needs and a service lacks; what Cairn can do without is
// logged.
func ProbeAll(ctx context.Context, opts *Options) error {
	for _, name := range slices.Sorted(maps.Keys(opts.Backends)) {
		found, err := Probe(ctx, opts, name, false)
		if errors.Is(err, ErrNotS3) {
			continue
		}
		if err == nil {
			err = s3backend.Refuse(found)
		}
		if err != nil {
			return fmt.Errorf("backend %q: %w", name, err)
		}
		for _, f := range found {
			if !f.OK && opts.Log != nil {
				opts.Log.Warn("the service of a backend lacks something", "backend", name, "what", f.Name, "detail", f.Detail)
			}
		}
	}
	return nil
}

const (
	sweepEvery = 24 * time.Hour
	// sweepAge is the age at which an upload in parts is taken away: none that is
	// under way takes as long.
	sweepAge = 24 * time.Hour
)

// Sweep removes the uploads in parts that crashes have left in backends in S3,
// now and once a day until ctx is done. Errors are logged, and the next sweep
// tries again.
func Sweep(ctx context.Context, opts *Options) error {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for {
		for name, where := range opts.Backends {
			if where.S3 == nil {
				continue
			}
			b, err := where.openS3(ctx)
			n := 0
			if err == nil {
				n, err = b.Sweep(ctx, time.Now().Add(-sweepAge))
			}
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				log.Warn("multipart uploads that never ended cannot be swept", "backend", name, "error", err)
			} else if n > 0 {
				log.Info("swept multipart uploads that never ended", "backend", name, "uploads", n)
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(sweepEvery):
		}
	}
}
