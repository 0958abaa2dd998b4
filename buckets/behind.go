package buckets

import (
	"context"
	"errors"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/manifest"
)

// updateAcknowledged runs a transaction as Store.updateRows does, and returns when the
// change is as durable as the bucket's policy says. With AckRemote it waits until
// all packs that the domain has by then are in the backend: the chunks that were
// found stored may be in any of them.
func (b *Bucket) updateAcknowledged(ctx context.Context, fn func(tx manifest.Tx) error) error {
	if err := b.updateRows(ctx, fn); err != nil || b.b.Acknowledge == AckJournal {
		return err
	}
	return b.chunks().Send(ctx)
}

// updateRows runs a transaction of the bucket's principal as Store.updateRows does.
func (b *Bucket) updateRows(ctx context.Context, fn func(tx manifest.Tx) error) error {
	return b.s.updateRows(access.ActFor(ctx, b.who), b.domain, fn)
}

// awaitDurable returns when all changes made so far are as durable as the
// bucket's policy says. It goes before an answer about a change that an earlier
// request has made: that request may have failed after the change was decided.
func (b *Bucket) awaitDurable(ctx context.Context) error {
	if err := b.s.settleEarlier(ctx); err != nil || b.b.Acknowledge == AckJournal {
		return err
	}
	return b.chunks().Send(ctx)
}

// Send returns when all that is durable on this machine is in the backends.
func (s *Store) Send(ctx context.Context) error {
	var errs []error
	for _, c := range s.chunks {
		errs = append(errs, c.Send(ctx))
	}
	return errors.Join(errs...)
}

// runSend sends packs behind until ctx is done.
func (s *Store) runSend(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, c := range s.chunks {
		g.Go(func() error { return c.RunSend(ctx) })
	}
	return g.Wait()
}
