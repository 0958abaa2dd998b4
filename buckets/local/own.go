package local

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/owner"
)

// Many machines can reach a backend.Remote, but its metadata is in one place:
// another store that writes there does not have it. So one store owns a backend.
// A random ID in its database names it; a database made anew is another store.
// Directories need no owner: their packs lie beside their metadata, or where only
// one process is configured to write.

// ownBackends makes the remote backends this store's, all or none of them. One that is
// only read is left as it is.
func (s *parts) ownBackends(ctx context.Context) error {
	if s.opts.readOnly && !slices.ContainsFunc(s.domains, func(d *domain) bool { return d.remote != nil }) {
		return nil
	}
	raw, err := s.meta.OwnerID(ctx)
	id := hex.EncodeToString(raw[:])
	if err == nil {
		err = s.refuseOwned(id)
	}
	if err != nil || s.opts.readOnly {
		return err
	}
	for _, d := range s.domains {
		if d.remote == nil {
			continue
		}
		o, err := owner.Open(ctx, d.packs, d.claim, id, s.ownerOptions(d))
		if err != nil {
			return d.explainOwner(err)
		}
		d.packs = o
	}
	return nil
}

// refuseOwned fails if another store than id owns one of the backends.
func (s *parts) refuseOwned(id string) error {
	for _, d := range s.domains {
		if d.remote == nil {
			continue
		}
		if err := d.claim.Refuse(id, s.ownerOptions(d)); err != nil {
			return d.explainOwner(err)
		}
	}
	return nil
}

// ownerOptions names this store to those who find its backend owned.
func (s *parts) ownerOptions(d *domain) *owner.Options {
	place := s.dir
	if abs, err := filepath.Abs(place); err == nil {
		place = abs
	}
	if host, err := os.Hostname(); err == nil {
		place = host + ":" + place
	}
	return &owner.Options{Place: place, Take: s.opts.TakeOwnership, SingleWriter: d.remote.SingleWriter()}
}

// explainOwner adds what can be done about a backend that another store owns.
func (d *domain) explainOwner(err error) error {
	err = fmt.Errorf("backend %q: %w", d.name, err)
	if errors.Is(err, backend.ErrOwned) {
		err = fmt.Errorf("%w; stop the server there, then give --take-ownership to take it over, with check --repair if this directory has not its metadata", err)
	}
	return err
}
