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

// A waitFS keeps from Pebble what it cannot go on after.
//
// A write that fails because the volume is full waits, and is tried again
// until there is room. Meanwhile everybody who wants to change something is
// told ErrNoSpace.
//
// A sync that fails is never repeated: the kernel may have dropped the pages
// that it could not write, and the next sync would succeed without them. The
// file system has failed then. That sync, and all that would change a file
// from then on, waits for good; everybody who wants to change something is
// told ErrSync. Reads go on.
//
// detach ends all waiting: what would change a file succeeds without touching
// the disk, so that Pebble can close.
//
// Nor does it preallocate: a store takes the space it uses.
type waitFS struct {
	vfs.FS
	log      *slog.Logger
	onFailed func(error) // called once, if not nil

	mu       sync.Mutex
	opening  bool          // guarded by mu; other errors than those above are Pebble's
	closing  bool          // guarded by mu; nobody is there to wait for
	waits    int           // writes that wait for space, guarded by mu
	isFull   chan struct{} // closed while a write waits, guarded by mu
	err      error         // why the file system has failed, guarded by mu
	locks    []*dirLock    // guarded by mu
	failed   chan struct{} // closed when err is set
	detached chan struct{} // closed by detach
	instead  *vfs.MemFS    // holds what is created after that
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

// changeError returns nil, or why nothing can be changed now.
func (w *waitFS) changeError() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.err != nil:
		return w.err
	case w.waits > 0 || w.isDetached():
		return ErrNoSpace
	}
	return nil
}

// endOpening says that Pebble is open: it does not take errors any more.
func (w *waitFS) endOpening() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.opening = false
}

// beginClosing says that nobody waits any more for what cannot be written.
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

// unlockDirs gives up the lock of the directory, if it is still held.
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

// setFailed ends all changes.
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

// mayChange returns true, or false once what would change a file is to be done
// without the disk.
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

// retryWhileFull runs op, which changes a file, until there is space for it. done is
// false if it was not done and never will be.
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

// beginWait says that somebody waits for space.
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

// changeFile is try where Pebble cannot go on after an error, unless it is
// opening.
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

// syncOnce runs op, which tells whether what was written is on the disk.
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

// writeError returns nil, or why what Pebble says of its writes is not to be
// believed.
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
		w.instead.Rename(from, to) // if it was created there
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

// What Pebble removes it does not need: it can go on after an error.
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

// A dirLock is given up once, by Pebble or by unlock.
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

// Close may be what tells of a failed write.
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

// isLocked tells the failure of Pebble's lock from others: it has no error of
// its own.
func isLocked(err error) bool {
	s := err.Error()
	return strings.Contains(s, "resource temporarily unavailable") || strings.Contains(s, "lock held by current process") ||
		strings.Contains(s, "being used by another process") || strings.Contains(s, "permission denied (os error 13)")
}
