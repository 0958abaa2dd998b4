package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/cairn-store/cairn/backend"
)

// A waitFS is the file system of Pebble. It hides errors from Pebble after which
// Pebble cannot continue.
//
// If a write fails because the volume is full, it waits and tries again until
// there is space. Meanwhile changes of the database are refused with ErrNoSpace.
//
// A failed sync is never repeated: the kernel may have dropped the pages that it
// could not write, so that the next sync would succeed without them. The file
// system has failed then. That sync, and every later change of a file, blocks
// until detach. Changes of the database are refused with ErrSync. Reads
// continue.
//
// detach ends all waiting: from then on changes of files succeed without
// touching the disk, so that Pebble can close.
//
// A waitFS does not preallocate: a store uses no more space than it needs.
type waitFS struct {
	vfs.FS
	log      *slog.Logger
	onFailed func(error) // called once, if not nil

	mu       sync.Mutex
	opening  bool          // guarded by mu; Pebble is opening and handles errors itself
	closing  bool          // guarded by mu; Close was called, so nothing needs to wait
	waits    int           // guarded by mu; writes that wait for space
	isFull   chan struct{} // guarded by mu; closed while a write waits
	err      error         // guarded by mu; why the file system has failed, or nil
	refused  error         // guarded by mu; why changes of the database are refused from the start, or nil
	locks    []*dirLock    // guarded by mu
	failed   chan struct{} // closed when err is set
	detached chan struct{} // closed by detach
	instead  *vfs.MemFS    // holds the files created after detach
}

const retryFull = 200 * time.Millisecond

func newWaitFS(inner vfs.FS, log *slog.Logger, onFailed func(error)) *waitFS {
	return &waitFS{FS: inner, log: log, onFailed: onFailed, opening: true, isFull: make(chan struct{}),
		failed: make(chan struct{}), detached: make(chan struct{}), instead: vfs.NewMem()}
}

// fullSignal returns a channel that is closed while a write waits for space.
func (w *waitFS) fullSignal() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.isFull
}

// changeError returns nil, or the reason why nothing can be changed now.
func (w *waitFS) changeError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return w.err
	case w.refused != nil:
		return w.refused
	case w.waits > 0 || w.isDetached():
		return ErrNoSpace
	}
	return nil
}

// refuseChanges makes changes of the database fail with err.
func (w *waitFS) refuseChanges(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.refused = err
}

// endOpening says that Pebble is open. It handles no errors of changes from now
// on.
func (w *waitFS) endOpening() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opening = false
}

// beginClosing says that Close was called. Writes that cannot finish are given
// up.
func (w *waitFS) beginClosing() {
	w.mu.Lock()
	w.closing = true
	w.mu.Unlock()
	if w.changeError() != nil {
		w.detach()
	}
}

func (w *waitFS) isDetached() bool {
	select {
	case <-w.detached:
		return true
	default:
		return false
	}
}

func (w *waitFS) detach() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.isDetached() {
		close(w.detached)
	}
}

// unlockDirs releases the locks of directories.
func (w *waitFS) unlockDirs() error {
	w.mu.Lock()
	locks := w.locks
	w.mu.Unlock()
	var errs []error
	for _, l := range locks {
		errs = append(errs, l.Close())
	}
	return errors.Join(errs...)
}

// setFailed makes the file system fail for the reason err.
func (w *waitFS) setFailed(what string, err error) {
	w.mu.Lock()
	first, closing, opening := w.err == nil, w.closing, w.opening
	if first {
		w.err = fmt.Errorf("%w: %s: %w", ErrSync, what, err)
		close(w.failed)
	}
	reason := w.err
	w.mu.Unlock()
	if closing {
		w.detach()
	}
	if !first || opening {
		return
	}
	w.log.Error("the metadata database takes no more changes until it is opened anew", "err", reason)
	if w.onFailed != nil {
		w.onFailed(reason)
	}
}

// mayChange returns true, or false once changes must not touch the disk. It
// blocks while the file system has failed and is not detached.
func (w *waitFS) mayChange() bool {
	select {
	case <-w.detached:
		return false
	case <-w.failed:
		<-w.detached
		return false
	default:
		return true
	}
}

// retryWhileFull runs op, which changes a file, and repeats it while the volume
// is full. done is false if op was not done because of detach.
func (w *waitFS) retryWhileFull(op func() error) (done bool, err error) {
	waits := false
	for w.mayChange() {
		if err = op(); !noSpace(err) {
			done = true
			break
		}
		if !waits {
			waits = true
			w.beginWait(err)
		}
		select {
		case <-time.After(retryFull):
		case <-w.detached:
		case <-w.failed:
		}
	}
	if waits {
		w.endWait()
	}
	if !done {
		return false, nil
	}
	return true, err
}

// beginWait counts a write that waits for space.
func (w *waitFS) beginWait(err error) {
	w.mu.Lock()
	if w.waits++; w.waits == 1 {
		close(w.isFull)
		w.log.Error("no space left for the metadata database: writes wait until there is", "err", err)
	}
	closing := w.closing
	w.mu.Unlock()
	if closing {
		w.detach()
	}
}

func (w *waitFS) endWait() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waits--; w.waits == 0 && !w.isDetached() {
		w.isFull = make(chan struct{})
		w.log.Info("there is space for the metadata database again")
	}
}

// changeFile is retryWhileFull for operations whose errors Pebble cannot handle
// unless it is opening.
func (w *waitFS) changeFile(what string, op func() error) (done bool, err error) {
	done, err = w.retryWhileFull(op)
	w.mu.Lock()
	opening := w.opening
	w.mu.Unlock()
	if err == nil || opening {
		return done, err
	}
	w.setFailed(what, err)
	<-w.detached
	return false, nil
}

