package owner

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"
	"strings"
	"sync/atomic"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// freshFor is how long a look at the claim counts. An owner whose last look is
// older, because the process was paused perhaps, looks again before it commits
// or deletes an object.
const freshFor = 5 * time.Second

// A Backend is a backend that only its owner writes to.
//
// Sync and Commit look at the claim after the object was stored, and fail if the
// backend has another owner by then. So a store that takes the backend over
// finds every object that the last owner has acknowledged. Reads are not
// guarded.
type Backend struct {
	backend.Backend
	claim   Claim
	checked atomic.Int64          // wall clock of the last look at the claim, in ms
	lost    atomic.Pointer[Claim] // the claim of the next owner, once there is one
}

var _ backend.Streamer = (*Backend)(nil)

func (b *Backend) markChecked(at time.Time) { b.checked.Store(at.UnixMilli()) }

// Check returns nil if the claim still holds, by one request. Once it has failed
// with backend.ErrOwned it always does.
func (b *Backend) Check(ctx context.Context) error {
	if c := b.lost.Load(); c != nil {
		return ownedError(c)
	}
	begun := time.Now()
	_, err := b.Backend.Stat(ctx, claimKey(b.claim.number+1))
	if errors.Is(err, fs.ErrNotExist) {
		b.markChecked(begun)
		return nil
	}
	if err != nil {
		return err
	}
	c, err := Current(ctx, b.Backend)
	if err == nil && c != nil {
		b.lost.Store(c)
		err = ownedError(c)
	}
	return err
}

// checkStale is Check unless the last look was less than freshFor ago.
func (b *Backend) checkStale(ctx context.Context) error {
	if c := b.lost.Load(); c != nil {
		return ownedError(c)
	}
	// By the wall clock: a monotonic one may stop while the machine sleeps.
	if d := time.Now().UnixMilli() - b.checked.Load(); d >= 0 && d < freshFor.Milliseconds() {
		return nil
	}
	return b.Check(ctx)
}

// Create implements backend.Backend.
func (b *Backend) Create(ctx context.Context, key string) (backend.Writer, error) {
	if c := b.lost.Load(); c != nil {
		return nil, ownedError(c)
	}
	w, err := b.Backend.Create(ctx, key)
	if err != nil {
		return nil, err
	}
	return &writer{w, b, ctx}, nil
}

// Append implements backend.Backend.
func (b *Backend) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	w, size, err := b.Backend.Append(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	return &writer{w, b, ctx}, size, nil
}

// Delete implements backend.Backend.
func (b *Backend) Delete(ctx context.Context, key string) error {
	if err := b.checkStale(ctx); err != nil {
		return err
	}
	return b.Backend.Delete(ctx, key)
}

// NewReader implements backend.Streamer.
func (b *Backend) NewReader(ctx context.Context, key string, off, n int64) io.ReadCloser {
	return backend.NewReader(ctx, b.Backend, key, off, n)
}

// List implements backend.Backend. It does not yield claims.
func (b *Backend) List(ctx context.Context, from string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		for info, err := range b.Backend.List(ctx, from) {
			if err == nil && strings.HasPrefix(info.Key, claimPrefix) {
				continue
			}
			if !yield(info, err) {
				return
			}
		}
	}
}

type writer struct {
	backend.Writer
	b   *Backend
	ctx context.Context // of Create or Append
}

func (w *writer) Sync() error {
	if err := w.Writer.Sync(); err != nil {
		return err
	}
	return w.b.Check(w.ctx)
}

func (w *writer) Commit() error {
	if err := w.b.checkStale(w.ctx); err != nil {
		return err
	}
	if err := w.Writer.Commit(); err != nil {
		return err
	}
	return w.b.Check(w.ctx)
}
