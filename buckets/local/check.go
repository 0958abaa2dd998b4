package local

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/buckets/check"
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
// is brought up to them. With DryRun too, nothing in dir or in a backend is changed:
// the report is that of a repair of a copy, and has a Plan of the database if that
// would be made anew or brought up.
func Check(ctx context.Context, dir string, opts *CheckOptions) (*check.Report, error) {
	checked := CheckOptions{}
	if opts != nil {
		checked = *opts
	}
	checked.MustExist = true
	opts = &checked
	if opts.Repair && opts.DryRun && opts.openMeta == nil {
		return planRepair(ctx, dir, opts)
	}
	if opts.Repair {
		if _, err := leaveUnwritable(dir, &opts.Options); err != nil && opts.mayHaveStore(dir) {
			return nil, refuseRepair(err)
		}
	}
	return checkDir(ctx, dir, opts)
}

func checkDir(ctx context.Context, dir string, opts *CheckOptions) (*check.Report, error) {
	r, err := checkOnce(ctx, dir, opts)
	detail, ok := describeLack(err)
	if !ok {
		return r, err
	}
	if !opts.Repair && r != nil {
		return r, nil
	}
	if !opts.Repair {
		return check.NewReport(opts.tellLack(detail)), nil
	}
	aside, err := rebuild(ctx, dir, &opts.Options)
	if err != nil {
		return nil, fmt.Errorf("rebuild %s: %w", dir, err)
	}
	if aside != "" && !opts.DryRun {
		detail += "; it was set aside as " + aside
	}
	if r, err = checkOnce(ctx, dir, opts); err != nil {
		return nil, err
	}
	r.Rebuilt = true
	r.Add(opts.tellLack(detail))
	return r, nil
}

// tellLack tells why there is no database to check, or was none.
func (o *CheckOptions) tellLack(detail string) check.Problem {
	p := check.Problem{Kind: "metadata", Detail: detail, Heals: check.HealsRepair, Does: check.DoesRebuild}
	p.Repaired = o.Repair && !o.DryRun
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
	for name, policy := range s.opts.Buckets {
		domains[name] = policy.Domain
	}
	return s.checked.Check(ctx, &check.Options{Repair: opts.Repair, DryRun: opts.DryRun, Found: opts.Found, Progress: opts.Progress, Rate: opts.Rate, Domains: domains})
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
