package upload

import (
	"context"
	"sync"
	"time"
)

// A handover lets one request at a time work on an upload. A newer request stops
// the older one and takes its place: the client has given that up, often before
// the server has noticed.
type handover struct {
	mu      sync.Mutex
	holders map[string]*holder // by upload; guarded by mu
}

type holder struct {
	// interrupt makes the request end, and does not wait for that. It may be
	// called more than once. It is nil for a request that ends soon by itself.
	interrupt func()
	done      chan struct{} // closed when the request has ended
}

// acquire interrupts the holder of key and waits until it has ended. The caller
// holds key until it calls release.
func (h *handover) acquire(ctx context.Context, key string, interrupt func()) (release func(), err error) {
	me := &holder{interrupt: interrupt, done: make(chan struct{})}
	for {
		h.mu.Lock()
		other := h.holders[key]
		if other == nil {
			if h.holders == nil {
				h.holders = make(map[string]*holder)
			}
			h.holders[key] = me
			h.mu.Unlock()
			return func() {
				h.mu.Lock()
				delete(h.holders, key)
				h.mu.Unlock()
				close(me.done)
			}, nil
		}
		if other.interrupt != nil {
			// mu is held, so that this never comes after release: then the
			// connection of the older request may serve another one.
			other.interrupt()
		}
		h.mu.Unlock()
		select {
		case <-other.done:
		case <-time.After(100 * time.Millisecond): // interrupt again: it may have come too early
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
