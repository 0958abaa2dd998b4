package backendtest

import (
	"context"
	"errors"
	"io"
	"iter"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/cairn-store/cairn/backend"
)

// ErrInjected is what a fault fails with if its Rule names no error.
var ErrInjected = errors.New("injected fault")

// An Op is a kind of call that a Rule applies to.
type Op string

const (
	OpCreate Op = "create"
	OpAppend Op = "append"
	OpWrite  Op = "write"
	OpSync   Op = "sync"
	OpCommit Op = "commit"
	OpRead   Op = "read"
	OpStat   Op = "stat"
	OpDelete Op = "delete"
	OpList   Op = "list" // its key is the prefix
)

// A Mode says what a Rule does to a call that it strikes.
type Mode int

const (
	// Fail does nothing and returns the error.
	Fail Mode = iota
	// FailAfter makes the call, and returns the error all the same.
	FailAfter
	// Short does half: a write stores half its bytes, a read fills half of
	// its slice and returns io.ErrUnexpectedEOF, a list yields one object;
	// other calls do nothing. Then it returns the error.
	Short
	// NoSpace is Short with backend.ErrNoSpace.
	NoSpace
	// Slow waits for Delay, or until the context is done, and goes on.
	Slow
)

// A Rule is one line of a script.
type Rule struct {
	Op     Op
	Key    string // a path.Match pattern or a prefix of the key; "" is any
	Nth    int    // the first matching call that is struck; 0 and 1 are the first
	Onward bool   // all later matching calls are struck too
	Mode   Mode
	Delay  time.Duration // of Slow
	Err    error         // nil is ErrInjected
}

func (r *Rule) matches(op Op, key string) bool {
	if r.Op != op {
		return false
	}
	ok, _ := path.Match(r.Key, key) // a malformed pattern may still be a prefix
	return ok || strings.HasPrefix(key, r.Key)
}

func (r *Rule) injectedError() error {
	switch {
	case r.Err != nil:
		return r.Err
	case r.Mode == NoSpace:
		return backend.ErrNoSpace
	}
	return ErrInjected
}

// A FaultyBackend passes calls on and fails some of them.
type FaultyBackend struct {
	b backend.Backend

	mu    sync.Mutex
	rules []*ruleState // guarded by mu
}

type ruleState struct {
	Rule
	seen, fired int
}

var _ backend.Backend = (*FaultyBackend)(nil)

// Faulty returns b with the faults of a script. Each rule counts the calls that
// match it. Of several rules that strike one call, all Slow ones take effect and
// the first of the others.
func Faulty(b backend.Backend, script ...Rule) *FaultyBackend {
	f := &FaultyBackend{b: b}
	f.Add(script...)
	return f
}

// Add appends rules to the script; they count calls from now on.
func (f *FaultyBackend) Add(script ...Rule) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, r := range script {
		f.rules = append(f.rules, &ruleState{Rule: r})
	}
}

// Reset ends the script: no call fails any more.
func (f *FaultyBackend) Reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.rules = nil
}

// Fired returns how many calls rule i, counted from 0 in the order of Faulty
// and Add, has struck.
func (f *FaultyBackend) Fired(i int) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.rules[i].fired
}

// strike counts a call. It waits as long as the Slow rules say, and returns the
// rule that fails the call, nil if none does.
func (f *FaultyBackend) strike(ctx context.Context, op Op, key string) *Rule {
	var hit *Rule
	var delay time.Duration
	f.mu.Lock()
	for _, r := range f.rules {
		if !r.matches(op, key) {
			continue
		}
		r.seen++
		switch first := max(r.Nth, 1); {
		case r.seen < first || r.seen > first && !r.Onward:
		case r.Mode == Slow:
			r.fired++
			delay += r.Delay
		case hit == nil:
			r.fired++
			hit = &r.Rule
		}
	}
	f.mu.Unlock()
	if delay > 0 {
		t := time.NewTimer(delay)
		defer t.Stop()
		select {
		case <-t.C:
		case <-ctx.Done():
		}
	}
	return hit
}

// runCall makes a call with the faults that the script has for it.
func (f *FaultyBackend) runCall(ctx context.Context, op Op, key string, call func() error) error {
	r := f.strike(ctx, op, key)
	if r == nil {
		return call()
	}
	if r.Mode == FailAfter {
		if err := call(); err != nil {
			return err
		}
	}
	return r.injectedError()
}

// Create implements backend.Backend. FailAfter begins an object and aborts it.
func (f *FaultyBackend) Create(ctx context.Context, key string) (backend.Writer, error) {
	var w backend.Writer
	err := f.runCall(ctx, OpCreate, key, func() (err error) {
		w, err = f.b.Create(ctx, key)
		return err
	})
	return f.wrapWriter(ctx, key, w, err)
}

