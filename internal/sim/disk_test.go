package sim

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// A disk is a backend that outlives processes. Deletes may come late, or again.
type disk struct {
	mu      sync.Mutex // guards what follows
	rng     *rand.Rand
	objects map[string]*object
	late    []string // deletes that are still to come
	gone    int      // objects that were deleted
}

// An object is guarded by disk.mu.
type object struct {
	written, synced []byte
	readable, whole bool
}

func newDisk(seed uint64) *disk {
	return &disk{rng: rand.New(rand.NewPCG(seed, 9)), objects: make(map[string]*object)}
}

// loseUnsynced does what a crash does: of what was not synced some bytes stay.
func (d *disk) loseUnsynced(rng *rand.Rand) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, key := range slices.Sorted(maps.Keys(d.objects)) {
		o := d.objects[key]
		if !o.readable {
			delete(d.objects, key)
			continue
		}
		if n := len(o.written) - len(o.synced); n > 0 {
			o.synced = o.written[:len(o.synced)+rng.IntN(n+1)]
		}
		o.written = slices.Clone(o.synced)
	}
}

// size returns how many bytes of an object can be read, and -1 if it is gone.
func (d *disk) size(key string) int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if o := d.objects[key]; o != nil && o.readable {
		return int64(len(o.synced))
	}
	return -1
}

// add adds a whole object.
func (d *disk) add(key string, text []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.objects[key] = &object{written: text, synced: text, readable: true, whole: true}
}

// remove deletes an object now.
func (d *disk) remove(key string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.objects[key] != nil {
		delete(d.objects, key)
		d.gone++
	}
}

// deliverLate makes one of the late deletes happen, and perhaps leaves it to come
// again. It reports whether there was one.
func (d *disk) deliverLate(rng *rand.Rand) bool {
	d.mu.Lock()
	if len(d.late) == 0 {
		d.mu.Unlock()
		return false
	}
	i := rng.IntN(len(d.late))
	key := d.late[i]
	if rng.IntN(4) > 0 {
		d.late = slices.Delete(d.late, i, i+1)
	}
	d.mu.Unlock()
	d.remove(key)
	return true
}

// A diskClient is a disk as one process sees it.
type diskClient struct {
	*disk
	p    *process
	slow bool // deletes may come late
	lazy bool // and always do
}

var _ backend.Backend = (*diskClient)(nil)

// find returns a readable object. The caller holds mu.
func (d *disk) find(key string) (*object, error) {
	if o := d.objects[key]; o != nil && o.readable {
		return o, nil
	}
	return nil, fmt.Errorf("sim: %s: %w", key, fs.ErrNotExist)
}

func (d *diskClient) Create(ctx context.Context, key string) (w backend.Writer, err error) {
	err = d.p.change(ctx, "create", func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		if d.objects[key] != nil {
			return fmt.Errorf("sim: create %s: %w", key, fs.ErrExist)
		}
		o := &object{}
		d.objects[key] = o
		w = &diskWriter{d, ctx, key, o}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return w, nil
}

func (d *diskClient) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	o, err := d.find(key)
	if err == nil && o.whole {
		err = fmt.Errorf("sim: append %s: %w", key, fs.ErrExist)
	}
	if err != nil {
		return nil, 0, err
	}
	return &diskWriter{d, ctx, key, o}, int64(len(o.synced)), nil
}

func (d *diskClient) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	return d.p.look(ctx, "read", func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		o, err := d.find(key)
		if err != nil {
			return err
		}
		if off+int64(len(p)) > int64(len(o.synced)) {
			return fmt.Errorf("sim: read %s: %w", key, io.ErrUnexpectedEOF)
		}
		copy(p, o.synced[off:])
		return nil
	})
}

func (d *diskClient) Stat(ctx context.Context, key string) (info backend.Info, err error) {
	err = d.p.look(ctx, "stat", func() error {
		d.mu.Lock()
		defer d.mu.Unlock()
		o, err := d.find(key)
		if err == nil {
			info = backend.Info{Key: key, Size: int64(len(o.synced)), ModTime: time.Unix(0, 0)}
		}
		return err
	})
	return info, err
}

func (d *diskClient) Delete(ctx context.Context, key string) error {
	return d.p.change(ctx, "delete", func() error {
		if !d.slow || d.p.s.free.Load() {
			d.remove(key)
			return nil
		}
		d.mu.Lock()
		late, told := d.rng.IntN(2) == 0 || d.lazy, d.rng.IntN(2) == 0
		if late {
			d.late = append(d.late, key)
		}
		d.mu.Unlock()
		switch {
		case !late:
			d.remove(key)
		case !told:
			return fmt.Errorf("sim: delete: %w", backend.ErrUnavailable)
		}
		return nil
	})
}

func (d *diskClient) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		if err := d.p.look(ctx, "list", func() error { return nil }); err != nil {
			yield(backend.Info{}, err)
			return
		}
		d.mu.Lock()
		var out []backend.Info
		for _, key := range slices.Sorted(maps.Keys(d.objects)) {
			if o := d.objects[key]; o.readable && strings.HasPrefix(key, prefix) {
				out = append(out, backend.Info{Key: key, Size: int64(len(o.synced)), ModTime: time.Unix(0, 0)})
			}
		}
		d.mu.Unlock()
		for _, info := range out {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// A diskWriter writes an object.
type diskWriter struct {
	d   *diskClient
	ctx context.Context
	key string
	o   *object
}

func (w *diskWriter) Write(p []byte) (int, error) {
	err := w.d.p.change(w.ctx, "write", func() error {
		w.d.mu.Lock()
		defer w.d.mu.Unlock()
		w.o.written = append(w.o.written, p...)
		return nil
	})
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

func (w *diskWriter) publish(whole bool) error {
	what := "sync"
	if whole {
		what = "commit"
	}
	return w.d.p.change(w.ctx, what, func() error {
		w.d.mu.Lock()
		defer w.d.mu.Unlock()
		// Bytes never change: the slice only grows.
		w.o.synced, w.o.readable = w.o.written[:len(w.o.written):len(w.o.written)], true
		w.o.whole = w.o.whole || whole
		return nil
	})
}

func (w *diskWriter) Sync() error   { return w.publish(false) }
func (w *diskWriter) Commit() error { return w.publish(true) }

func (w *diskWriter) Abort() error {
	if w.d.p.crashed.Load() {
		return errCrashed
	}
	w.d.mu.Lock()
	defer w.d.mu.Unlock()
	if !w.o.readable && w.d.objects[w.key] == w.o {
		delete(w.d.objects, w.key)
	}
	w.o.written = slices.Clone(w.o.synced)
	return nil
}
