package backend

import (
	"context"
	"errors"
	"io/fs"
)

// CheckKey is what a driver's methods begin with: it returns fs.ErrInvalid for
// a key that no Backend takes, and else the error of ctx.
func CheckKey(ctx context.Context, key string) error {
	if !ValidKey(key) {
		return fs.ErrInvalid
	}
	return ctx.Err()
}

// ErrClosed is the error of a driver's Writer that was committed or aborted.
var ErrClosed = errors.New("the Writer was committed or aborted")

// A Lifetime is the part of a driver's Writer that decides whether the Writer
// takes more bytes: no longer after its first error, after Close, or once Ctx
// is done. It has no lock of its own; the Writer's guards it.
type Lifetime struct {
	Ctx    context.Context // of Create or Append
	err    error
	closed bool
}

// Check returns why the Writer takes no more bytes, nil if it does.
func (l *Lifetime) Check() error {
	switch {
	case l.closed:
		return ErrClosed
	case l.err != nil:
		return l.err
	}
	return l.Fail(l.Ctx.Err())
}

// Fail keeps err for the calls to come, if it is the first, and returns it.
func (l *Lifetime) Fail(err error) error {
	if l.err == nil {
		l.err = err
	}
	return err
}

// Close ends the Writer. It reports whether the Writer was still open.
func (l *Lifetime) Close() bool {
	open := !l.closed
	l.closed = true
	return open
}
