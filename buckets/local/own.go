package local

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/owner"
)

// Backends in S3 can be reached by many, and the metadata is here: whoever
// else writes there knows nothing of what this store knows. So one store owns
// a backend. It is known by a random ID in its database; a database made anew
// is another store. Directories need none of that: their packs are beside
// their metadata, or where only one process is told to write.

// own makes the backends in S3 this store's, all or none of them.
func (s *parts) own(ctx context.Context) error {
	raw, err := s.meta.OwnerID(ctx)
	id := hex.EncodeToString(raw[:])
	if err == nil {
		err = s.refuse(id)
	}
	if err != nil {
		return err
	}
	for _, d := range s.domains {
		if d.where.S3 == nil {
			continue
		}
		o, err := owner.Open(ctx, d.packs, d.claim, id, s.ownership(d))
		if err != nil {
			return d.explain(err)
		}
		d.packs = o
	}
	return nil
}

// refuse returns nil, or which backend the store id must not open.
func (s *parts) refuse(id string) error {
	for _, d := range s.domains {
		if d.where.S3 == nil {
			continue
		}
		if err := d.claim.Refuse(id, s.ownership(d)); err != nil {
			return d.explain(err)
		}
	}
	return nil
}

func (s *parts) ownership(d *domain) *owner.Options {
	place := s.dir
	if abs, err := filepath.Abs(place); err == nil {
		place = abs
	}
	if host, err := os.Hostname(); err == nil {
		place = host + ":" + place
	}
	return &owner.Options{Place: place, Take: s.opts.TakeOwnership, SingleWriter: d.where.SingleWriter}
}

// explain says what can be done about a backend that is another's.
func (d *domain) explain(err error) error {
	err = fmt.Errorf("backend %q: %w", d.name, err)
	if errors.Is(err, backend.ErrOwned) {
		err = fmt.Errorf("%w; stop the server there, then give --take-ownership to take it over, with check --repair if this directory has not its metadata", err)
	}
	return err
}
