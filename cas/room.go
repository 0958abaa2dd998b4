package cas

import (
	"context"
	"sync/atomic"
)

// A room bounds what all batches of a store have under way in one step, so
// that memory does not grow with their number. A unit or a frame takes room
// once and gives it back when it is done, so batches do not wait for each other
// in a circle.
type room chan struct{}

// takeRoom waits for room, counting it in held.
func (r room) takeRoom(ctx context.Context, held *atomic.Int32) error {
	select {
	case r <- struct{}{}:
		held.Add(1)
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r room) giveRoom(held *atomic.Int32) {
	held.Add(-1)
	<-r
}

// giveAll gives back all that held counts.
func (r room) giveAll(held *atomic.Int32) {
	for range held.Swap(0) {
		<-r
	}
}

// A gate is a lock that can be waited for with a context, since its holder may
// hang in the backend. It is made with room for one.
type gate chan struct{}

func (g gate) enter(ctx context.Context) error {
	select {
	case g <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (g gate) leave() { <-g }

// waitOrLeave runs fn, which may hang in the backend, in a goroutine. It returns
// the error of fn, or that of ctx if ctx is done first. Then left is true, and
// fn goes on using all that it was given.
func waitOrLeave(ctx context.Context, fn func() error) (left bool, err error) {
	done := make(chan error, 1)
	go func() { done <- fn() }()
	select {
	case err = <-done:
		return false, err
	case <-ctx.Done():
		return true, context.Cause(ctx)
	}
}
