package main

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// large is the size from which one file keeps the machine busy. Smaller files
// mostly wait for the disk, so many are handled at a time.
const large = 1 << 20

// A pool handles many small files and few large ones at a time. The first
// error ends its context.
type pool struct{ all, small, large *errgroup.Group }

func newPool(ctx context.Context, smalls, larges int) (*pool, context.Context) {
	p := &pool{small: new(errgroup.Group), large: new(errgroup.Group)}
	p.all, ctx = errgroup.WithContext(ctx)
	p.small.SetLimit(smalls)
	p.large.SetLimit(larges)
	return p, ctx
}

// run waits for a free place and runs fn in a goroutine.
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
	p.small.Wait() // their errors are in all
	p.large.Wait()
	return p.all.Wait()
}