// Append implements backend.Backend.
func (f *FaultyBackend) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	var w backend.Writer
	var size int64
	err := f.runCall(ctx, OpAppend, key, func() (err error) {
		w, size, err = f.b.Append(ctx, key)
		return err
	})
	w, err = f.wrapWriter(ctx, key, w, err)
	return w, size, err
}

// wrapWriter returns w with the faults of the script. If its Create or Append
// was made to fail, it aborts w.
func (f *FaultyBackend) wrapWriter(ctx context.Context, key string, w backend.Writer, err error) (backend.Writer, error) {
	if err == nil {
		return &faultyWriter{f: f, ctx: ctx, key: key, w: w}, nil
	}
	if w != nil {
		err = errors.Join(err, w.Abort())
	}
	return nil, err
}

// ReadAt implements backend.Backend.
func (f *FaultyBackend) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	r := f.strike(ctx, OpRead, key)
	switch {
	case r == nil:
		return f.b.ReadAt(ctx, key, p, off)
	case r.Mode == FailAfter, r.Mode == Short:
		half := p
		if r.Mode == Short {
			half = p[:len(p)/2]
		}
		if err := f.b.ReadAt(ctx, key, half, off); err != nil {
			return err
		}
	}
	if r.Mode == Short && r.Err == nil {
		return io.ErrUnexpectedEOF
	}
	return r.injectedError()
}

// Stat implements backend.Backend.
func (f *FaultyBackend) Stat(ctx context.Context, key string) (info backend.Info, err error) {
	err = f.runCall(ctx, OpStat, key, func() (err error) {
		info, err = f.b.Stat(ctx, key)
		return err
	})
	return info, err
}

// Delete implements backend.Backend.
func (f *FaultyBackend) Delete(ctx context.Context, key string) error {
	return f.runCall(ctx, OpDelete, key, func() error { return f.b.Delete(ctx, key) })
}

// List implements backend.Backend.
func (f *FaultyBackend) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		r := f.strike(ctx, OpList, prefix)
		if r == nil || r.Mode != Fail {
			for info, err := range f.b.List(ctx, prefix) {
				if !yield(info, err) || err != nil {
					return
				}
				if r != nil && r.Mode != FailAfter {
					break
				}
			}
		}
		if r != nil {
			yield(backend.Info{}, r.injectedError())
		}
	}
}

// A faultyWriter refuses everything but Abort after an error, also when the
// Writer below would not.
type faultyWriter struct {
	f   *FaultyBackend
	ctx context.Context // of Create or Append: ends the waiting of Slow
	key string
	w   backend.Writer

	mu  sync.Mutex
	err error // guarded by mu
}

// unlessFailed makes a call, unless an earlier one has failed. That a backend has
// no Sync is no failure.
func (w *faultyWriter) unlessFailed(op Op, call func() error) error {
	w.mu.Lock()
	err := w.err
	w.mu.Unlock()
	if err != nil {
		return err
	}
	if err = call(); err == nil || op == OpSync && errors.Is(err, errors.ErrUnsupported) {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
	return err
}

func (w *faultyWriter) Write(p []byte) (n int, err error) {
	err = w.unlessFailed(OpWrite, func() (err error) {
		r := w.f.strike(w.ctx, OpWrite, w.key)
		switch {
		case r == nil:
			n, err = w.w.Write(p)
			return err
		case r.Mode == FailAfter:
			n, err = w.w.Write(p)
		case r.Mode == Short || r.Mode == NoSpace:
			n, err = w.w.Write(p[:len(p)/2])
		}
		if err != nil {
			return err
		}
		return r.injectedError()
	})
	return n, err
}

func (w *faultyWriter) Sync() error {
	return w.unlessFailed(OpSync, func() error { return w.f.runCall(w.ctx, OpSync, w.key, w.w.Sync) })
}

func (w *faultyWriter) Commit() error {
	return w.unlessFailed(OpCommit, func() error { return w.f.runCall(w.ctx, OpCommit, w.key, w.w.Commit) })
}

func (w *faultyWriter) Abort() error { return w.w.Abort() }

// Flip returns b with one byte of an object inverted when it is read, as by a
// failing disk. off counts bytes from the object's start.
func Flip(b backend.Backend, key string, off int64) backend.Backend {
	return &flipped{b, key, off}
}

type flipped struct {
	backend.Backend
	key string
	off int64
}

func (f *flipped) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	err := f.Backend.ReadAt(ctx, key, p, off)
	if i := f.off - off; err == nil && key == f.key && 0 <= i && i < int64(len(p)) {
		p[i] ^= 0xff
	}
	return err
}
