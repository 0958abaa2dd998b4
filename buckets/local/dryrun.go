package local

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// planRepair repairs a copy of the store in dir, in a temporary directory: the
// database is copied, and the backends are overlaid, so what a repair would write
// there lies there too. So what it tells is what a repair does.
func planRepair(ctx context.Context, dir string, opts *CheckOptions) (r *check.Report, err error) {
	lock, err := lockDir(dir, &opts.Options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	tmp, err := os.MkdirTemp("", "cairn-plan-")
	if err != nil {
		return nil, fmt.Errorf("check: room for a copy of the database: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	o := *opts
	o.Backends, err = overlayBackends(ctx, dir, tmp, &opts.Options)
	defer func() {
		for _, b := range o.Backends {
			err = errors.Join(err, b.Driver.(*overlay).Close())
		}
	}()
	if err != nil {
		return nil, err
	}
	if _, err := pebblestore.Copy(metaDir(dir), opts.MetaFS, metaDir(tmp)); err != nil {
		return nil, err
	}
	o.MetaFS, o.DiskFS, o.Failed = nil, nil, nil
	if r, err = checkDir(ctx, tmp, &o); err != nil {
		return nil, err
	}
	if r.Rebuilt || r.CaughtUp {
		r.Plan, err = planDatabase(ctx, dir, tmp, opts, &o)
	}
	r.Rebuilt, r.OK = false, r.ProblemCount+r.DamagedCount == 0
	return r, err
}

// planDatabase compares the database that was repaired in tmp with that of dir.
func planDatabase(ctx context.Context, dir, tmp string, opts, planned *CheckOptions) (_ *check.Plan, err error) {
	rebuilt, err := open(ctx, tmp, &planned.Options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rebuilt.close()) }()
	before := filepath.Join(tmp, "before")
	ok, err := pebblestore.Copy(metaDir(dir), opts.MetaFS, before)
	if err != nil {
		return nil, err
	}
	var now manifest.Store
	if ok {
		db, err := pebblestore.Open(before, &pebblestore.Options{MustExist: true})
		if err == nil {
			defer func() { err = errors.Join(err, db.Close()) }()
			now = db
		}
	}
	p, err := check.NewPlan(ctx, now, rebuilt.checked)
	if errors.Is(err, manifest.ErrDamaged) { // what there is cannot be compared
		p, err = check.NewPlan(ctx, nil, rebuilt.checked)
	}
	return p, err
}

// overlayBackends returns the backends of the store in dir, so that what is written
// to them goes to tmp.
func overlayBackends(ctx context.Context, dir, tmp string, opts *Options) (map[string]Backend, error) {
	readers := *opts
	readers.readOnly = true
	s, err := openBackends(ctx, dir, &readers)
	if err != nil {
		return nil, err
	}
	all := make(map[string]Backend)
	for _, d := range s.domains {
		below := []backend.Backend{d.packs}
		if d.journal {
			near, err := diskbackend.Open(s.journalDir(d), &diskbackend.Options{FS: opts.DiskFS, ReadOnly: true})
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return all, err
			}
			if err == nil {
				below = append(below, near)
			}
		}
		where := filepath.Join(tmp, "packs-"+d.name)
		if err := os.Mkdir(where, 0o700); err != nil {
			return all, err
		}
		top, err := diskbackend.Open(where, nil)
		if err != nil {
			return all, err
		}
		all[d.name] = Backend{PackSize: d.where.PackSize, Driver: &overlay{top, below}}
	}
	return all, nil
}
