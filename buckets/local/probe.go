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

	"github.com/cairn-store/cairn/backend/s3backend"
)

// ErrNotS3 reports a backend that there is nothing to probe of.
var ErrNotS3 = errors.New("backend is not of type s3")

// Probe tries whether the service of a backend in S3 keeps what Cairn relies
// on; thorough takes longer. An unknown name is fs.ErrNotExist.
func Probe(ctx context.Context, opts *Options, name string, thorough bool) ([]s3backend.Finding, error) {
	where, ok := opts.Backends[name]
	if !ok {
		return nil, fmt.Errorf("backend %q: %w", name, fs.ErrNotExist)
	}
	if where.S3 == nil {
		return nil, fmt.Errorf("backend %q: %w", name, ErrNotS3)
	}
	b, err := s3backend.Open(ctx, where.S3)
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", name, err)
	}
	return b.Probe(ctx, thorough)
}

// ProbeAll probes all backends in S3, not thoroughly. Its error names what is
// needed and was not found; what is merely missed is logged.
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
	sweepAge   = 24 * time.Hour // of an upload in parts that nobody goes on with: none takes as long
)

// Sweep takes away what crashes have left in backends in S3, now and once a
// day until ctx is done. What goes wrong is logged and tried again.
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
			b, err := s3backend.Open(ctx, where.S3)
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
