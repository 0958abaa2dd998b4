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

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/owner"
)

// ErrNotRemote reports a backend that cannot be probed.
var ErrNotRemote = errors.New("it is a directory, and has no service that could be probed")

// Probe tests whether the service of a remote backend has the properties that
// Cairn relies on; thorough tests more and takes longer. An unknown name is
// fs.ErrNotExist.
func Probe(ctx context.Context, opts *Options, name string, thorough bool) ([]backend.Finding, error) {
	where, ok := opts.Backends[name]
	if !ok {
		return nil, fmt.Errorf("backend %q: %w", name, fs.ErrNotExist)
	}
	b, err := where.openRemote(ctx)
	if err == nil && b == nil {
		err = ErrNotRemote
	}
	if err != nil {
		return nil, fmt.Errorf("backend %q: %w", name, err)
	}
	found, err := b.Probe(ctx, thorough)
	for i := range found {
		if f := &found[i]; f.Name == backend.ConditionalPut && !f.OK && !b.SingleWriter() {
			f.Needed, f.Detail = true, fmt.Sprintf("%s: %v", f.Detail, owner.ErrNotExclusive)
		}
	}
	if err == nil && thorough && backend.Refuse(found) == nil {
		found = append(found, findOwner(ctx, b))
	}
	return found, err
}

// openRemote opens the backend if it is remote; of others it returns nil.
func (b *Backend) openRemote(ctx context.Context) (backend.Remote, error) {
	if b.Driver == nil {
		return nil, nil
	}
	packs, err := b.Driver.Open(ctx)
	remote, _ := packs.(backend.Remote)
	return remote, err
}

// findOwner tells whose the packs are: serve refuses another's.
func findOwner(ctx context.Context, b backend.Backend) backend.Finding {
	f := backend.Finding{Name: "owner", OK: true, Needed: true, Detail: "none yet"}
	switch c, err := owner.Current(ctx, b); {
	case err != nil:
		f.OK, f.Detail = false, err.Error()
	case c != nil:
		f.Detail = fmt.Sprintf("%s; a server on another data directory is refused without --take-ownership", c)
	}
	return f
}

// ProbeAll probes all remote backends, not thoroughly. Its error names the
// property that Cairn needs and a service lacks; what Cairn can do without is
// logged.
func ProbeAll(ctx context.Context, opts *Options) error {
	for _, name := range slices.Sorted(maps.Keys(opts.Backends)) {
		found, err := Probe(ctx, opts, name, false)
		if errors.Is(err, ErrNotRemote) {
			continue
		}
		if err == nil {
			err = backend.Refuse(found)
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

// Sweep removes the uploads in parts that crashes have left in remote backends,
// now and once a day until ctx is done. Errors are logged, and the next sweep
// tries again.
func Sweep(ctx context.Context, opts *Options) error {
	log := opts.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	for {
		for name, where := range opts.Backends {
			b, err := where.openRemote(ctx)
			if err == nil && b == nil {
				continue
			}
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
