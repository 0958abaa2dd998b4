package linear

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/anishathalye/porcupine"
)

// ErrRefused reports a call whose condition does not hold.
var ErrRefused = errors.New("linear: refused")

// A Version is a version of a file as a Store tells it.
type Version struct {
	ID      string
	Path    string
	N       uint64
	Root    string // of its content, by which a Put can match it
	Content string // "" where only Root is told
}

// A Store is what is tested. An error that is neither fs.ErrNotExist nor
// ErrRefused leaves the outcome of a call unknown. match is the root that the
// current version must have, "" for any.
type Store interface {
	Put(ctx context.Context, path, content, match string) (Version, error)
	Get(ctx context.Context, path string) (Version, error)
	Version(ctx context.Context, id string, n uint64) (Version, error)
	List(ctx context.Context, folder string) ([]Version, error)
	Copy(ctx context.Context, id string, n uint64, path string) (Version, error)
	Restore(ctx context.Context, id string, n uint64) (Version, error)
	Delete(ctx context.Context, id string) error
	Undelete(ctx context.Context, id string) (Version, error)
	Purge(ctx context.Context, id string) error
}

// A History is what clients asked for and were told. It is safe for concurrent
// use.
type History struct {
	clock atomic.Int64
	tags  atomic.Int64

	mu       sync.Mutex // guards what follows
	calls    []porcupine.Operation
	contents map[string]string // by root
	known    []Version         // that somebody was told of, with the paths they were made at
	crashed  int64             // the time of the last crash
}

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{contents: make(map[string]string)}
}

// Calls returns how many calls there were, and to how many the answer was lost.
func (h *History) Calls() (n, lost int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, o := range h.calls {
		if o.Return == math.MaxInt64 {
			lost++
		}
	}
	return len(h.calls), lost
}

func (h *History) listOperations() []porcupine.Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]porcupine.Operation(nil), h.calls...)
}

