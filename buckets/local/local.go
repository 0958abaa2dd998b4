// Package local opens a store that lives in one directory of this machine:
// packs in DIR/packs, metadata in DIR/meta.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// Options are choices of Open and Check; nil and zero values mean the
// defaults.
type Options struct {
	// Buckets are the buckets there are; by default "demo", which keeps a
	// sha256 of every file.
	Buckets  map[string]buckets.Policy
	Auth     buckets.Authorizer // decides in place of the buckets' rules
	PackSize int64              // bytes at which packs are sealed
	Log      *slog.Logger       // nil discards

	// DiskFS and MetaFS replace the operating system's files, for tests.
	DiskFS diskbackend.FS
	MetaFS pebblestore.FS
}

var (
	// ErrLocked reports that another process has the directory open.
	ErrLocked = errors.New("directory is in use by another process")
	// ErrNoMetadata reports packs without the database that describes them.
	ErrNoMetadata = errors.New("metadata database is missing; run check --repair to rebuild it from the packs")
)

// domain is the one domain of a local store.
const domain = "local"

// Open opens the store in dir, making it if there is none. A second process
// on one dir is refused with ErrLocked; packs without their metadata
// database with ErrNoMetadata.
func Open(ctx context.Context, dir string, opts *Options) (*buckets.Store, error) {
	s, err := open(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	policies := s.opts.Buckets
	if policies == nil {
		policies = map[string]buckets.Policy{"demo": {Domain: domain, Codec: cas.Zstd, Digests: []string{"sha256"}}}
	}
	store, err := buckets.New(ctx, s.meta, map[string]*cas.Store{domain: s.chunks}, policies,
		&buckets.Options{Auth: s.opts.Auth, Log: s.opts.Log, Closers: []io.Closer{s.meta}})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return store, nil
}

// parts are what a store in a directory consists of.
type parts struct {
	opts   Options
	disk   backend.Backend
	meta   *pebblestore.DB
	chunks *cas.Store
}

func open(ctx context.Context, dir string, opts *Options) (*parts, error) {
	s := &parts{}
	if opts != nil {
		s.opts = *opts
	}
	var err error
	if s.disk, err = openDisk(dir, &s.opts); err != nil {
		return nil, err
	}
	empty, err := isEmpty(ctx, s.disk)
	if err != nil {
		return nil, err
	}
	if err := s.openMeta(ctx, metaDir(dir), !empty); err != nil {
		return nil, err
	}
	return s, nil
}

func metaDir(dir string) string { return filepath.Join(dir, "meta") }

func openDisk(dir string, opts *Options) (backend.Backend, error) {
	if opts.DiskFS == nil {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, err
		}
	}
	return diskbackend.Open(dir, &diskbackend.Options{FS: opts.DiskFS})
}

// isEmpty reports whether there is no pack.
func isEmpty(ctx context.Context, b backend.Backend) (bool, error) {
	for info, err := range b.List(ctx, "packs/") {
		if err != nil {
			return false, err
		}
		if _, ok := cas.ParsePackKey(info.Key); ok {
			return false, nil
		}
	}
	return true, nil
}

func (s *parts) openMeta(ctx context.Context, dir string, mustExist bool) error {
	var err error
	s.meta, err = pebblestore.Open(dir, &pebblestore.Options{FS: s.opts.MetaFS, MustExist: mustExist, Log: s.opts.Log})
	switch {
	case errors.Is(err, pebblestore.ErrLocked):
		return fmt.Errorf("%s: %w", filepath.Dir(dir), ErrLocked)
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%s: %w", filepath.Dir(dir), ErrNoMetadata)
	case err != nil:
		return err
	}
	s.chunks, err = cas.Open(ctx, s.disk, s.meta.Index(domain), &cas.Options{PackSize: s.opts.PackSize, Log: s.opts.Log})
	if err != nil {
		return errors.Join(err, s.meta.Close())
	}
	return nil
}

func (s *parts) close() error { return errors.Join(s.chunks.Close(), s.meta.Close()) }
