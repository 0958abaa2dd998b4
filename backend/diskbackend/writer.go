package diskbackend

import (
	"crypto/rand"
	"errors"
	"path"
	"strings"
	"sync"

	"github.com/cairn-store/cairn/backend"
)

// Temporary names begin with a dot, as no key's element does.
const tempPrefix = ".new-"

func newTemp() string { return tempPrefix + strings.ToLower(rand.Text()) }

// isTemp reports whether newTemp may have made base. Files of others are left
// alone.
func isTemp(base string) bool {
	s, ok := strings.CutPrefix(base, tempPrefix)
	return ok && len(s) == 26 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz234567") == ""
}

// A writer writes one object's file.
type writer struct {
	b    *Backend
	key  string
	temp string // the file's name until it is published
	file File

	// syncing is held by Sync, Commit and close, one at a time, so that the
	// file is published once. It guards published.
	syncing   sync.Mutex
	published bool

	// mu guards life. It is never held during a call of the file system.
	mu   sync.Mutex
	life backend.Lifetime
}

// runStep runs one step, unless an earlier one has failed. Its error is that of
// all later steps.
func (w *writer) runStep(op string, step func() error) error {
	w.mu.Lock()
	err := w.life.Check()
	w.mu.Unlock()
	if err == nil {
		if err = step(); err == nil {
			return nil
		}
		w.mu.Lock()
		w.life.Fail(err)
		w.mu.Unlock()
	}
	return wrapError(op, w.key, err)
}

func (w *writer) Write(p []byte) (n int, err error) {
	err = w.runStep("write", func() (err error) {
		if err = w.b.space.takeSpace(int64(len(p))); err == nil {
			n, err = w.file.Write(p)
		}
		return err
	})
	return n, err
}

func (w *writer) Sync() error { return w.runStep("sync", w.syncFile) }

func (w *writer) syncFile() error {
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
	err := b.checkVacant(w.key)
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
	err := w.runStep("commit", func() error {
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
		return wrapError("commit", w.key, err)
	}
	return nil
}

func (w *writer) Abort() error {
	err := w.close()
	if errors.Is(err, backend.ErrClosed) {
		return nil
	}
	if err != nil {
		return wrapError("abort", w.key, err)
	}
	return nil
}

// close closes the file and lets go of the key. A file that was not published is
// removed.
func (w *writer) close() error {
	w.syncing.Lock()
	defer w.syncing.Unlock()
	w.mu.Lock()
	open := w.life.Close()
	w.mu.Unlock()
	if !open {
		return backend.ErrClosed
	}
	defer w.b.setBegun(w.temp, false)
	err := w.file.Close()
	if !w.published {
		return errors.Join(err, w.b.fs.Remove(w.temp))
	}
	w.b.mu.Lock()
	delete(w.b.writing, w.key)
	w.b.mu.Unlock()
	return err
}
