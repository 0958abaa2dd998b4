package pebblestore

import (
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/backend"
)

// A waitFS makes writes wait while the volume is full. Pebble cannot go on
// after a failed write to its log, and an operator who makes room expects the
// service to: so the write is tried again until there is room, and meanwhile
// everybody who wants to change something is told ErrNoSpace. Nor does it
// preallocate: a store takes the space it uses.
type waitFS struct {
	vfs.FS
	log *slog.Logger

	mu     sync.Mutex
	isFull chan struct{} // closed while a write waits, guarded by mu
	waits  int           // writes that wait, guarded by mu
	closed bool          // guarded by mu
}

const retryFull = 200 * time.Millisecond

func newWaitFS(inner vfs.FS, log *slog.Logger) *waitFS {
	return &waitFS{FS: inner, log: log, isFull: make(chan struct{})}
}

// fullSignal returns a channel that is closed while a write waits for space.
func (w *waitFS) fullSignal() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isFull
}

func (w *waitFS) full() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits > 0 {
		return ErrNoSpace
	}
	return nil
}

func (w *waitFS) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
}

// retry runs op until it does not fail for want of space.
func (w *waitFS) retry(op func() error) error {
	err := op()
	if !noSpace(err) {
		return err
	}
	w.mu.Lock()
	if w.waits++; w.waits == 1 {
		close(w.isFull)
		w.log.Error("no space left for the metadata database: writes wait until there is", "err", err)
	}
	w.mu.Unlock()
	for noSpace(err) {
		time.Sleep(retryFull)
		w.mu.Lock()
		closed := w.closed
		w.mu.Unlock()
		if err = op(); closed {
			break
		}
	}
	w.mu.Lock()
	if w.waits--; w.waits == 0 {
		w.isFull = make(chan struct{})
		w.log.Info("there is space for the metadata database again")
	}
	w.mu.Unlock()
	return err
}

func noSpace(err error) bool {
	return err != nil && (isNoSpace(err) || errors.Is(err, backend.ErrNoSpace))
}

func (w *waitFS) file(open func() (vfs.File, error)) (f vfs.File, err error) {
	err = w.retry(func() error {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &waitFile{f, w}, nil
}

func (w *waitFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return w.file(func() (vfs.File, error) { return w.FS.Create(name, c) })
}

func (w *waitFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return w.file(func() (vfs.File, error) { return w.FS.OpenReadWrite(name, c, opts...) })
}

func (w *waitFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return w.file(func() (vfs.File, error) { return w.FS.ReuseForWrite(from, to, c) })
}

func (w *waitFS) Rename(from, to string) error {
	return w.retry(func() error { return w.FS.Rename(from, to) })
}

func (w *waitFS) Link(from, to string) error {
	return w.retry(func() error { return w.FS.Link(from, to) })
}

func (w *waitFS) Unwrap() vfs.FS { return w.FS }

type waitFile struct {
	vfs.File
	w *waitFS
}

func (f *waitFile) Write(p []byte) (n int, err error) {
	err = f.w.retry(func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return err
	})
	return n, err
}

func (f *waitFile) WriteAt(p []byte, off int64) (n int, err error) {
	err = f.w.retry(func() error {
		m, err := f.File.WriteAt(p[n:], off+int64(n))
		n += m
		return err
	})
	return n, err
}

func (f *waitFile) Preallocate(offset, length int64) error { return nil }

func (f *waitFile) Sync() error     { return f.w.retry(f.File.Sync) }
func (f *waitFile) SyncData() error { return f.w.retry(f.File.SyncData) }

// isLocked tells the failure of Pebble's lock from others: it has no error of
// its own.
func isLocked(err error) bool {
	s := err.Error()
	return strings.Contains(s, "resource temporarily unavailable") || strings.Contains(s, "lock held by current process") ||
		strings.Contains(s, "being used by another process") || strings.Contains(s, "permission denied (os error 13)")
}
