// Package journal puts a near backend, on this machine's disk, in front of a far
// one: an object is durable near when its Sync or Commit returns, and is sent to
// the far backend afterwards.
//
// An object is read where it lies. A near object that has no Writer does not
// change any more: it is whole, or what a crash has left of it. It is sent as it
// is, and the near copy is deleted when the far one is stored. What is still
// near when the process ends is sent by the next one.
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

// A Backend is a backend.Backend in two places. A key must never be used twice:
// Create does not look for it in the far place.
type Backend struct {
	near, far backend.Backend
	log       *slog.Logger

	// turn is a lock with a slot of one: who sends holds it, from listing the
	// near objects to the last one sent. mu is locked and released inside it.
	turn chan struct{}

	// ended receives when an object has lost its Writer, so that Run sends it.
	ended chan struct{}

	// mu guards what follows. It is never held during a call of near or far.
	mu sync.Mutex

	// order numbers the objects that this process has begun and that are
	// still near, and begun counts them: objects are sent in that order.
	order map[string]uint64
	begun uint64

	// growing holds the objects that have a Writer.
	growing map[string]*growing

	// sending is the key of the object that is being sent, and over is closed
	// when that has ended; nil while none is. deleting counts the calls of
	// Delete for a key: meanwhile it is not sent.
	sending  string
	over     chan struct{}
	deleting map[string]int

	// refused is why nothing can be sent any more, nil if it can.
	refused error

	// rounds counts the rounds of Send, and sent is the number of the latest
	// one that has sent all that was begun before it.
	rounds, sent uint64
}

var _ backend.Streamer = (*Backend)(nil)

// A growing is a near object that has a Writer.
type growing struct {
	at   uint64        // its number in order
	over chan struct{} // closed when the Writer has ended
}

// New returns a Backend over near and far. near must support Sync. Nothing is
// sent before Send or Run is called.
func New(near, far backend.Backend, log *slog.Logger) *Backend {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Backend{near: near, far: far, log: log, order: make(map[string]uint64), growing: make(map[string]*growing),
		deleting: make(map[string]int), turn: make(chan struct{}, 1), ended: make(chan struct{}, 1)}
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

// Append implements backend.Backend. It takes near objects only: one that was
// sent is whole.
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

// trackGrowing notes that the near object of key has a Writer, w.
func (b *Backend) trackGrowing(key string, w backend.Writer) backend.Writer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.begun++
	g := &growing{b.begun, make(chan struct{})}
	b.order[key], b.growing[key] = g.at, g
	return &writer{w, b, key, g}
}

// checkRefused returns why nothing more is taken, nil if it is: bytes that can
// never be sent must not be acknowledged.
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

// Delete implements backend.Backend. An object that waits to be sent is never
// sent once Delete has returned nil. One that is being sent is deleted when that
// has ended, so that no copy arrives later.
func (b *Backend) Delete(ctx context.Context, key string) error {
	if err := b.holdSending(ctx, key); err != nil {
		return err
	}
	defer b.allowSending(key)
	if err := b.near.Delete(ctx, key); err != nil {
		return err
	}
	b.mu.Lock()
	delete(b.order, key)
	b.mu.Unlock()
	// It may lie there even if it was near: who sent it may have been killed
	// before the near copy was deleted.
	return b.far.Delete(ctx, key)
}

// holdSending keeps an object from being sent until allowSending, and waits until
// it is not.
func (b *Backend) holdSending(ctx context.Context, key string) error {
	b.mu.Lock()
	b.deleting[key]++
	over := b.over
	busy := over != nil && b.sending == key
	b.mu.Unlock()
	if !busy {
		return nil
	}
	select {
	case <-over:
		return nil
	case <-ctx.Done():
		b.allowSending(key)
		return context.Cause(ctx)
	}
}

func (b *Backend) allowSending(key string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.deleting[key]--; b.deleting[key] == 0 {
		delete(b.deleting, key)
	}
}

// List implements backend.Backend. An object that is sent meanwhile is yielded
// once.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		near, err := b.listNear(ctx, prefix) // first, so that what is sent meanwhile is listed by far
		if err != nil {
			yield(backend.Info{}, err)
			return
		}
		waiting := make(map[string]bool)
		for _, info := range near {
			waiting[info.Key] = true
		}
		for info, err := range b.far.List(ctx, prefix) {
			if err != nil {
				yield(info, err)
				return
			}
			delete(waiting, info.Key)
			if !yield(info, nil) {
				return
			}
		}
		for _, info := range near {
			if waiting[info.Key] && !yield(info, nil) {
				return
			}
		}
	}
}

// listNear lists the objects that have not been sent. They are few unless the
// far backend has been away.
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

// markEnded notes that the object has no Writer any more. The second call, by an
// Abort after Commit, does nothing.
func (w *writer) markEnded() {
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if w.b.growing[w.key] != w.g {
		return
	}
	delete(w.b.growing, w.key)
	close(w.g.over)
	select {
	case w.b.ended <- struct{}{}:
	default:
	}
}
