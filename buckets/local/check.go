package local

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// CheckOptions are choices of Check.
type CheckOptions struct {
	Options
	Repair   bool
	DryRun   bool                 // with Repair: plan, change nothing
	Found    func(*check.Problem) // is told all that is found, at once
	Progress func(check.Progress)
	Rate     int64 // bytes of packs that are read a second; 0 is no bound
}

// Check verifies that packs, index and manifests in dir agree, reading every
// byte. With Repair it mends what it can, only ever adding; a metadata database
// that is missing or damaged is rebuilt from the packs, and one that is older
// is brought up to them. With DryRun too, the report has a Plan of that.
func Check(ctx context.Context, dir string, opts *CheckOptions) (*check.Report, error) {
	if opts == nil {
		opts = &CheckOptions{}
	}
	r, err := checkOnce(ctx, dir, opts)
	detail, ok := describeLack(err)
	if !ok {
		return r, err
	}
	if !opts.Repair && r != nil {
		return r, nil
	}
	if !opts.Repair {
		return check.NewReport(opts.tellLack(detail, false)), nil
	}
	if opts.DryRun {
		return planRepair(ctx, dir, opts, nil, check.NewReport(opts.tellLack(detail, false)))
	}
	aside, err := rebuild(ctx, dir, &opts.Options)
	if err != nil {
		return nil, fmt.Errorf("rebuild %s: %w", dir, err)
	}
	if aside != "" {
		detail += "; it was set aside as " + aside
	}
	if r, err = checkOnce(ctx, dir, opts); err != nil {
		return nil, err
	}
	r.Rebuilt = true
	r.Add(opts.tellLack(detail, true))
	return r, nil
}

// tellLack tells why there is no database to check, or was none.
func (o *CheckOptions) tellLack(detail string, repaired bool) check.Problem {
	p := check.Problem{Kind: "metadata", Detail: detail, Repaired: repaired}
	if o.Found != nil {
		o.Found(&p)
	}
	return p
}

// checkOnce opens the store, checks it and closes it.
func checkOnce(ctx context.Context, dir string, opts *CheckOptions) (r *check.Report, err error) {
	s, err := open(ctx, dir, &opts.Options)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	domains := make(map[string]string)
	for name, policy := range opts.Buckets {
		domains[name] = policy.Domain
	}
	r, err = s.checked.Check(ctx, &check.Options{Repair: opts.Repair && !opts.DryRun, Found: opts.Found, Progress: opts.Progress, Rate: opts.Rate, Domains: domains})
	if err == nil && s.checked.Stale() != nil && opts.Repair && opts.DryRun {
		return planRepair(ctx, dir, opts, s, r)
	}
	return r, err
}

// planRepair adds to r what a repair would make of the database: it rebuilds one
// in a temporary directory. now is the store with the database that there is, nil
// if none can be opened.
func planRepair(ctx context.Context, dir string, opts *CheckOptions, now *parts, r *check.Report) (_ *check.Report, err error) {
	tmp, err := os.MkdirTemp("", "cairn-plan-")
	if err != nil {
		return nil, fmt.Errorf("check: room for a database: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	o := opts.Options
	o.MetaFS, o.Log = nil, nil
	s := &parts{opts: o, dir: dir, scratch: true}
	var meta manifest.Store
	if now == nil {
		lock, err := lockDir(dir, &opts.Options)
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, lock.Close()) }()
		backends, err := openBackends(ctx, dir, &o)
		if err != nil {
			return nil, err
		}
		s.domains = backends.domains
	} else {
		meta = now.meta
		for _, d := range now.domains { // their drivers are open, and their journals
			s.domains = append(s.domains, &domain{name: d.name, where: d.where, packs: d.packs})
		}
	}
	for _, d := range s.domains {
		d.where.CacheDir = ""
	}
	if s.meta, err = s.openDatabase(ctx, tmp, false); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	if err := s.openDomains(ctx); err != nil {
		return nil, err
	}
	if err := s.checked.Rebuild(ctx); err != nil {
		return nil, fmt.Errorf("plan to rebuild %s: %w", dir, err)
	}
	r.Plan, err = check.NewPlan(ctx, meta, s.checked)
	return r, err
}

// describeLack says why there is no database to check, if err is of that kind:
// there is none, it is damaged, or older than what packs still tell.
func describeLack(err error) (detail string, ok bool) {
	switch {
	case errors.Is(err, ErrNoMetadata):
		return "the metadata database is missing", true
	case errors.Is(err, pebblestore.ErrDamaged), errors.Is(err, check.ErrOvertaken):
		return err.Error(), true
	}
	return "", false
}
