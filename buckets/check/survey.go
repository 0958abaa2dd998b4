package check

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

var (
	// ErrForeign reports packs of another store or backend in a backend.
	ErrForeign = errors.New("packs of another store or backend lie there")
	// ErrStaleMetadata reports a metadata database that is older than its packs:
	// they hold changes that it lacks. The store can be read, and takes no changes.
	ErrStaleMetadata = errors.New("the metadata database is older than the packs; cairn check --repair brings it up to them")
	// ErrOvertaken reports a database so old that packs no longer tell what was
	// removed since: it has to be made anew.
	ErrOvertaken = errors.New("the metadata database is older than the last checkpoint in the packs")
)

// Survey compares the packs that are there with those that the index knows, of
// all domains side by side, and logs which are missing. It reads only packs that
// the index does not know. Stale and Foreign return what it has found.
func (s *Store) Survey(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, d := range s.Domains {
		g.Go(func() (err error) {
			dead, err := s.readDead(gctx, d.Name)
			if err == nil {
				d.survey, err = d.Chunks.Survey(gctx, dead.has)
			}
			if err == nil {
				err = d.findNewest(gctx)
			}
			if err != nil {
				err = fmt.Errorf("backend %q: %w", d.Name, err)
			}
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	last, err := s.Meta.LastNumber(ctx) // read after the packs: work may be going on
	if err != nil {
		return err
	}
	s.stale = nil
	for _, d := range s.Domains {
		s.logMissing(d)
		if d.newest > last && s.stale == nil {
			s.stale = fmt.Errorf("%w: it ends with commit %d, pack %s of backend %q holds commit %d", ErrStaleMetadata, last, d.newestPack, d.Name, d.newest)
		}
	}
	return nil
}

// deadPacks are serials of packs that need not exist, by writer.
type deadPacks map[[16]byte]*manifest.Census

// readDead reads which packs of a domain were doomed, or noted as void in one that
// was.
func (s *Store) readDead(ctx context.Context, domain string) (deadPacks, error) {
	all, err := s.Meta.Dead(ctx, domain)
	dead := make(deadPacks)
	for _, c := range all {
		dead[c.Writer] = c
	}
	return dead, err
}

// add takes in more of them.
func (d deadPacks) add(c *manifest.Census) {
	if d[c.Writer] == nil {
		d[c.Writer] = &manifest.Census{Writer: c.Writer}
	}
	d[c.Writer].Merge(c)
}

// addRecord takes in what a record of the packs says.
func (d deadPacks) addRecord(r *manifest.Record) {
	if r.Census != nil {
		d.add(r.Census)
	}
	if r.Doomed != nil {
		d.add(&manifest.Census{Writer: r.Doomed.Writer, Ranges: []manifest.SerialRange{{First: r.Doomed.Serial, Last: r.Doomed.Serial}}})
	}
}

func (d deadPacks) has(v cas.Void) bool {
	c := d[v.Writer]
	return c != nil && c.Has(v.Serial)
}

// surveyOnce surveys the store if nobody has yet.
func (s *Store) surveyOnce(ctx context.Context) error {
	for _, d := range s.Domains {
		if d.survey == nil {
			return s.Survey(ctx)
		}
	}
	return nil
}

// Stale returns nil, or why changes must be refused: an ErrStaleMetadata.
func (s *Store) Stale() error { return s.stale }

// Foreign returns the packs in the domain that belong to another store or
// domain.
func (d *Domain) Foreign() []*cas.PackInfo { return d.survey.Foreign }

// Unknown returns how many packs the index did not know, or not whole.
func (d *Domain) Unknown() int64 { return int64(len(d.survey.Unknown)) }

// findNewest finds the highest commit whose records the packs hold. Of packs
// that the index knows the index tells, also what it has learned since the
// database was written.
func (d *Domain) findNewest(ctx context.Context) error {
	for e, err := range d.Chunks.Index().AllPacks(ctx) {
		if err != nil {
			return err
		}
		d.noteCommit(e)
	}
	for _, p := range d.survey.Unknown {
		d.noteCommit(p.PackEntry)
	}
	return nil
}

func (d *Domain) noteCommit(e cas.PackEntry) {
	if e.LastCommit > d.newest {
		d.newest, d.newestPack = e.LastCommit, e.ID
	}
}

// logMissing logs which packs are not as the index knows them.
func (s *Store) logMissing(d *Domain) {
	if s.Log == nil {
		return
	}
	log := s.Log.With("backend", d.Name)
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
