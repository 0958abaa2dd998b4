// Package local opens a store that lives in one directory of this machine:
// packs in DIR/packs, metadata in DIR/meta.
package local

import (
	"context"
	"log/slog"

	"github.com/cairn-store/cairn/buckets"
)

// Options are choices of Open; nil and zero values mean the defaults.
type Options struct {
	Log *slog.Logger // nil discards
}

// Open opens the store in dir, making it if there is none. A second process
// on one dir is refused with ErrLocked; packs without their metadata
// database with ErrNoMetadata.
func Open(ctx context.Context, dir string, opts *Options) (*buckets.Store, error) {
	panic("unwritten")
}
