package cas

import (
	"context"
	"errors"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// A sender is a backend that makes packs durable nearby at once, and sends them
// far away later.
type sender interface {
	backend.Backend

	// Send returns when all packs that were begun before the call are far
	// away. It calls seal to end the pack that is being appended to.
	Send(ctx context.Context, seal func() error) error
	Run(ctx context.Context, every time.Duration, seal func() error) error
}

// sealEvery is how long frames stay in an open pack before it is sealed to be
// sent.
const sealEvery = 5 * time.Second

// Behind reports whether packs are sent far away after they are durable nearby.
func (s *Store) Behind() bool {
	_, ok := s.b.Backend.(sender)
	return ok
}

// Send returns when all that is durable now is where the backend keeps it for
// good.
func (s *Store) Send(ctx context.Context) error {
	return s.send(ctx, func(ctx context.Context, b sender) error {
		return b.Send(ctx, func() error { return s.pack.sealCurrent(s.ctx) })
	})
}

// send calls fn with the backend, if it is one that sends packs later.
func (s *Store) send(ctx context.Context, fn func(ctx context.Context, b sender) error) error {
	if err := s.life.Enter(); err != nil {
		return err
	}
	defer s.life.Leave()
	b, ok := s.b.Backend.(sender)
	if !ok {
		return nil
	}
	ctx, stop := s.life.Context(ctx)
	defer stop()
	return s.life.Explain(fn(ctx, b))
}

// RunSend sends packs far away until ctx is done, if the backend is one that
// does so later.
func (s *Store) RunSend(ctx context.Context) error {
	return s.send(ctx, func(ctx context.Context, b sender) error {
		return b.Run(ctx, sealEvery, func() error { return s.pack.sealCurrent(s.ctx) })
	})
}

// sealCurrent seals the packs that are being appended to.
func (p *packer) sealCurrent(ctx context.Context) error {
	if err := p.mu.enter(ctx); err != nil {
		return err
	}
	open, closed := []*openPack{p.cur, p.copies}, p.closed
	if !closed {
		p.cur, p.copies = nil, nil
	}
	p.mu.leave()
	if closed {
		return ErrClosed
	}
	var err error
	for _, o := range open {
		if o != nil {
			o.seal()
			err = errors.Join(err, o.failure())
		}
	}
	return err
}
