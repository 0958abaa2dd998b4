package diskbackend

import (
	"context"
	"crypto/rand"
	"errors"
	"path"
	"strings"
	"sync"
)

// Temporary names begin with a dot, as no key's element does.
const tempPrefix = ".new-"

func newTemp() string { return tempPrefix + strings.ToLower(rand.Text()) }

// isTemp reports whether base is of newTemp's making: others' files are left
// alone.
func isTemp(base string) bool {
	s, ok := strings.CutPrefix(base, tempPrefix)
	return ok && len(s) == 26 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// A writer writes one object's file.
type writer struct {
	b    *Backend
	ctx  context.Context // of Create or Append: it bounds the Writer's life
	key  string
	temp string // the file's name until it is published
	file File

	syncing   sync.Mutex // one Sync at a time
	published bool       // guarded by syncing

	mu     sync.Mutex
	err    error // why no more bytes are taken; guarded by mu
	closed bool  // guarded by mu
}

// do runs one step, and keeps its error for the steps to come.
func (w *writer) do(op string, step func() error) error {
	w.mu.Lock()
	err, closed := w.err, w.closed
	w.mu.Unlock()
	if closed {
		return wrap(op, w.key, errClosed)
	}
	if err == nil {
		err = w.ctx.Err()
	}
	if err == nil {
		err = step()
	}
	if err == nil {
		return nil
	}
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	return wrap(op, w.key, err)
}

func (w *writer) Write(p []byte) (n int, err error) {
	err = w.do("write", func() (err error) {
		if err = w.b.space.pass(int64(len(p))); err == nil {
			n, err = w.file.Write(p)
		}
		return err
	})
	return n, err
}

func (w *writer) Sync() error { return w.do("sync", w.sync) }

func (w *writer) sync() error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	if err := w.file.Sync(); err != nil || w.published {
		return err
	}
	return w.publish()
}

// publish gives the file its name. The caller holds w.syncing.
func (w *writer) publish() error {
	b := w.b
	b.mu.Lock()
	// rename would replace the object of another Writer.
	err := b.vacant(w.key)
	if err == nil {
		err = b.fs.Rename(w.temp, w.key)
	}
	if err == nil {
		w.published = true
		b.writing[w.key] = true
	}
	b.mu.Unlock()
	if err != nil {
		return err
	}
	return b.syncDirs(path.Dir(w.key))
}

func (w *writer) Commit() error {
	err := w.do("commit", func() error {
		w.syncing.Lock()
		defer w.syncing.Unlock()
		// The bytes are durable before the seal is, or else a crash
		// could leave a sealed file that lacks some.
		for _, step := range []func() error{w.file.Sync, w.file.Seal, w.file.Sync} {
			if err := step(); err != nil {
				return err
			}
		}
		if w.published {
			return nil
		}
		return w.publish()
	})
	if err != nil {
		return err
	}
	if err := w.close(); err != nil {
		return wrap("commit", w.key, err)
	}
	return nil
}

func (w *writer) Abort() error {
	err := w.close()
	if errors.Is(err, errClosed) {
		return nil
	}
	if err != nil {
		return wrap("abort", w.key, err)
	}
	return nil
}

// close ends the Writer's hold on the file and the key. What has no name yet
// goes.
func (w *writer) close() error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	closed := w.closed
	w.closed = true
	w.mu.Unlock()
	if closed {
		return errClosed
	}
	err := w.file.Close()
	if !w.published {
		return errors.Join(err, w.b.fs.Remove(w.temp))
	}
	w.b.mu.Lock()
	delete(w.b.writing, w.key)
	w.b.mu.Unlock()
	return err
}
