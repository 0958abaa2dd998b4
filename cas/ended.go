package cas

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
)

// SealOpen ends all packs that nothing more is to be written to, for a
// collector: it seals the one that is being appended to, waits for those that
// are being sealed, and marks as sealed in the index those that have ended
// without a footer, by a crash or a failed write. Packs that the index does not
// know get an entry, without frames. Other openings of the store may be at work
// unless it is Exclusive, so then only the packs of this one are ended.
func (s *Store) SealOpen(ctx context.Context) error {
	err := s.sealGrowing(ctx)
	if err == nil {
		err = s.markEnded(ctx)
	}
	if err != nil {
		return fmt.Errorf("cas: seal open packs: %w", err)
	}
	return nil
}

// sealGrowing returns when the packs that were growing at the call have ended.
func (s *Store) sealGrowing(ctx context.Context) error {
	_, growing := s.pack.listGrowing()
	_, err := waitOrLeave(ctx, func() error { return s.pack.sealCurrent(s.ctx) })
	if ctx.Err() != nil || errors.Is(err, ErrClosed) {
		return err
	}
	if err != nil { // whoever waited for what lies in it has the error
		s.log.Warn("a pack could not be sealed", "err", err)
	}
	for _, o := range growing {
		select {
		case <-o.over:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}

// noteGrowing notes that something may be written to a pack.
func (p *packer) noteGrowing(o *openPack) {
	p.growMu.Lock()
	defer p.growMu.Unlock()
	p.growing[o.id] = o
}

// noteEnded notes that nothing more is written to a pack, nor to the index about
// it.
func (p *packer) noteEnded(o *openPack) {
	failed := o.hasFailed()
	p.growMu.Lock()
	defer p.growMu.Unlock()
	if p.growing[o.id] != o {
		return
	}
	delete(p.growing, o.id)
	p.strays = p.strays || failed
	close(o.over)
}

// listGrowing returns the packs that something may be written to, and the
// highest serial that this opening has given out before.
func (p *packer) listGrowing() (serial uint64, growing map[PackID]*openPack) {
	serial = p.serials.lastSerial()
	p.growMu.Lock()
	defer p.growMu.Unlock()
	growing = make(map[PackID]*openPack, len(p.growing))
	for id, o := range p.growing {
		growing[id] = o
	}
	return serial, growing
}

// markEnded marks packs as sealed that have ended without a footer, and adds
// those that the index does not know.
func (s *Store) markEnded(ctx context.Context) error {
	listed, err := s.listStrays(ctx)
	if err != nil {
		return err
	}
	change := &Change{}
	if change.Packs, err = s.listEnded(ctx, listed); err == nil {
		err = s.describeStrays(ctx, listed, change)
	}
	if err == nil && len(change.Packs) > 0 {
		err = s.ix.Apply(ctx, change)
	}
	if err != nil {
		s.pack.expectStrays(true)
	}
	return err
}

// listStrays lists the packs of the backend, if there may be some that the index
// does not know: once for each opening, and after a pack has failed.
func (s *Store) listStrays(ctx context.Context) (map[PackID]PackEntry, error) {
	if !s.pack.expectStrays(false) {
		return nil, nil
	}
	listed := make(map[PackID]PackEntry)
	for p, err := range s.Packs(ctx) {
		if err != nil {
			s.pack.expectStrays(true)
			return nil, err
		}
		listed[p.ID] = p
	}
	return listed, nil
}

// expectStrays sets whether there may be packs that the index does not know, and
// returns what it was.
func (p *packer) expectStrays(expect bool) (before bool) {
	p.growMu.Lock()
	defer p.growMu.Unlock()
	before, p.strays = p.strays, expect
	return before
}

// listEnded returns the entries of packs that have ended and are not sealed, with
// the seal, and removes from listed all that the index knows or that grow. What
// is begun after the list of growing packs was made is told by its serial.
func (s *Store) listEnded(ctx context.Context, listed map[PackID]PackEntry) (ended []PackEntry, err error) {
	serial, growing := s.pack.listGrowing()
	for id := range growing {
		delete(listed, id)
	}
	for e, err := range s.ix.AllPacks(ctx) {
		if err != nil {
			return nil, err
		}
		delete(listed, e.ID)
		own := e.Writer == s.pack.serials.writer
		if e.Sealed || growing[e.ID] != nil || own && e.Serial > serial || !own && !s.exclusive {
			continue
		}
		e.Sealed = true
		ended = append(ended, e)
	}
	return ended, nil
}

// describeStrays adds the entries of packs that the index does not know, and that
// nobody can be writing to.
func (s *Store) describeStrays(ctx context.Context, strays map[PackID]PackEntry, c *Change) error {
	for _, p := range strays {
		info, err := s.Inspect(ctx, p)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, fs.ErrNotExist):
			continue // it has gone meanwhile
		case err != nil:
			s.log.Warn("a pack that the index does not know cannot be read, and stays", "pack", p.ID, "err", err)
			continue
		case info.Header == nil || !s.pack.isOfStore(info.Header) || info.Writer != s.pack.serials.writer && !s.exclusive:
			continue
		}
		e := info.PackEntry
		if !e.Sealed {
			e.Size, e.Sealed = 0, true
			for _, f := range info.Frames {
				if f.Damage == nil {
					e.Size = f.Entry.end()
				}
			}
		}
		c.Packs = append(c.Packs, e)
	}
	return nil
}

// isOfStore reports whether a pack belongs to this store and domain.
func (p *packer) isOfStore(h *PackHeader) bool {
	return p.store == [16]byte{} || h.Store == p.store && h.Domain == p.domain
}