// syncOnce runs op, a sync or another call that reports whether data is on the
// disk. If op fails, it blocks until detach.
func (w *waitFS) syncOnce(what string, op func() error) error {
	if !w.mayChange() {
		return nil
	}
	if err := op(); err != nil {
		w.setFailed(what, err)
		<-w.detached
	}
	return nil
}

// writeError returns nil, or the reason why a successful write of Pebble may not
// be on the disk.
func (w *waitFS) writeError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && w.isDetached() {
		return ErrNoSpace
	}
	return w.err
}

func noSpace(err error) bool {
	return err != nil && (isNoSpace(err) || errors.Is(err, backend.ErrNoSpace))
}

// openForWriting opens a file for writing.
func (w *waitFS) openForWriting(name string, open func() (vfs.File, error)) (vfs.File, error) {
	var f vfs.File
	done, err := w.changeFile("open "+name, func() (err error) {
		f, err = open()
		return err
	})
	if err != nil {
		return nil, err
	}
	if !done {
		if err := w.instead.MkdirAll(w.instead.PathDir(name), 0o700); err != nil {
			return nil, err
		}
		return w.instead.Create(name, vfs.WriteCategoryUnspecified)
	}
	return &waitFile{f, w, name}, nil
}

func (w *waitFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return w.openForWriting(name, func() (vfs.File, error) { return w.FS.Create(name, c) })
}

func (w *waitFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return w.openForWriting(name, func() (vfs.File, error) { return w.FS.OpenReadWrite(name, c, opts...) })
}

func (w *waitFS) ReuseForWrite(from, to string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return w.openForWriting(to, func() (vfs.File, error) { return w.FS.ReuseForWrite(from, to, c) })
}

func (w *waitFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	if w.isDetached() {
		if f, err := w.instead.Open(name, opts...); err == nil {
			return f, nil
		}
	}
	return w.FS.Open(name, opts...)
}

func (w *waitFS) OpenDir(name string) (vfs.File, error) {
	f, err := w.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &waitFile{f, w, name}, nil
}

func (w *waitFS) Rename(from, to string) error {
	done, err := w.changeFile("rename "+from, func() error { return w.FS.Rename(from, to) })
	if !done && err == nil {
		w.instead.Rename(from, to) // if it exists there
	}
	return err
}

func (w *waitFS) Link(from, to string) error {
	_, err := w.changeFile("link "+from, func() error { return w.FS.Link(from, to) })
	return err
}

func (w *waitFS) MkdirAll(dir string, perm os.FileMode) error {
	_, err := w.changeFile("make "+dir, func() error { return w.FS.MkdirAll(dir, perm) })
	return err
}

// Pebble continues after a failed Remove, since it no longer needs the file.
func (w *waitFS) Remove(name string) error {
	_, err := w.retryWhileFull(func() error { return w.FS.Remove(name) })
	return err
}

func (w *waitFS) RemoveAll(name string) error {
	_, err := w.retryWhileFull(func() error { return w.FS.RemoveAll(name) })
	return err
}

func (w *waitFS) Lock(name string) (io.Closer, error) {
	c, err := w.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	l := &dirLock{c: c}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.locks = append(w.locks, l)
	return l, nil
}

func (w *waitFS) Unwrap() vfs.FS { return w.FS }

// A dirLock is released once, by Pebble or by unlockDirs.
type dirLock struct {
	c    io.Closer
	once sync.Once
}

func (l *dirLock) Close() (err error) {
	l.once.Do(func() { err = l.c.Close() })
	return err
}

type waitFile struct {
	vfs.File
	w    *waitFS
	name string
}

func (f *waitFile) Write(p []byte) (n int, err error) {
	done, err := f.w.changeFile("write "+f.name, func() error {
		m, err := f.File.Write(p[n:])
		n += m
		return err
	})
	if !done && err == nil {
		n = len(p)
	}
	return n, err
}

func (f *waitFile) WriteAt(p []byte, off int64) (n int, err error) {
	done, err := f.w.changeFile("write "+f.name, func() error {
		m, err := f.File.WriteAt(p[n:], off+int64(n))
		n += m
		return err
	})
	if !done && err == nil {
		n = len(p)
	}
	return n, err
}

// Close may be the call that reports a failed write.
func (f *waitFile) Close() error {
	err := f.File.Close()
	return f.w.syncOnce("close "+f.name, func() error { return err })
}

func (f *waitFile) Preallocate(offset, length int64) error { return nil }

func (f *waitFile) Sync() error     { return f.w.syncOnce("sync "+f.name, f.File.Sync) }
func (f *waitFile) SyncData() error { return f.w.syncOnce("sync "+f.name, f.File.SyncData) }

func (f *waitFile) SyncTo(length int64) (full bool, err error) {
	err = f.w.syncOnce("sync "+f.name, func() (err error) {
		full, err = f.File.SyncTo(length)
		return err
	})
	return full, err
}

// isLocked reports whether err is that of Pebble's lock, which has no error
// value.
func isLocked(err error) bool {
	s := err.Error()
	return strings.Contains(s, "resource temporarily unavailable") || strings.Contains(s, heldHere) ||
		strings.Contains(s, "being used by another process") || strings.Contains(s, "permission denied (os error 13)")
}

const heldHere = "lock held by current process"

// lockedError is the ErrLocked for an error of Pebble's lock.
func lockedError(err error) error {
	if strings.Contains(err.Error(), heldHere) {
		return fmt.Errorf("%w (%w)", ErrLockedHere, err)
	}
	return fmt.Errorf("%w (%w)", ErrLocked, err)
}
