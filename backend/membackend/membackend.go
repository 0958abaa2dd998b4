// Package membackend keeps objects in memory, for tests and for servers whose
// data may go with them. In tests it also checks how it is used, and reports
// violations to Options.Referee.
//
// It does no more than the contract of package backend promises. What a Writer
// has written becomes readable by Sync, not earlier, and what was not synced is
// gone after Abort.
package membackend

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// Options are choices of New; nil and zero values mean the defaults.
type Options struct {
	// Referee, if set, gets every violation as it happens. A testing.TB is
	// one.
	Referee interface {
		Errorf(format string, args ...any)
		Helper()
	}

	// WholeOnly makes Sync and Append return errors.ErrUnsupported, as a
	// service does that publishes whole objects only.
	WholeOnly bool

	// LateReads says that reading a deleted object is no violation: a
	// reader may come too late for an object that was collected.
	LateReads bool
}

// A Backend is a backend.Backend in memory. It records a violation when the
// content of a key would change (Create of a key that exists or existed, use
// of one object by two Writers) and when a deleted object is read or written.
type Backend struct {
	opts Options

	// mu guards what follows, and the objects. It is locked after writer.mu.
	mu         sync.Mutex
	objects    map[string]*object // that can be read
	deleted    map[string]bool    // keys of deleted objects
	violations []string
}

var _ backend.Backend = (*Backend)(nil)

// An object is guarded by Backend.mu. The bytes of data never change: a longer
// slice that begins with the same bytes replaces it.
type object struct {
	data    []byte
	modTime time.Time
	whole   bool    // it was committed
	writer  *writer // its open Writer, nil if it has none
}

// New returns an empty Backend.
func New(opts *Options) *Backend {
	b := &Backend{objects: make(map[string]*object), deleted: make(map[string]bool)}
	if opts != nil {
		b.opts = *opts
	}
	return b
}

// Violations returns the violations so far, oldest first.
func (b *Backend) Violations() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.violations)
}

// recordViolation records a violation. The caller holds b.mu.
func (b *Backend) recordViolation(format string, args ...any) {
	msg := fmt.Sprintf(format, args...)
	b.violations = append(b.violations, msg)
	if r := b.opts.Referee; r != nil {
		r.Helper()
		r.Errorf("membackend: %s", msg)
	}
}

func wrapError(op, key string, err error) error {
	return fmt.Errorf("membackend: %s %s: %w", op, key, err)
}

// Create implements backend.Backend.
func (b *Backend) Create(ctx context.Context, key string) (backend.Writer, error) {
	if err := backend.CheckKey(ctx, key); err != nil {
		return nil, wrapError("create", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects[key] != nil {
		b.recordViolation("create %s: it exists", key)
		return nil, wrapError("create", key, fs.ErrExist)
	}
	if b.deleted[key] {
		b.recordViolation("create %s: it existed and was deleted", key)
	}
	return &writer{b: b, life: backend.Lifetime{Ctx: ctx}, key: key}, nil
}

// Append implements backend.Backend. What was not synced is not there.
func (b *Backend) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	if err := backend.CheckKey(ctx, key); err != nil {
		return nil, 0, wrapError("append", key, err)
	}
	if b.opts.WholeOnly {
		return nil, 0, wrapError("append", key, errors.ErrUnsupported)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o, err := b.findReadable("append", key)
	if err != nil {
		return nil, 0, err
	}
	if o.whole {
		return nil, 0, wrapError("append", key, fs.ErrExist)
	}
	if o.writer != nil {
		b.recordViolation("append %s: another Writer is at work", key)
		return nil, 0, wrapError("append", key, errBusy)
	}
	w := &writer{b: b, life: backend.Lifetime{Ctx: ctx}, key: key, object: o, buf: slices.Clone(o.data)}
	o.writer = w
	return w, int64(len(o.data)), nil
}

// findReadable finds a readable object. The caller holds b.mu.
func (b *Backend) findReadable(op, key string) (*object, error) {
	if o := b.objects[key]; o != nil {
		return o, nil
	}
	return nil, wrapError(op, key, fs.ErrNotExist)
}

// ReadAt implements backend.Backend.
func (b *Backend) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	if err := backend.CheckKey(ctx, key); err != nil {
		return wrapError("read", key, err)
	}
	if off < 0 {
		return wrapError("read", key, fs.ErrInvalid)
	}
	b.mu.Lock()
	o, err := b.findReadable("read", key)
	if err != nil {
		if b.deleted[key] && !b.opts.LateReads {
			b.recordViolation("read %s: it was deleted", key)
		}
		b.mu.Unlock()
		return err
	}
	data := o.data
	b.mu.Unlock()
	if int64(len(p)) > int64(len(data))-off && len(p) > 0 {
		return wrapError("read", key, io.ErrUnexpectedEOF)
	}
	if len(p) > 0 {
		copy(p, data[off:])
	}
	return nil
}

// Stat implements backend.Backend.
func (b *Backend) Stat(ctx context.Context, key string) (backend.Info, error) {
	if err := backend.CheckKey(ctx, key); err != nil {
		return backend.Info{}, wrapError("stat", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	o, err := b.findReadable("stat", key)
	if err != nil {
		return backend.Info{}, err
	}
	return backend.Info{Key: key, Size: int64(len(o.data)), ModTime: o.modTime}, nil
}

// Delete implements backend.Backend.
func (b *Backend) Delete(ctx context.Context, key string) error {
	if err := backend.CheckKey(ctx, key); err != nil {
		return wrapError("delete", key, err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.objects[key] != nil {
		delete(b.objects, key)
		b.deleted[key] = true
	}
	return nil
}

// List implements backend.Backend. It takes the keys when it begins, and yields
// those that are still there when it comes to them.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		if err := ctx.Err(); err != nil {
			yield(backend.Info{}, wrapError("list", prefix, err))
			return
		}
		b.mu.Lock()
		keys := slices.Sorted(maps.Keys(b.objects))
		b.mu.Unlock()
		for _, key := range keys {
			if !strings.HasPrefix(key, prefix) {
				continue
			}
			info, err := b.Stat(ctx, key)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if !yield(info, err) || err != nil {
				return
			}
		}
	}
}
