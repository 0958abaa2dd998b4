// Package diskcache keeps the stored bytes of frames in a directory of bounded
// size: what was used last stays. It survives restarts. It may lose anything at
// any time, and may hold wrong bytes: a cas.Store verifies what it reads.
package diskcache

import (
	"container/list"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-store/cairn/cas"
)

// A Cache is a cas.Cache on disk. One process at a time keeps to its size.
type Cache struct {
	root *os.Root
	size int64
	log  *slog.Logger

	mu     sync.Mutex // guards what follows, and the entries
	m      map[cas.FrameID]*list.Element
	lru    list.List // of *entry, the one used last first
	used   int64     // bytes of all entries
	warned bool      // whether it has been logged that a write failed
}

var _ cas.Cache = (*Cache)(nil)

type entry struct {
	id      cas.FrameID
	size    int64
	touched time.Time // what the file's time was set to
}

// touch is how old the time of a file that is used may become, before it is set
// again.
const touch = time.Hour

// Open opens the cache in dir, and makes it if there is none. It keeps the size
// bytes that were used last. A nil log discards.
func Open(dir string, size int64, log *slog.Logger) (*Cache, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("diskcache: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("diskcache: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	c := &Cache{root: root, size: size, log: log, m: make(map[cas.FrameID]*list.Element)}
	if err := c.loadEntries(); err != nil {
		return nil, errors.Join(fmt.Errorf("diskcache: %w", err), root.Close())
	}
	return c, nil
}

// loadEntries adds the files that an earlier process left.
func (c *Cache) loadEntries() error {
	var found []*entry
	err := fs.WalkDir(c.root.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		id, ok := parseName(name)
		info, ierr := d.Info()
		if ierr != nil {
			return nil // it went meanwhile
		}
		if !ok {
			if strings.HasSuffix(name, tempSuffix) {
				c.root.Remove(name) // a write that a crash cut off
			}
			return nil
		}
		found = append(found, &entry{id, info.Size(), info.ModTime()})
		return nil
	})
	if err != nil {
		return err
	}
	slices.SortFunc(found, func(a, b *entry) int { return a.touched.Compare(b.touched) })
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, e := range found {
		c.addEntry(e)
	}
	return nil
}

const tempSuffix = ".tmp"

func nameOf(id cas.FrameID) string {
	s := id.String()
	return s[len(s)-2:] + "/" + s
}

func parseName(name string) (id cas.FrameID, ok bool) {
	s := filepath.Base(name)
	if len(s) != 2*len(id) {
		return id, false
	}
	_, err := hex.Decode(id[:], []byte(s))
	return id, err == nil && nameOf(id) == filepath.ToSlash(name)
}

// addEntry adds an entry, and removes others to stay below size; the caller holds
// mu.
func (c *Cache) addEntry(e *entry) {
	c.m[e.id] = c.lru.PushFront(e)
	c.used += e.size
	for c.used > c.size && c.lru.Len() > 0 {
		c.removeEntry(c.lru.Back().Value.(*entry).id)
	}
}

// removeEntry removes an entry and its file; the caller holds mu.
func (c *Cache) removeEntry(id cas.FrameID) {
	el := c.m[id]
	if el == nil {
		return
	}
	c.used -= el.Value.(*entry).size
	c.lru.Remove(el)
	delete(c.m, id)
	c.root.Remove(nameOf(id)) // a file that stays is found by the next process
}

// Get implements cas.Cache.
func (c *Cache) Get(id cas.FrameID, p []byte) bool {
	c.mu.Lock()
	el := c.m[id]
	if el == nil || el.Value.(*entry).size != int64(len(p)) {
		c.mu.Unlock()
		return false
	}
	c.lru.MoveToFront(el)
	e := el.Value.(*entry)
	stale := time.Since(e.touched) > touch
	if stale {
		e.touched = time.Now()
	}
	c.mu.Unlock()
	f, err := c.root.Open(nameOf(id))
	if err != nil {
		c.Drop(id)
		return false
	}
	defer f.Close()
	if _, err := io.ReadFull(f, p); err != nil {
		c.Drop(id)
		return false
	}
	if stale {
		now := time.Now()
		c.root.Chtimes(nameOf(id), now, now) // only the order after a restart depends on it
	}
	return true
}

// Put implements cas.Cache. What cannot be written is not kept.
func (c *Cache) Put(id cas.FrameID, p []byte) {
	c.mu.Lock()
	have := c.m[id] != nil
	c.mu.Unlock()
	if have || int64(len(p)) > c.size {
		return
	}
	if err := c.writeFile(id, p); err != nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !c.warned {
			c.warned = true
			c.log.Warn("the cache cannot be written to", "error", err)
		}
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m[id] == nil {
		c.addEntry(&entry{id, int64(len(p)), time.Now()})
	}
}

// writeFile makes a file that appears under its name when it is whole. It is not
// synced: what a power cut leaves of it does not verify.
func (c *Cache) writeFile(id cas.FrameID, p []byte) error {
	name := nameOf(id)
	if err := c.root.Mkdir(name[:2], 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	temp := name + "." + rand.Text() + tempSuffix // two may write the same frame
	f, err := c.root.OpenFile(temp, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	if err = errors.Join(err, f.Close()); err == nil {
		err = c.root.Rename(temp, name)
	}
	if err != nil {
		c.root.Remove(temp) // err is what matters
	}
	return err
}

// Drop implements cas.Cache.
func (c *Cache) Drop(id cas.FrameID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.removeEntry(id)
}

// Close closes the directory.
func (c *Cache) Close() error { return c.root.Close() }
