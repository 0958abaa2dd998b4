package sim

import (
	"context"
	"iter"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// What a collector calls of a metadata store.

// A lease that was taken or given back without its collector learning of it keeps
// others waiting for as long as it lasts, by the clock. So these calls do not
// fail, but the lease may lapse at any time.
func (s *store) TakeLease(ctx context.Context, domain string, length time.Duration) (l manifest.Lease, err error) {
	if s.p.s.pause(ctx, s.p, "take lease", certain) == crashed {
		return l, errCrashed
	}
	if l, err = s.Store.TakeLease(ctx, domain, length); err == nil {
		s.leases.Store(domain, l)
	}
	return l, err
}

func (s *store) RenewLease(ctx context.Context, l manifest.Lease, length time.Duration) error {
	return s.p.change(ctx, "renew lease", func() error { return s.Store.RenewLease(ctx, l, length) })
}

func (s *store) ReleaseLease(ctx context.Context, l manifest.Lease) error {
	if s.p.s.pause(ctx, s.p, "release lease", certain) == crashed {
		return errCrashed
	}
	return s.Store.ReleaseLease(ctx, l)
}

// lapseLease ends the lease of whoever has it, as its time does.
func (s *store) lapseLease(ctx context.Context, domain string) error {
	l, ok := s.leases.Load(domain)
	if !ok {
		return nil
	}
	return s.Store.ReleaseLease(ctx, l.(manifest.Lease))
}

func (s *store) RaiseFloor(ctx context.Context, l manifest.Lease, floor uint64) error {
	return s.p.change(ctx, "raise floor", func() error { return s.Store.RaiseFloor(ctx, l, floor) })
}

func (s *store) Graves(ctx context.Context, domain string) iter.Seq2[*manifest.Grave, error] {
	return lookAt(ctx, s.p, "graves", s.Store.Graves(ctx, domain))
}

func (s *store) DropGraves(ctx context.Context, domain string, ids []manifest.GraveID) error {
	return s.p.change(ctx, "drop graves", func() error { return s.Store.DropGraves(ctx, domain, ids) })
}

func (s *store) AddCharges(ctx context.Context, domain string, cs []manifest.Charge) error {
	return s.p.change(ctx, "add charges", func() error { return s.Store.AddCharges(ctx, domain, cs) })
}

func (s *store) AddFreed(ctx context.Context, domain string, es []manifest.Freed, charges []manifest.Charge) error {
	return s.p.change(ctx, "add freed", func() error { return s.Store.AddFreed(ctx, domain, es, charges) })
}

func (s *store) TrimLedger(ctx context.Context, keep int) error {
	return s.p.change(ctx, "trim ledger", func() error { return s.Store.TrimLedger(ctx, keep) })
}

func (s *store) Checkpoint(ctx context.Context, domain string) (uint64, error) {
	return lookFor(ctx, s.p, "checkpoint", func() (uint64, error) { return s.Store.Checkpoint(ctx, domain) })
}

func (s *store) SetCheckpoint(ctx context.Context, domain string, base uint64) error {
	return s.p.change(ctx, "set checkpoint", func() error { return s.Store.SetCheckpoint(ctx, domain, base) })
}

func (s *store) DropMarks(ctx context.Context, upTo uint64, limit int) (more bool, err error) {
	err = s.p.change(ctx, "drop marks", func() (err error) {
		more, err = s.Store.DropMarks(ctx, upTo, limit)
		return err
	})
	return more, err
}
