package buckets

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// follow changes the policies of buckets whose schema has not learned of a
// move.
func (s *Store) follow(ctx context.Context, policies map[string]Policy) error {
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

// bind ties every bucket to its domain, and unties those that are left out.
// Commits check the tie, so that no upload that began before a move ends up in
// the wrong place, or in none. While the store takes no changes this only
// checks, and the ties are made before the first change.
func (s *Store) bind(ctx context.Context, policies map[string]Policy) error {
	if s.writable(ctx) == nil || !s.gate.postpone(policies) {
		return s.tie(ctx, policies, s.applyValues)
	}
	err := s.tie(ctx, policies, func(ctx context.Context, fn func(tx manifest.Tx) error) error {
		return s.applyValues(ctx, func(tx manifest.Tx) error { return cmp.Or(fn(tx), errNotNow) })
	})
	if errors.Is(err, errNotNow) || errors.Is(wrapSpace(err), ErrNoSpace) {
		return nil // where there is no space not even a transaction begins
	}
	return err
}

// errNotNow ends a transaction that is only to check.
var errNotNow = errors.New("no change is made now")

// tie is bind. It keeps the ties by keep.
func (s *Store) tie(ctx context.Context, policies map[string]Policy, keep func(context.Context, func(tx manifest.Tx) error) error) error {
	known, err := s.meta.Buckets(ctx)
	if err != nil {
		return err
	}
	homes, err := s.meta.Homes(ctx)
	if err != nil {
		return err
	}
	for _, h := range homes { // an upload may just be making the first file of any
		known = append(known, h.Bucket)
	}
	var moved []string // that were moved before: packs are told of their homes
	err = keep(ctx, func(tx manifest.Tx) error {
		moved = nil
		for _, name := range known {
			if p, ok := policies[name]; !ok {
				if err := s.unbind(ctx, tx, name); err != nil {
					return err
				}
			} else if err := stays(ctx, tx, name, p.Domain); err != nil {
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
			err = s.rebind(ctx, name, policies[name].Domain)
		}
	}
	return err
}

// unbind unties a bucket that is not declared.
func (s *Store) unbind(ctx context.Context, tx manifest.Tx, name string) error {
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

// stays checks that the files of a bucket can still be found.
func stays(ctx context.Context, tx manifest.Tx, name, domain string) error {
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

// rebind ties an empty bucket to another domain.
func (s *Store) rebind(ctx context.Context, name, domain string) error {
	return s.apply(ctx, func() string { return domain }, func(tx manifest.Tx) error {
		if err := stays(ctx, tx, name, domain); err != nil {
			return err
		}
		h, err := tx.Home(ctx, name)
		if err != nil {
			return err
		}
		return settle(ctx, tx, h, domain)
	})
}

// settle makes domain the home, for a rebuild too.
func settle(ctx context.Context, tx manifest.Tx, h *manifest.Home, domain string) error {
	h.Leave(domain)
	h.Move++
	return tx.PutHome(ctx, h)
}

// domain is where the bucket's files lie: now, or when the handle was pinned.
// Within a change it stays as it is. A row that was found before has its
// content there.
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

// pinned returns the bucket for one upload: what it stores, it finds again.
func (b *Bucket) pinned() *Bucket {
	c := *b
	c.pin = b.domain()
	return &c
}

// moved reports whether the bucket's files lie elsewhere than domain now.
func (b *Bucket) moved(domain string) bool {
	c := *b
	c.pin = ""
	return c.domain() != domain
}
