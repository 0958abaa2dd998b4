package cas

import (
	"container/list"
	"sync"
)

// minCached is what a frame takes of the cache at least, so that many small ones
// do not take more memory than the limit.
const minCached = 4 << 10

// A frameCache keeps the plain bytes of frames that were decoded last, since
// the chunks of one frame are read one after another. Each frame is decoded
// by one goroutine while others that want it wait.
type frameCache struct {
	limit int64

	// mu guards what follows, and refs and elem of each frame.
	mu   sync.Mutex
	m    map[FrameID]*cachedFrame // those that are being loaded, too
	lru  list.List                // of *cachedFrame that are loaded, latest first
	size int64                    // plain bytes in lru
	free [][]byte                 // buffers of evicted frames
}

type cachedFrame struct {
	id    FrameID
	ready chan struct{} // closed when plain and err are set for good
	plain []byte
	err   error
	refs  int           // readers
	elem  *list.Element // nil before it is loaded and once it is evicted
}

func newFrameCache(limit int64) *frameCache {
	return &frameCache{limit: limit, m: make(map[FrameID]*cachedFrame)}
}

// claimFrame returns the frame id. With mine the caller has to load it and to settle
// it; otherwise somebody else does, and it is ready when its channel is closed.
// Either way the caller must release it.
func (c *frameCache) claimFrame(id FrameID) (f *cachedFrame, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f = c.m[id]; f != nil {
		f.refs++
		if f.elem != nil {
			c.lru.MoveToFront(f.elem)
		}
		return f, false
	}
	f = &cachedFrame{id: id, ready: make(chan struct{}), refs: 1}
	c.m[id] = f
	return f, true
}

// settleFrame ends a claim: it gives those who wait for f its plain bytes, or the
// error why there are none.
func (c *frameCache) settleFrame(f *cachedFrame, plain []byte, err error) {
	f.plain, f.err = plain, err
	close(f.ready)
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		delete(c.m, f.id)
		return
	}
	f.elem = c.lru.PushFront(f)
	c.size += int64(cap(f.plain))
	for c.size > c.limit && c.lru.Len() > 1 {
		c.evictFrame(c.lru.Back().Value.(*cachedFrame))
	}
}

// dropFrame removes a loaded frame whose bytes have proved wrong.
func (c *frameCache) dropFrame(id FrameID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.m[id]; f != nil && f.elem != nil {
		c.evictFrame(f)
	}
}

// takeBuffer returns an empty buffer with room for size bytes, to be settled with.
func (c *frameCache) takeBuffer(size int) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, b := range c.free {
		if cap(b) >= size {
			c.free[i] = c.free[len(c.free)-1]
			c.free = c.free[:len(c.free)-1]
			return b[:0]
		}
	}
	if size > FrameSize/2 {
		size = max(size, FrameSize) // fits most others when it is reused
	}
	return make([]byte, 0, max(size, minCached))
}

// evictFrame removes f; the caller holds mu.
func (c *frameCache) evictFrame(f *cachedFrame) {
	c.lru.Remove(f.elem)
	f.elem = nil
	delete(c.m, f.id)
	c.size -= int64(cap(f.plain))
	if f.refs == 0 {
		c.keepBuffer(f)
	}
}

// keepBuffer keeps the buffer of f, which nobody reads any more; the caller holds
// mu.
func (c *frameCache) keepBuffer(f *cachedFrame) {
	if len(c.free) < 4 && cap(f.plain) >= FrameSize && cap(f.plain) <= 2*FrameSize {
		c.free = append(c.free, f.plain)
	}
	f.plain = nil
}

// releaseFrame ends the use of f; its bytes must not be used any more.
func (c *frameCache) releaseFrame(f *cachedFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.refs--
	if f.refs == 0 && f.elem == nil && f.err == nil {
		c.keepBuffer(f)
	}
}
