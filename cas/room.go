package cas

import (
	"context"
	"sync/atomic"
)

// A room bounds what all batches of a store have under way in one step, so
// that memory does not grow with their number. What has taken room goes on
// without asking for more of the same.
type room chan struct{}

// take waits for room, counting it in held.
func (r room) take(ctx context.Context, held *atomic.Int32) error {
	select {
	case r <- struct{}{}:
		held.Add(1)
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (r room) give(held *atomic.Int32) {
	held.Add(-1)
	<-r
}

// giveAll gives back all that held counts.
func (r room) giveAll(held *atomic.Int32) {
	for range held.Swap(0) {
		<-r
	}
}
