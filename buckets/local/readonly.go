package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A store is opened for reading only if this process may not write to one of its
// directories. Nothing in them changes then: neither what a process that died has
// left, nor the file of a lock.

// leaveUnwritable returns the options with which the store in dir is opened, and why
// it is for reading only, nil if it is not.
func leaveUnwritable(dir string, opts *Options) (*Options, error) {
	o := Options{}
	if opts != nil {
		o = *opts
	}
	if o.MetaFS != nil || o.DiskFS != nil {
		return &o, nil
	}
	err := o.findUnwritable(dir)
	if err == nil {
		return &o, nil
	}
	err = fmt.Errorf("this process may not write to %w", err)
	o.readOnly = true
	if o.ReadOnly == nil {
		o.ReadOnly = err
	}
	return &o, err
}

// findUnwritable returns the error of the first directory of the store in dir that this
// process may not write to. Those that are not there are not its concern.
func (o *Options) findUnwritable(dir string) error {
	all := []string{dir, metaDir(dir), filepath.Join(dir, "packs"), filepath.Join(dir, "journal")}
	for _, b := range o.Backends {
		if b.Driver == nil && b.FS == nil && b.Path != "" {
			all = append(all, b.Path, filepath.Join(b.Path, "packs"))
		}
	}
	for _, name := range all {
		if err := checkWritable(name); pebblestore.IsUnwritable(err) {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

// withoutJournal returns policies that ask for no journal: nothing is written that it
// would keep.
func withoutJournal(policies map[string]buckets.Policy) map[string]buckets.Policy {
	out := maps.Clone(policies)
	for name, p := range out {
		p.Acknowledge = ""
		out[name] = p
	}
	return out
}

// refuseRepair is why a store is not repaired that is opened for reading only.
func refuseRepair(reason error) error {
	return fmt.Errorf("%w: %w; check without --repair reads it", buckets.ErrReadOnly, reason)
}

// A readBackend is a backend that refuses all changes.
type readBackend struct{ backend.Backend }

var (
	_ backend.Streamer = readBackend{}

	errReadBackend = fmt.Errorf("the store is open for reading only: %w", fs.ErrPermission)
)

func (readBackend) Create(context.Context, string) (backend.Writer, error) {
	return nil, errReadBackend
}

func (readBackend) Append(context.Context, string) (backend.Writer, int64, error) {
	return nil, 0, errReadBackend
}

func (readBackend) Delete(context.Context, string) error { return errReadBackend }

func (b readBackend) NewReader(ctx context.Context, key string, off, n int64) io.ReadCloser {
	return backend.NewReader(ctx, b.Backend, key, off, n)
}

// isUnwritten reports whether err is that of an identity that a store for reading only
// lacks, since nothing was ever written under it.
func isUnwritten(err error) bool { return errors.Is(err, pebblestore.ErrReadOnly) }
