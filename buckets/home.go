package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// adoptMoves corrects the policies of buckets whose schema still names the
// domain that they were moved from.
func (s *Store) adoptMoves(ctx context.Context, policies map[string]Policy) error {
	homes, err := s.meta.Homes(ctx)
	if err != nil {
		return err
	}
	for _, h := range homes {
		name := h.Bucket
		p, ok := policies[name]
		if !ok || h.Domain == "" || h.Domain == p.Domain || h.From != p.Domain {
			continue
		}
		s.log.Warn("the schema names the backend that the bucket was moved from: change it", "bucket", name, "schema", p.Domain, "backend", h.Domain)
		p.Domain = h.Domain
		policies[name] = p
	}
	return nil
}

// setHomes makes the domain of every bucket its home, and takes the homes of
// buckets that are left out. Commits check the home, so that no upload that
// began before a change of it ends up in the wrong domain. While the store takes
// no changes setHomes only checks, and the homes are written before the first
// change. The caller holds binding.
func (s *Store) setHomes(ctx context.Context, policies map[string]Policy) error {
	if s.checkWritable(ctx) == nil || !s.gate.postponeHomes(policies) {
		return s.writeHomes(ctx, policies, s.updateLocalUnchecked)
	}
	err := s.writeHomes(ctx, policies, func(ctx context.Context, fn func(tx manifest.Tx) error) error {
		return s.updateLocalUnchecked(ctx, func(tx manifest.Tx) error { return cmp.Or(fn(tx), errNotNow) })
	})
	// Without space not even a transaction begins, nor where the database is only read.
	if errors.Is(err, errNotNow) || errors.Is(WrapSpace(err), ErrNoSpace) || errors.Is(err, manifest.ErrReadOnly) {
		return nil
	}
	return err
}

// errNotNow ends a transaction that only checks.
var errNotNow = errors.New("no change is made now")

// writeHomes does the work of setHomes by transactions that keep runs. It also
// ends the moves that broke off after the switch.
func (s *Store) writeHomes(ctx context.Context, policies map[string]Policy, keep func(context.Context, func(tx manifest.Tx) error) error) error {
	known, err := s.meta.Buckets(ctx)
	if err != nil {
		return err
	}
	homes, err := s.meta.Homes(ctx)
	if err != nil {
		return err
	}
	for _, h := range homes { // of empty buckets too: an upload may just be making the first file
		known = append(known, h.Bucket)
	}
	var moved []string // buckets that have a home in the packs, which must be replaced there
	err = keep(ctx, func(tx manifest.Tx) error {
		moved = nil
		for _, name := range known {
			if p, ok := policies[name]; !ok {
				if err := s.dropHome(ctx, tx, name); err != nil {
					return err
				}
			} else if err := checkStays(ctx, tx, name, p.Domain); err != nil {
				return err
			}
		}
		for name, p := range policies {
			h, err := tx.Home(ctx, name)
			if err != nil {
				return err
			}
			switch {
			case h.Domain == p.Domain:
			case h.Move > 0:
				moved = append(moved, name)
			default:
				h.Domain = p.Domain
				if err := tx.PutHome(ctx, h); err != nil {
					return err
				}
			}
		}
		return nil
	})
	for _, name := range moved {
		if err == nil {
			err = s.moveEmpty(ctx, name, policies[name].Domain)
		}
	}
	for _, h := range homes {
		if err == nil {
			err = s.retargetUploads(ctx, h.Bucket, keep)
		}
	}
	return err
}

// dropHome takes the home of a bucket that is not declared any more. One that
// holds files is ErrBucketInUse.
func (s *Store) dropHome(ctx context.Context, tx manifest.Tx, name string) error {
	u, err := tx.Usage(ctx, name)
	if err != nil {
		return err
	}
	if u.Files+u.TrashedFiles > 0 {
		return fmt.Errorf("bucket %q is not declared, and holds %d files and %d in the trash: %w; declare it in --schema, or purge them",
			name, u.Files, u.TrashedFiles, ErrBucketInUse)
	}
	h, err := tx.Home(ctx, name)
	if err != nil || h.Move == 0 {
		return errors.Join(err, tx.DropHome(ctx, name))
	}
	h.Leave("")
	return tx.PutHome(ctx, h)
}

// checkStays returns ErrBucketInUse for a bucket that holds files in another
// domain than the one declared.
func checkStays(ctx context.Context, tx manifest.Tx, name, domain string) error {
	u, err := tx.Usage(ctx, name)
	if err != nil || u.Files+u.TrashedFiles == 0 {
		return err
	}
	h, err := tx.Home(ctx, name)
	if err != nil || h.Domain == "" || h.Domain == domain {
		return err
	}
	return fmt.Errorf("bucket %q is moved from backend %q to %q, and holds %d files and %d in the trash: %w; cairn migrate --bucket %s --to %s moves them",
		name, h.Domain, domain, u.Files, u.TrashedFiles, ErrBucketInUse, name, domain)
}

// moveEmpty makes another domain the home of a bucket without files.
func (s *Store) moveEmpty(ctx context.Context, name, domain string) error {
	return s.updateRowsUnchecked(ctx, func() string { return domain }, func(tx manifest.Tx) error {
		if err := checkStays(ctx, tx, name, domain); err != nil {
			return err
		}
		h, err := tx.Home(ctx, name)
		if err != nil {
			return err
		}
		return recordHome(ctx, tx, h, domain)
	})
}

// recordHome makes domain the home of a bucket, with a record of it for
// rebuilds.
func recordHome(ctx context.Context, tx manifest.Tx, h *manifest.Home, domain string) error {
	h.Leave(domain)
	h.Move++
	return tx.PutHome(ctx, h)
}

// domain is where the bucket's files lie: now or, of a pinned handle, when it
// was pinned. It does not change while moving is held. A row that was found
// before the call has its content there.
func (b *Bucket) domain() string {
	if b.pin != "" {
		return b.pin
	}
	if now := b.s.lookup(b.b.name); now != nil {
		return now.Domain
	}
	return b.b.Domain
}

func (b *Bucket) chunks() *cas.Store { return b.s.chunks[b.domain()] }

// pinned returns a handle whose domain does not change, for one upload: it finds
// again what it has stored.
func (b *Bucket) pinned() *Bucket {
	c := *b
	c.pin = b.domain()
	return &c
}

// hasLeft reports whether the bucket's files are no longer in domain.
func (b *Bucket) hasLeft(domain string) bool {
	c := *b
	c.pin = ""
	return c.domain() != domain
}
