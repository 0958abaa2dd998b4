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
	c.mu.Lock()
	f := c.m[id]
	if f != nil {
		f.refs++
		if f.elem != nil {
			c.lru.MoveToFront(f.elem)
		}
		c.mu.Unlock()
		<-f.ready
		return f, f.err
	}
	f = &cachedFrame{id: id, ready: make(chan struct{}), refs: 1}
	c.m[id] = f
	buf := c.buffer(size)
	c.mu.Unlock()

	f.plain, f.err = load(buf)
	close(f.ready)

	c.mu.Lock()
	defer c.mu.Unlock()
	if f.err != nil {
		delete(c.m, id)
		return f, f.err
	}
	f.elem = c.lru.PushFront(f)
	c.size += int64(cap(f.plain))
	for c.size > c.limit && c.lru.Len() > 1 {
		c.evict(c.lru.Back().Value.(*cachedFrame))
	}
	return f, nil
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
