// Package journal puts a near backend in front of a far one: what is written
// is durable near at once, and sent to the far one behind.
//
// Objects are read from where they are. A near object that nobody writes is
// whole, or all there will ever be of it after a crash, and is sent as it is;
// the near copy goes when the far one is stored. What is still near when the
// process ends is sent by the next.
package journal

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"log/slog"
	"sync"

	"github.com/cairn-store/cairn/backend"
)

// A Backend is a backend.Backend in two places. Keys must never be used twice:
// Create does not look for them in the far place.
type Backend struct {
	near, far backend.Backend
	log       *slog.Logger

	mu      sync.Mutex
	begun   uint64              // objects begun; guarded by mu
	order   map[string]uint64   // of those begun by this process and still near; guarded by mu
	growing map[string]*growing // those that are being written; guarded by mu
	refused error               // why nothing can be sent any more; guarded by mu

	turn   chan struct{} // held by who sends
	rounds uint64        // of sending that were begun; guarded by mu
	sent   uint64        // the latest of them that sent all; guarded by mu
	ended  chan struct{} // told when an object has become whole
}

var _ backend.Streamer = (*Backend)(nil)

// A growing is an object that is being written.
type growing struct {
	at   uint64
	over chan struct{} // closed when it is not any more
}

// New returns a Backend over near and far. near must be able to Sync. Nothing
// is sent before Send or Run.
func New(near, far backend.Backend, log *slog.Logger) *Backend {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Backend{near: near, far: far, log: log, order: make(map[string]uint64), growing: make(map[string]*growing),
		turn: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
}

// Create implements backend.Backend.
func (b *Backend) Create(ctx context.Context, key string) (backend.Writer, error) {
	if err := b.checkRefused(); err != nil {
		return nil, err
	}
	w, err := b.near.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	return b.trackGrowing(key, w), nil
}

// Append implements backend.Backend, for near objects that have not been sent.
func (b *Backend) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	if _, err := b.far.Stat(ctx, key); err == nil {
		return nil, 0, fmt.Errorf("journal: append %s: it was sent: %w", key, fs.ErrExist)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, 0, err
	}
	w, size, err := b.near.Append(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	return b.trackGrowing(key, w), size, nil
}

func (b *Backend) trackGrowing(key string, w backend.Writer) backend.Writer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun++
	g := &growing{b.begun, make(chan struct{})}
	b.order[key], b.growing[key] = g.at, g
	return &writer{w, b, key, g}
}

// checkRefused returns why nothing more is taken: what could never be sent must
// not be acknowledged.
func (b *Backend) checkRefused() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.refused
}

// ReadAt implements backend.Backend.
func (b *Backend) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	err := b.near.ReadAt(ctx, key, p, off)
	if errors.Is(err, fs.ErrNotExist) {
		err = b.far.ReadAt(ctx, key, p, off)
	}
	return err
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, key string) (backend.Info, error) {
	info, err := b.near.Stat(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		info, err = b.far.Stat(ctx, key)
	}
	return info, err
}

// Delete implements backend.Backend. Whoever sends the object meanwhile finds
// it gone, and deletes what it has sent.
func (b *Backend) Delete(ctx context.Context, key string) error {
	if err := b.near.Delete(ctx, key); err != nil {
		return err
	}
	return b.far.Delete(ctx, key)
}

// List implements backend.Backend. What is sent meanwhile is yielded once.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		near, err := b.listNear(ctx, prefix) // first: what has left by then is found afar
		if err != nil {
			yield(backend.Info{}, err)
			return
		}
		for info, err := range b.far.List(ctx, prefix) {
			if err != nil {
				yield(info, err)
				return
			}
			for len(near) > 0 && near[0].Key < info.Key {
				if !yield(near[0], nil) {
					return
				}
				near = near[1:]
			}
			if len(near) > 0 && near[0].Key == info.Key {
				near = near[1:]
			}
			if !yield(info, nil) {
				return
			}
		}
		for _, info := range near {
			if !yield(info, nil) {
				return
			}
		}
	}
}

// listNear lists what has not been sent: little, or sending is stuck.
func (b *Backend) listNear(ctx context.Context, prefix string) (all []backend.Info, err error) {
	for info, err := range b.near.List(ctx, prefix) {
		if err != nil {
			return nil, err
		}
		all = append(all, info)
	}
	return all, nil
}

// A writer writes a near object.
type writer struct {
	backend.Writer
	b   *Backend
	key string
	g   *growing
}

func (w *writer) Sync() error {
	if err := w.b.checkRefused(); err != nil {
		return err
	}
	return w.Writer.Sync()
}

func (w *writer) Commit() error {
	if err := w.Writer.Commit(); err != nil {
		return err
	}
	w.markEnded()
	return nil
}

func (w *writer) Abort() error {
	err := w.Writer.Abort()
	w.markEnded()
	return err
}

// markEnded notes that the object does not grow any more.
func (w *writer) markEnded() {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if w.b.growing[w.key] != w.g {
		return // for the second time
	}
	delete(w.b.growing, w.key)
	close(w.g.over)
	select {
	case w.b.ended <- struct{}{}:
	default:
	}
}
