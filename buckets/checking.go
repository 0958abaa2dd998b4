package buckets

import (
	"context"
	"log/slog"

	"github.com/cairn-store/cairn/buckets/internal"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Stored is what a store keeps, as seen by a package that verifies it. It is to be
// read only.
type Stored struct {
	Meta   manifest.Store
	Chunks map[string]*cas.Store // by domain
	Log    *slog.Logger
}

// Stored calls fn with what the store keeps, without checks of access, for packages
// below this one. It waits while another call is under way: what goes through all
// that is stored takes memory and disk.
func (s *Store) Stored(ctx context.Context, _ internal.Pass, fn func(*Stored) error) (err error) {
	ctx, end := s.untilClosed(ctx)
	defer end(&err)
	select {
	case s.reading <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-s.reading }()
	return fn(&Stored{s.meta, s.chunks, s.log})
}
