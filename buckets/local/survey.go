package local

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/cas"
)

var (
	// ErrForeign reports packs of another store or backend in a backend.
	ErrForeign = errors.New("packs of another store or backend lie there")
	// ErrStaleMetadata reports a metadata database that is older than its packs:
	// they hold changes that it lacks. The store can be read, and takes no changes.
	ErrStaleMetadata = errors.New("the metadata database is older than the packs; cairn check --repair brings it up to them")
)

// survey compares the packs that are there with those that the database knows,
// of all backends side by side.
func (s *parts) survey(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, d := range s.domains {
		g.Go(func() (err error) {
			if d.survey, err = d.chunks.Survey(gctx); err == nil {
				err = d.newest(gctx)
			}
			if err != nil {
				err = fmt.Errorf("backend %q: %w", d.name, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	last, err := s.meta.LastCommit(ctx)
	if err != nil {
		return err
	}
	for _, d := range s.domains {
		if s.tell(d); d.last > last && s.stale == nil {
			s.stale = fmt.Errorf("%w: it ends with commit %d, pack %s of backend %q holds commit %d", ErrStaleMetadata, last, d.lastIn, d.name, d.last)
		}
	}
	return nil
}

// newest finds the highest commit that the packs hold. Of packs that the
// index knows it tells that itself, also of what it has learned since.
func (d *domain) newest(ctx context.Context) error {
	for e, err := range d.chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		d.holds(e)
	}
	for _, p := range d.survey.Unknown {
		d.holds(p.PackEntry)
	}
	return nil
}

func (d *domain) holds(e cas.PackEntry) {
	if e.LastCommit > d.last {
		d.last, d.lastIn = e.LastCommit, e.ID
	}
}

// foreign is nil if all packs are this store's, or says which is not.
func (s *parts) foreign(ctx context.Context) error {
	for _, d := range s.domains {
		if len(d.survey.Foreign) == 0 {
			continue
		}
		store, err := s.meta.StoreID(ctx)
		if err != nil {
			return err
		}
		h := d.survey.Foreign[0].Header
		what := fmt.Sprintf("store %x", h.Store)
		if h.Store == store {
			what = fmt.Sprintf("this store too, but to domain %x, which is another backend's", h.Domain)
		}
		return fmt.Errorf("%s: backend %q: %w: %d of them, such as pack %s, which belongs to %s; correct %s in --config",
			s.dir, d.name, ErrForeign, len(d.survey.Foreign), h.Pack, what, d.where.place())
	}
	return nil
}

// tell logs which packs are not as the database knows them.
func (s *parts) tell(d *domain) {
	if s.opts.Log == nil {
		return
	}
	log := s.opts.Log.With("backend", d.name)
	for _, p := range d.survey.Missing {
		log.Error("a pack is missing: what lies in it cannot be read", "pack", p.ID)
	}
	for _, p := range d.survey.Short {
		log.Error("a pack is shorter than it was", "pack", p.ID)
	}
	for _, p := range d.survey.Lost {
		log.Error("a pack is missing that the database does not know", "writer", fmt.Sprintf("%x", p.Writer), "serial", p.Serial, "named by", p.Named)
	}
}