// noteAnswer adds a call that began at a time and has ended with v and err.
func (h *History) noteAnswer(client int, began int64, c call, v Version, err error) {
	a := answer{path: v.Path, id: v.ID, n: v.N, content: v.Content}
	end := h.clock.Add(1)
	switch {
	case err == nil:
	case errors.Is(err, fs.ErrNotExist):
		a = answer{ending: absent}
	case errors.Is(err, ErrRefused):
		a = answer{ending: refused}
	default:
		a, end = answer{ending: unknown}, math.MaxInt64
		if c.op == opGet || c.op == opVersion {
			return
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, porcupine.Operation{ClientId: client, Input: c, Call: began, Output: a, Return: end})
	if a.ending != done || v.ID == "" || c.op == opUndelete {
		return
	}
	if v.Root != "" && v.Content != "" {
		h.contents[v.Root] = v.Content
	}
	v.Path = c.path
	h.known = append(h.known, v)
}

// Crash notes that what runs the store has stopped, and that no call is under way
// any more. What a call did whose answer is lost may have been seen, and be undone
// now. So what was seen of its path since it began counts no longer.
func (h *History) Crash() {
	h.mu.Lock()
	defer h.mu.Unlock()
	began := make(map[string]int64) // the first call of each path without an answer
	for _, o := range h.calls {
		if path := o.Input.(call).path; o.Return == math.MaxInt64 && o.Call > h.crashed && (began[path] == 0 || o.Call < began[path]) {
			began[path] = o.Call
		}
	}
	h.calls = slices.DeleteFunc(h.calls, func(o porcupine.Operation) bool {
		at := began[o.Input.(call).path]
		return at > 0 && o.Return > at && o.Return < math.MaxInt64 && !changesState(o.Input.(call), o.Output.(answer))
	})
	h.crashed = h.clock.Load()
}

// changesState reports whether a call that was answered so has changed anything.
func changesState(c call, a answer) bool {
	return a.ending == done && c.op != opGet && c.op != opVersion
}

// A Client makes random calls. One goroutine at a time may use it.
type Client struct {
	h      *History
	s      Store
	id     int
	rng    *rand.Rand
	folder string
	paths  []string
	begin  int // of what was known then, it uses only what has come since
}

// Run has clients make calls to a store, until ctx is done or each has made so
// many. They use a folder that no earlier Run has used.
func Run(ctx context.Context, h *History, s Store, seed uint64, clients, calls int, folder string) {
	var list []*Client
	for i := range clients {
		list = append(list, h.NewClient(s, seed, i, folder))
	}
	var all sync.WaitGroup
	for _, c := range list {
		all.Go(func() {
			for n := 0; n < calls && ctx.Err() == nil; n++ {
				c.MakeCall(ctx)
			}
		})
	}
	all.Wait()
}

// NewClient returns a client of those that share a folder. None has used it
// earlier than they.
func (h *History) NewClient(s Store, seed uint64, id int, folder string) *Client {
	h.mu.Lock()
	defer h.mu.Unlock()
	c := &Client{h: h, s: s, id: id, rng: rand.New(rand.NewPCG(seed, uint64(id))), folder: folder, begin: len(h.known)}
	for _, name := range []string{"a", "b", "c"} {
		c.paths = append(c.paths, folder+"/"+name)
	}
	return c
}

// pickVersion returns a version that somebody was told of.
func (c *Client) pickVersion() (Version, bool) {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	known := c.h.known[c.begin:]
	if len(known) == 0 {
		return Version{}, false
	}
	// The newest are those that others work on.
	return known[max(0, len(known)-1-c.rng.IntN(12))], true
}

// MakeCall makes a call, and notes how it ended.
func (c *Client) MakeCall(ctx context.Context) {
	path := c.paths[c.rng.IntN(len(c.paths))]
	v, ok := c.pickVersion()
	began := c.h.clock.Add(1)
	tag := fmt.Sprint(c.h.tags.Add(1))
	note := func(in call, out Version, err error) { c.h.noteAnswer(c.id, began, in, out, err) }
	about := call{path: v.Path, id: v.ID, n: v.N, tag: tag}
	switch n := c.rng.IntN(16); {
	case n < 4 || !ok:
		c.putContent(ctx, call{op: opPut, path: path, tag: tag}, v, began)
	case n < 7:
		out, err := c.s.Get(ctx, path)
		note(call{op: opGet, path: path}, out, err)
	case n < 8:
		about.op = opVersion
		out, err := c.s.Version(ctx, v.ID, v.N)
		note(about, out, err)
	case n < 9:
		c.listFolder(ctx, began)
	case n < 11:
		about.op = opDelete
		note(about, Version{}, c.s.Delete(ctx, v.ID))
	case n < 12:
		about.op = opUndelete
		out, err := c.s.Undelete(ctx, v.ID)
		note(about, out, err)
	case n < 13:
		about.op = opPurge
		note(about, Version{}, c.s.Purge(ctx, v.ID))
	case n < 14:
		about.op = opRestore
		out, err := c.s.Restore(ctx, v.ID, v.N)
		note(about, c.fillContent(out), err)
	default:
		c.copyVersion(ctx, about, path, began)
	}
}

func (c *Client) putContent(ctx context.Context, in call, v Version, began int64) {
	in.content = "content " + c.folder + " " + in.tag
	match := ""
	if v.Path == in.path && v.Content != "" && v.Root != "" && c.rng.IntN(2) == 0 {
		in.match, match = v.Content, v.Root
	}
	out, err := c.s.Put(ctx, in.path, in.content, match)
	out.Content = in.content
	c.h.noteAnswer(c.id, began, in, out, err)
}

// listFolder reads a folder: what it shows of each path is as if it were read alone.
func (c *Client) listFolder(ctx context.Context, began int64) {
	vs, err := c.s.List(ctx, c.folder)
	if err != nil {
		return
	}
	for _, path := range c.paths {
		out, err := Version{}, fs.ErrNotExist
		for _, v := range vs {
			if v.Path == path {
				out, err = c.fillContent(v), nil
			}
		}
		if err == nil && out.Content == "" {
			continue // made by a call whose answer is still to come
		}
		c.h.noteAnswer(c.id, began, call{op: opGet, path: path}, out, err)
	}
}

// copyVersion copies a version to a path: it is read from one path and put to the other.
func (c *Client) copyVersion(ctx context.Context, about call, path string, began int64) {
	about.op = opVersion
	v, err := c.s.Version(ctx, about.id, about.n)
	c.h.noteAnswer(c.id, began, about, v, err)
	if err != nil {
		return
	}
	began = c.h.clock.Add(1)
	out, err := c.s.Copy(ctx, about.id, about.n, path)
	if !errors.Is(err, fs.ErrNotExist) {
		out.Content = v.Content
		c.h.noteAnswer(c.id, began, call{op: opPut, path: path, content: v.Content, tag: about.tag}, out, err)
	}
	if err == nil || errors.Is(err, fs.ErrNotExist) {
		c.h.noteAnswer(c.id, began, about, Version{Content: v.Content}, err)
	}
}

// fillContent adds the content that a root stands for.
func (c *Client) fillContent(v Version) Version {
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	if v.Content == "" {
		v.Content = c.h.contents[v.Root]
	}
	return v
}

// SplitPath splits a path into folder and name.
func SplitPath(path string) (folder, name string) {
	i := strings.LastIndexByte(path, '/')
	return path[:max(i, 0)], path[i+1:]
}
