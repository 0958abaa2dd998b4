package cas

import (
	"container/list"
	"sync"
)

// A frameCache keeps the plain bytes of frames that were decoded last, since
// the chunks of one frame are read one after another. Each frame is decoded
// by one goroutine while others that want it wait.
type frameCache struct {
	limit int64

	mu   sync.Mutex
	m    map[FrameID]*cachedFrame // guarded by mu
	lru  list.List                // of *cachedFrame, latest first, guarded by mu
	size int64                    // plain bytes in lru, guarded by mu
	free [][]byte                 // buffers of evicted frames, guarded by mu
}

type cachedFrame struct {
	id    FrameID
	ready chan struct{} // closed when plain and err are set
	plain []byte
	err   error
	refs  int           // readers, guarded by frameCache.mu
	elem  *list.Element // nil once evicted, guarded by frameCache.mu
}

func newFrameCache(limit int64) *frameCache {
	return &frameCache{limit: limit, m: make(map[FrameID]*cachedFrame)}
}

// get returns the frame id, loading it into a buffer of at least size bytes
// if need be. The caller must put it back.
func (c *frameCache) get(id FrameID, size int, load func(buf []byte) ([]byte, error)) (*cachedFrame, error) {
	f, buf, mine := c.claim(id, size)
	if mine {
		plain, err := load(buf)
		c.settle(f, plain, err)
	}
	<-f.ready
	return f, f.err
}

// claim returns the frame id. With mine the caller has to load it, into buf if
// he likes, and to settle it; otherwise it is ready when its channel is
// closed. Either way the caller must put it back.
func (c *frameCache) claim(id FrameID, size int) (f *cachedFrame, buf []byte, mine bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f = c.m[id]; f != nil {
		f.refs++
		if f.elem != nil {
			c.lru.MoveToFront(f.elem)
		}
		return f, nil, false
	}
	f = &cachedFrame{id: id, ready: make(chan struct{}), refs: 1}
	c.m[id] = f
	return f, c.buffer(size), true
}

// settle tells those who wait for f what it holds, or why it cannot be had.
func (c *frameCache) settle(f *cachedFrame, plain []byte, err error) {
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
		c.evict(c.lru.Back().Value.(*cachedFrame))
	}
}

// drop takes a loaded frame out, whose bytes have proved wrong.
func (c *frameCache) drop(id FrameID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.m[id]; f != nil && f.elem != nil {
		c.evict(f)
	}
}

// buffer takes a free buffer of that size, or makes one; mu is held.
func (c *frameCache) buffer(size int) []byte {
	for i, b := range c.free {
		if cap(b) >= size {
			c.free[i] = c.free[len(c.free)-1]
			c.free = c.free[:len(c.free)-1]
			return b[:0]
		}
	}
	return make([]byte, 0, max(size, FrameSize))
}

// evict takes f out; mu is held.
func (c *frameCache) evict(f *cachedFrame) {
	c.lru.Remove(f.elem)
	f.elem = nil
	delete(c.m, f.id)
	c.size -= int64(cap(f.plain))
	if f.refs == 0 {
		c.recycle(f)
	}
}

func (c *frameCache) recycle(f *cachedFrame) {
	if len(c.free) < 4 && cap(f.plain) <= 2*FrameSize {
		c.free = append(c.free, f.plain)
	}
	f.plain = nil
}

// put gives f back; its bytes must not be used any more.
func (c *frameCache) put(f *cachedFrame) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f.refs--
	if f.refs == 0 && f.elem == nil && f.err == nil {
		c.recycle(f)
	}
}
