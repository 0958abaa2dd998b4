package diskbackend

import (
	"container/list"
	"errors"
	"sync"
)

// A handles is a cache of open files, those that were read last, so that a read
// costs one system call. A file in use stays open until release.
type handles struct {
	fs FS

	// mu guards what follows and the handles. No file is opened under it.
	mu    sync.Mutex
	cap   int
	byKey map[string]*handle
	order list.List // of *handle, newest first
	drops int       // how often drop was called
}

// A handle is an open file. handles.mu guards uses and elem.
type handle struct {
	key  string
	file ReadFile
	uses int           // reads under way
	elem *list.Element // nil once it is out of the cache
}

func newHandles(fsys FS, n int) *handles {
	return &handles{fs: fsys, cap: n, byKey: make(map[string]*handle)}
}

// withFile calls fn with the open file of key.
func (c *handles) withFile(key string, fn func(ReadFile) error) error {
	h, err := c.acquire(key)
	if err != nil {
		return err
	}
	defer c.release(h)
	return fn(h.file)
}

func (c *handles) acquire(key string) (*handle, error) {
	c.mu.Lock()
	drops := c.drops
	if h := c.byKey[key]; h != nil {
		h.uses++
		c.order.MoveToFront(h.elem)
		c.mu.Unlock()
		return h, nil
	}
	c.mu.Unlock()

	file, err := c.fs.Open(key)
	if err != nil {
		return nil, err
	}
	h := &handle{key: key, file: file, uses: 1}
	c.mu.Lock()
	defer c.mu.Unlock()
	// A file that was opened before a drop may be the one that was removed, so
	// it must not outlive this use. A handle that another reader has cached
	// meanwhile stays.
	if c.drops == drops && c.byKey[key] == nil {
		h.elem = c.order.PushFront(h)
		c.byKey[key] = h
		for c.order.Len() > c.cap {
			c.evict(c.order.Back().Value.(*handle))
		}
	}
	return h, nil
}

func (c *handles) release(h *handle) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h.uses--
	if h.uses == 0 && h.elem == nil {
		h.file.Close() // a file opened for reading loses nothing
	}
}

// evict takes h out of the cache. The caller holds c.mu.
func (c *handles) evict(h *handle) error {
	c.order.Remove(h.elem)
	delete(c.byKey, h.key)
	h.elem = nil
	if h.uses > 0 {
		return nil
	}
	return h.file.Close()
}

// drop removes the handle of key, whose file was deleted.
func (c *handles) drop(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	if h := c.byKey[key]; h != nil {
		c.evict(h)
	}
}

// close closes the files that are not in use. release closes the others.
func (c *handles) close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.drops++
	c.cap = 0
	var err error
	for c.order.Len() > 0 {
		err = errors.Join(err, c.evict(c.order.Back().Value.(*handle)))
	}
	return err
}
