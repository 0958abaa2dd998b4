package membackend

import (
	"errors"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/cairn-store/cairn/backend"
)

var errBusy = errors.New("another Writer is at work")

// A writer collects bytes and shows them to readers at each Sync.
type writer struct {
	b   *Backend
	key string

	// mu guards what follows. It is locked before Backend.mu.
	mu     sync.Mutex
	life   backend.Lifetime
	buf    []byte  // only appended to
	object *object // nil before the first Sync
}

func (w *writer) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.life.Check(); err != nil {
		return 0, wrapError("write", w.key, err)
	}
	w.buf = append(w.buf, p...)
	return len(p), nil
}

func (w *writer) Sync() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.life.Check(); err != nil {
		return wrapError("sync", w.key, err)
	}
	if w.b.opts.WholeOnly {
		return wrapError("sync", w.key, errors.ErrUnsupported)
	}
	if err := w.life.Fail(w.publish(false)); err != nil {
		return wrapError("sync", w.key, err)
	}
	return nil
}

func (w *writer) Commit() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.life.Check(); err != nil {
		return wrapError("commit", w.key, err)
	}
	if err := w.life.Fail(w.publish(true)); err != nil {
		return wrapError("commit", w.key, err)
	}
	w.life.Close()
	return nil
}

// publish makes buf readable under the key. The caller holds w.mu.
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
		b.recordViolation("write %s: it was deleted meanwhile", w.key)
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
	if !w.life.Close() {
		return nil
	}
	w.buf = nil
	w.b.mu.Lock()
	defer w.b.mu.Unlock()
	if w.object != nil {
		w.object.writer = nil
	}
	return nil
}
