package upload

import (
	"context"
	"sync"
	"time"
)

// A handover lets one request at a time work on an upload. A newer one asks
// the older to stop and takes its place: the client has given that up, often
// without the server having noticed.
type handover struct {
	mu      sync.Mutex
	holders map[string]*holder // mu
}

type holder struct {
	interrupt func()        // asks it to stop, perhaps more than once, and does not wait; nil where it ends by itself soon
	done      chan struct{} // closed when it has
}

// acquire waits until key is free, and asks who holds it to stop. What it
// returns gives key back.
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
			other.interrupt() // under the lock: never after it has given key back, when its connection may serve others
		}
		h.mu.Unlock()
		select {
		case <-other.done:
		case <-time.After(100 * time.Millisecond): // ask again: it may have missed it
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}
