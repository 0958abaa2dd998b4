package cas

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
)

// ErrClosed is the error of every call on a Store, or on what keeps its index, that
// comes after Close, or that Close has ended.
var ErrClosed = errors.New("store is closed")

// A Lifetime lets something be closed while it is used. Calls are counted from Enter to
// Leave, and Close waits for those under way before it takes away what they use. What
// stays open between two calls, such as an iterator whose user may never come back, is
// held: Close closes it, and waits for nobody. So nothing that calls foreign code may be
// counted, since that may never return, or be what calls Close.
type Lifetime struct {
	ctx    context.Context // done, with ErrClosed as its cause, when Close begins
	cancel context.CancelCauseFunc

	calls   atomic.Int64
	left    chan struct{} // holds a token if calls may have become 0 since Close has begun
	closing atomic.Bool

	mu   sync.Mutex // guards held
	held map[*held]struct{}

	over chan struct{} // closed when Close is done
	err  error         // of Close; valid once over is closed
}

type held struct{ close func() }

// NewLifetime returns the Lifetime of something that was just opened.
func NewLifetime() *Lifetime {
	l := &Lifetime{left: make(chan struct{}, 1), held: make(map[*held]struct{}), over: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

// Err returns ErrClosed once Close has begun.
func (l *Lifetime) Err() error {
	if l.closing.Load() {
		return ErrClosed
	}
	return nil
}

// Enter begins a call, which Leave ends. Once Close has begun it returns ErrClosed, and
// begins nothing. It never waits, so a call may begin others.
func (l *Lifetime) Enter() error {
	l.calls.Add(1)
	if l.closing.Load() {
		l.Leave()
		return ErrClosed
	}
	return nil
}

// Leave ends a call.
func (l *Lifetime) Leave() {
	if l.calls.Add(-1) == 0 && l.closing.Load() {
		select {
		case l.left <- struct{}{}:
		default:
		}
	}
}

// Context returns a context that is also done when Close begins, and stop, which gives
// it up. A call that waits for long uses it; Explain says why it has ended.
func (l *Lifetime) Context(ctx context.Context) (_ context.Context, stop func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	end := context.AfterFunc(l.ctx, func() { cancel(ErrClosed) })
	return ctx, func() {
		end()
		cancel(nil)
	}
}

// Explain returns err, and ErrClosed with it if err says that a context has ended and
// Close has begun.
func (l *Lifetime) Explain(err error) error {
	if err == nil || !l.closing.Load() || errors.Is(err, ErrClosed) || !errors.Is(err, context.Canceled) {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrClosed, err)
}

// Hold keeps something open until release or Close calls closes, once. Whoever uses it
// enters before, so that it is not closed meanwhile. Hold is called within a call.
func (l *Lifetime) Hold(closes func()) (release func()) {
	h := &held{closes}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held[h] = struct{}{}
	return func() {
		l.mu.Lock()
		_, ok := l.held[h]
		delete(l.held, h)
		if ok {
			l.calls.Add(1) // also once Close has begun, which then waits for it
		}
		l.mu.Unlock()
		if ok {
			defer l.Leave()
			h.close()
		}
	}
}

// Close refuses further calls, ends contexts, waits for the calls under way, closes what
// is held, and calls closes. All calls of Close return when the first has done so, with
// its error.
func (l *Lifetime) Close(closes func() error) error {
	if !l.closing.CompareAndSwap(false, true) {
		<-l.over
		return l.err
	}
	defer close(l.over) // even if closes panics
	l.cancel(ErrClosed)
	l.awaitCalls()
	l.mu.Lock()
	all := l.held
	l.held = nil // from now on nobody else closes them
	l.mu.Unlock()
	l.awaitCalls() // of release
	for h := range all {
		h.close()
	}
	l.err = closes()
	return l.err
}

// awaitCalls returns when no call is under way.
func (l *Lifetime) awaitCalls() {
	for l.calls.Load() > 0 {
		<-l.left
	}
}
