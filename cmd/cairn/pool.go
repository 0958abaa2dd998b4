package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// large is the size from which a file keeps the machine busy by itself.
// Smaller ones mostly wait for the disk, and many may wait together.
const large = 1 << 20

// A pool runs work on many small files and few large ones at a time. The
// first error ends its context.
type pool struct{ all, small, large *errgroup.Group }

func newPool(ctx context.Context, smalls, larges int) (*pool, context.Context) {
	p := &pool{small: new(errgroup.Group), large: new(errgroup.Group)}
	p.all, ctx = errgroup.WithContext(ctx)
	p.small.SetLimit(smalls)
	p.large.SetLimit(larges)
	return p, ctx
}

// run waits for its turn and runs fn beside the caller.
func (p *pool) run(size int64, fn func() error) {
	g := p.small
	if size >= large {
		g = p.large
	}
	g.Go(func() error {
		err := fn()
		p.all.Go(func() error { return err })
		return nil
	})
}

func (p *pool) wait() error {
	p.small.Wait() // they report to all
	p.large.Wait()
	return p.all.Wait()
}
