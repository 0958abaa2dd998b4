package buckets

import (
	"context"
	"errors"
	"io/fs"
	"maps"

	"github.com/cairn-store/cairn/manifest"
)

// switchDomain makes the other domain the bucket's. again reports that nothing
// was switched, since what the move has looked up there may be gone. It holds
// binding, so no schema changes the buckets meanwhile.
func (m *migration) switchDomain(ctx context.Context) (again bool, err error) {
	m.s.binding.Lock()
	defer m.s.binding.Unlock()
	c, err := m.switchHeld(ctx)
	if errors.Is(err, errPassedBy) {
		return true, nil
	}
	if c == nil {
		return false, err
	}
	return false, m.s.bringToPacks(ctx, c, err)
}

// switchHeld does the work of switchDomain while it holds moving for writing, so
// that no change is made anywhere. It returns the commit that may have been
// made, or errPassedBy if the move must begin again.
func (m *migration) switchHeld(ctx context.Context) (*manifest.Commit, error) {
	s := m.s
	s.moving.Lock()
	defer s.moving.Unlock()
	if _, err := m.follow(ctx); err != nil {
		return nil, err
	}
	if err := m.copyUploads(ctx); err != nil {
		return nil, err
	}
	if err := m.flush(ctx); err != nil {
		return nil, err
	}
	if err := s.chunks[m.to].Send(ctx); err != nil {
		return nil, err
	}
	// Once more in the transaction, but readers are sent there before it.
	if err := s.updateLocalHeld(ctx, func(tx manifest.Tx) error { return m.w.passBarrier(ctx, tx) }); err != nil {
		return nil, err
	}
	if s.lookup(m.bucket) == nil {
		return nil, ErrNoBucket
	}
	c, err := m.switchHome(ctx)
	if errors.Is(err, errPassedBy) {
		return nil, err
	}
	s.feed = nil
	if err != nil {
		return c, err
	}
	// Where this fails the bucket has been moved all the same. Until it is done,
	// with the next sweep or start, these uploads are refused with ErrMoved.
	if err := s.retargetUploads(context.WithoutCancel(ctx), m.bucket, s.updateLocalHeld); err != nil {
		s.log.Error("uploads under way do not follow their bucket yet", "bucket", m.bucket, "error", err)
	}
	return c, nil
}

// updateLocalHeld is updateLocalUnchecked for a caller that holds moving.
func (s *Store) updateLocalHeld(ctx context.Context, fn func(tx manifest.Tx) error) error {
	_, err := s.meta.Update(ctx, "", fn)
	return err
}

// switchHome makes the other domain the bucket's home. Readers are sent there
// first: all that they can find was copied, and what is put after the
// transaction is only there. The caller holds binding and moving.
func (m *migration) switchHome(ctx context.Context) (*manifest.Commit, error) {
	s := m.s
	s.placeBucket(m.bucket, m.to)
	c, err := s.meta.Update(ctx, m.to, s.audited(ctx, func(tx manifest.Tx) error {
		if err := m.w.passBarrier(ctx, tx); err != nil {
			return err
		}
		h, err := tx.Home(ctx, m.bucket)
		if err != nil {
			return err
		}
		if err := recordHome(ctx, tx, h, m.to); err != nil {
			return err
		}
		h.To = m.to // until retargetUploads is done
		return tx.PutHome(ctx, h)
	}))
	s.audit.notice()
	if err == nil {
		return c, nil
	}
	if h, herr := s.meta.Home(ctx, m.bucket); herr == nil && h.Domain != m.to { // the transaction was not made
		s.placeBucket(m.bucket, m.from.pin)
	}
	return c, err
}

// placeBucket makes a domain that of a bucket, for all who look from now on. The
// caller holds binding.
func (s *Store) placeBucket(name, domain string) {
	all := maps.Clone(*s.buckets.Load())
	p := all[name].Policy
	p.Domain = domain
	all[name] = &bucket{Policy: p, name: name, splitter: all[name].splitter}
	s.buckets.Store(&all)
}

// maxRetargeted is how many uploads one transaction moves to another domain.
const maxRetargeted = 1000

// retargetUploads ends the move of a bucket: it makes the uploads under way,
// whose content was copied before the switch, uploads of the new domain. It does
// nothing where no move is to be ended. Each transaction is run by keep and
// changes at most maxRetargeted uploads, so the move may break off between two;
// the home's To is the domain of the home until all are done.
func (s *Store) retargetUploads(ctx context.Context, bucket string, keep func(context.Context, func(tx manifest.Tx) error) error) error {
	h, err := s.meta.Home(ctx, bucket)
	if err != nil || h.To == "" || h.To != h.Domain {
		return err
	}
	var batch []manifest.UploadID
	retargetBatch := func() error {
		return keep(ctx, func(tx manifest.Tx) error {
			for _, id := range batch {
				u, err := tx.Upload(ctx, bucket, id)
				switch {
				case errors.Is(err, fs.ErrNotExist):
				case err != nil:
					return err
				case u.UnderWay() && u.Domain == h.From:
					u.Domain = h.Domain
					if err := tx.PutUpload(ctx, u); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	for u, err := range s.meta.UploadsUnderWay(ctx, bucket) {
		if err != nil {
			return err
		}
		if u.Domain != h.From {
			continue
		}
		if batch = append(batch, u.ID); len(batch) < maxRetargeted {
			continue
		}
		if err := retargetBatch(); err != nil {
			return err
		}
		batch = batch[:0]
	}
	if err := retargetBatch(); err != nil {
		return err
	}
	return keep(ctx, func(tx manifest.Tx) error {
		now, err := tx.Home(ctx, bucket)
		if err != nil || now.To != now.Domain {
			return err
		}
		now.To = ""
		return tx.PutHome(ctx, now)
	})
}
