package membackend

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"
)

var (
	errBusy   = errors.New("another Writer is at work")
	errClosed = errors.New("the Writer was committed or aborted")
)

// A writer collects bytes and shows them to readers at each Sync.
type writer struct {
	b   *Backend
	ctx context.Context // of Create or Append: it bounds the Writer's life
	key string

	mu     sync.Mutex // taken before Backend.mu
	buf    []byte     // only appended to; guarded by mu
	object *object    // set by the first Sync; guarded by mu
	err    error      // why no more bytes are taken; guarded by mu
	closed bool       // guarded by mu
}

func (w *writer) usable() error {
	switch {
	case w.closed:
		return errClosed
	case w.err != nil:
		return w.err
	}
	w.err = w.ctx.Err()
	return w.err
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return 0, wrap("write", w.key, err)
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func (w *writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return wrap("sync", w.key, err)
	}
	if w.b.opts.WholeOnly {
		return wrap("sync", w.key, errors.ErrUnsupported)
	}
	if err := w.publish(false); err != nil {
		w.err = err
		return wrap("sync", w.key, err)
	}
	return nil
}

func (w *writer) Commit() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.usable(); err != nil {
		return wrap("commit", w.key, err)
	}
	if err := w.publish(true); err != nil {
		w.err = err
		return wrap("commit", w.key, err)
	}
	w.closed = true
	return nil
}

// publish shows buf under the key. The caller holds w.mu.
func (w *writer) publish(whole bool) error {
	b := w.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if w.object == nil {
		if b.objects[w.key] != nil {
			return fs.ErrExist
		}
		w.object = &object{writer: w}
		b.objects[w.key] = w.object
	}
	if b.objects[w.key] != w.object {
		b.violate("write %s: it was deleted meanwhile", w.key)
		return fs.ErrNotExist
	}
	w.object.data = slices.Clip(w.buf)
	w.object.modTime = time.Now()
	if whole {
		w.object.whole, w.object.writer = true, nil
	}
	return nil
}

func (w *writer) Abort() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil
	}
	w.closed, w.buf = true, nil
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if w.object != nil {
		w.object.writer = nil
	}
	return nil
}
