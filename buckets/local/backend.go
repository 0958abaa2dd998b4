package local

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/backend/owner"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/diskcache"
)

// A Backend says where packs lie: in what Driver opens, or else in the directory
// Path. Of the zero Backend it is the store's own directory.
type Backend struct {
	Path     string
	Driver   backend.Driver // such as an s3backend.Driver
	PackSize int64          // bytes at which a pack is sealed; default 64 MiB, of a backend.Remote 32 MiB
	MaxSize  int64          // bytes of packs beyond which no new content is taken; 0 is no bound

	// CacheDir, if set, is where what was last read from the backend is kept, in a
	// directory of the backend's name, up to CacheSize bytes; 0 is 10 GiB.
	CacheDir  string
	CacheSize int64

	// Sealer, if not nil, encrypts what is written to the packs, by frames, and opens what
	// was encrypted before. The metadata database is not encrypted.
	Sealer cas.Sealer

	FS diskbackend.FS // replaces the operating system's files of Path, for tests
}

const defaultCache = 10 << 30 // bytes

// describePlace names the option that says where the packs lie.
func (b *Backend) describePlace() string {
	if b.Driver != nil {
		return b.Driver.Place()
	}
	return fmt.Sprintf("its path %q, or mount it,", b.Path)
}

// openDriver opens the driver of the backend.
func (b *Backend) openDriver(ctx context.Context, opts *Options) (backend.Backend, error) {
	if b.Driver != nil {
		return b.Driver.Open(ctx)
	}
	fs := b.FS
	if fs == nil {
		fs = opts.DiskFS
	}
	return diskbackend.Open(b.Path, &diskbackend.Options{FS: fs, ReadOnly: opts.readOnly, Only: "packs"})
}

// openChunks opens the chunk store of d over the index ix.
func (s *parts) openChunks(ctx context.Context, d *domain, ix cas.Index) (err error) {
	opts := &cas.Options{PackSize: cmp.Or(d.where.PackSize, s.opts.PackSize), MaxBytes: d.where.MaxSize, Exclusive: !s.scratch && !s.opts.readOnly, Remote: d.remote != nil, Sealer: d.where.Sealer, Log: s.opts.Log}
	if opts.Store, err = s.meta.StoreID(ctx); err != nil {
		return err
	}
	if opts.Domain, err = s.meta.DomainID(ctx, d.name); err != nil && !(d.empty && isUnwritten(err)) {
		return err
	}
	if d.where.CacheDir != "" && !s.opts.readOnly {
		if d.cache, err = diskcache.Open(filepath.Join(d.where.CacheDir, d.name), cmp.Or(d.where.CacheSize, defaultCache), s.opts.Log); err != nil {
			return err
		}
		opts.Cache = d.cache
	}
	if d.journal {
		if err := s.openJournal(d); err != nil {
			return err
		}
	}
	if s.opts.readOnly {
		d.packs = readBackend{d.packs}
	}
	d.chunks, err = cas.Open(ctx, d.packs, ix, opts)
	return err
}

// openBackends opens the drivers of all backends, not the database.
func openBackends(ctx context.Context, dir string, opts *Options) (*parts, error) {
	s := &parts{dir: dir}
	if opts != nil {
		s.opts = *opts
	}
	all := s.opts.Backends
	if len(all) == 0 {
		all = map[string]Backend{defaultDomain: {Path: dir}}
	}
	if len(all) == 1 { // a policy that names no backend means the only one
		s.opts.Buckets = maps.Clone(s.opts.Buckets)
		for name, p := range s.opts.Buckets {
			for only := range all {
				p.Domain = cmp.Or(p.Domain, only)
			}
			s.opts.Buckets[name] = p
		}
	}
	home := "" // the backend that is the store's own directory
	for _, name := range slices.Sorted(maps.Keys(all)) {
		where := all[name]
		if where.Driver == nil && where.FS == nil && where.Path == "" {
			if home != "" {
				return nil, fmt.Errorf("backends %q and %q both have no path: give each one of its own", home, name)
			}
			home, where.Path = name, dir
		}
		packs, err := where.openDriver(ctx, &s.opts)
		if err != nil {
			return nil, fmt.Errorf("backend %q: %w", name, err)
		}
		d := &domain{name: name, where: where, packs: packs}
		d.remote, _ = packs.(backend.Remote)
		if d.journal, err = s.needsJournal(d); err != nil {
			return nil, fmt.Errorf("backend %q: %w", name, err)
		}
		s.domains = append(s.domains, d)
	}
	return s, s.inspectBackends(ctx)
}

// inspectBackends finds out which backends hold packs, and which store owns
// them, side by side: some are far away.
func (s *parts) inspectBackends(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, d := range s.domains {
		g.Go(func() (err error) {
			if d.empty, err = hasNoPacks(ctx, d.packs); err != nil {
				err = fmt.Errorf("backend %q: %w", d.name, err)
			}
			return err
		})
		if d.remote == nil {
			continue
		}
		g.Go(func() (err error) {
			if d.claim, err = owner.Current(ctx, d.packs); err != nil {
				err = fmt.Errorf("backend %q: %w", d.name, err)
			}
			return err
		})
	}
	return g.Wait()
}

// hasNoPacks reports whether b holds no pack.
func hasNoPacks(ctx context.Context, b backend.Backend) (bool, error) {
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
