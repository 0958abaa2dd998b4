// Package local opens a store of this machine: metadata in DIR/meta, packs in
// DIR/packs or in the backends that Options name, directories or buckets of S3.
package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/backend/owner"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/diskcache"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// Options are choices of Open and Check; nil and zero values mean the
// defaults.
type Options struct {
	// Buckets are the buckets there are; by default "demo", which keeps a
	// sha256 of every file.
	Buckets  map[string]buckets.Policy
	Auth     buckets.Authorizer // decides in place of the buckets' rules
	PackSize int64              // bytes at which packs are sealed, where a Backend says nothing

	// Backends are where packs lie, by name: a policy's Domain is one of
	// these names. By default there is one, "local", which is the store's
	// own directory.
	Backends map[string]Backend

	// TakeOwnership takes backends in S3 from the store that has written to
	// them so far, which takes no more changes from then on.
	TakeOwnership bool

	// ReadOnly, if set, makes the store refuse every change with this reason.
	ReadOnly error

	Now func() time.Time // the machine's clock; nil is time.Now

	// Failed, if not nil, is called when the metadata database begins to
	// refuse all changes because a write may not have reached the disk. Reads
	// go on; only opening the store anew makes it take changes again. It must
	// not block.
	Failed func(error)

	Log *slog.Logger // nil discards

	// DiskFS and MetaFS replace the operating system's files, for tests.
	DiskFS diskbackend.FS
	MetaFS pebblestore.FS

	// openMeta opens another database than the one in dir, for tests.
	openMeta func(ctx context.Context, dir string, mustExist bool) (Database, error)
}

// A Database keeps the metadata of a store.
type Database interface {
	manifest.Store
	Index(domain string) cas.Index
	// Domains returns the names of the domains that packs are known of.
	Domains() ([]string, error)
	Close() error
}

var (
	// ErrLocked reports that another process has the directory open.
	ErrLocked = errors.New("directory is in use by another process")
	// ErrNoMetadata reports packs without the database that describes them.
	ErrNoMetadata = errors.New("metadata database is missing; run check --repair to rebuild it from the packs")
	// ErrNoBackend reports that packs which the database describes are not
	// where they are said to be.
	ErrNoBackend = errors.New("the packs that the metadata describes are not there")
)

// defaultDomain is that of a store whose options name no backends.
const defaultDomain = "local"

// Open opens the store in dir, making it if there is none. A second process
// on one dir is refused with ErrLocked; packs without their metadata
// database with ErrNoMetadata; packs in S3 that another directory's store
// writes, with backend.ErrOwned; a backend with packs of another, with
// ErrForeign. A store whose database is older than its packs refuses changes
// with ErrStaleMetadata and can be read.
func Open(ctx context.Context, dir string, opts *Options) (*buckets.Store, error) {
	s, err := open(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	if err := s.foreign(ctx); err != nil {
		return nil, errors.Join(err, s.close())
	}
	readOnly := s.opts.ReadOnly
	if s.stale != nil {
		readOnly = s.stale
	}
	policies := s.opts.Buckets
	if policies == nil {
		policies = map[string]buckets.Policy{"demo": demo(defaultDomain)}
	}
	chunks := make(map[string]*cas.Store)
	closers := []io.Closer{s.meta}
	for _, d := range s.domains {
		chunks[d.name] = d.chunks
		if d.cache != nil {
			closers = append(closers, d.cache)
		}
	}
	store, err := buckets.New(ctx, s.meta, chunks, policies,
		&buckets.Options{Auth: s.opts.Auth, Log: s.opts.Log, ReadOnly: readOnly, Now: s.opts.Now, Closers: closers})
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return store, nil
}

// demo is the policy of the bucket that is there without a schema: operators
// use it.
func demo(domain string) buckets.Policy {
	return buckets.Policy{Domain: domain, Compression: cas.Compression{Codec: cas.Zstd}, Digests: []string{"sha256"},
		Limits: buckets.Limits{MaxFileSize: 1 << 40}, Pieces: buckets.Pieces{MaxAppend: 10 << 20, MinAppend: 1}}
}

// parts are what a store consists of.
type parts struct {
	opts    Options
	dir     string
	meta    Database
	domains []*domain // in order of names
	stale   error     // why changes are refused, if the database is older than the packs
}

// A domain is a backend and the chunks in it.
type domain struct {
	name    string
	where   Backend
	packs   backend.Backend
	empty   bool         // without packs, when it was looked at
	claim   *owner.Claim // that held then; only of S3
	journal bool         // packs are sent behind
	chunks  *cas.Store
	cache   *diskcache.Cache // nil without one

	survey *cas.Survey // of the moment when the store was opened
	last   uint64      // the highest commit that packs held then
	lastIn cas.PackID  // and which
}

func open(ctx context.Context, dir string, opts *Options) (*parts, error) {
	s, err := openBackends(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	empty := true
	for _, d := range s.domains {
		if d.empty && d.journal {
			unsent, err := s.hasUnsent(d)
			if err != nil {
				return nil, fmt.Errorf("backend %q: %w", d.name, err)
			}
			d.empty = !unsent
		}
		empty = empty && d.empty
	}
	if err := s.openMeta(ctx, metaDir(dir), !empty); err != nil {
		return nil, err
	}
	err = s.allThere()
	if err == nil {
		err = s.survey(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func metaDir(dir string) string { return filepath.Join(dir, "meta") }

// openMeta opens the database in dir and the chunk stores over it.
func (s *parts) openMeta(ctx context.Context, dir string, mustExist bool) error {
	var err error
	s.meta, err = pebblestore.Open(dir, &pebblestore.Options{FS: s.opts.MetaFS, MustExist: mustExist, Log: s.opts.Log, Failed: s.opts.Failed})
	switch {
	case errors.Is(err, pebblestore.ErrLocked):
		return fmt.Errorf("%s: %w", s.dir, ErrLocked)
	case errors.Is(err, fs.ErrNotExist):
		if err := s.refuse(""); err != nil {
			return err
		}
		return fmt.Errorf("%s: %w", s.dir, ErrNoMetadata)
	case err != nil:
		return err
	}
	if err := s.own(ctx); err != nil {
		return errors.Join(err, s.close())
	}
	for _, d := range s.domains {
		if err = s.openChunks(ctx, d, s.meta.Index(d.name)); err != nil {
			return errors.Join(fmt.Errorf("backend %q: %w", d.name, err), s.close())
		}
	}
	return nil
}

// allThere refuses to work where packs are missing as a whole: some backend
// is not named, or names an empty directory. Whatever was stored then would
// be stored in the wrong place.
func (s *parts) allThere() error {
	known, err := s.meta.Domains()
	if err != nil {
		return err
	}
	for _, name := range known {
		i := slices.IndexFunc(s.domains, func(d *domain) bool { return d.name == name })
		if i < 0 {
			return fmt.Errorf("%s: packs of backend %q: %w; name the backend in --config", s.dir, name, ErrNoBackend)
		}
		if d := s.domains[i]; d.empty {
			return fmt.Errorf("%s: backend %q is empty: %w; correct %s in --config", s.dir, name, ErrNoBackend, d.where.place())
		}
	}
	return nil
}

func (s *parts) close() error {
	var errs []error
	for _, d := range s.domains {
		if d.chunks != nil {
			errs = append(errs, d.chunks.Close())
		}
		if d.cache != nil {
			errs = append(errs, d.cache.Close())
		}
	}
	return errors.Join(append(errs, s.meta.Close())...)
}
