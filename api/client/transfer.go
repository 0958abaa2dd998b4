package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// Progress is how far a Put or a Download has come, in bytes.
type Progress struct {
	Done  int64 // of the content: sent, received, or found to be there
	Size  int64 // of the content, -1 while it is not known
	Moved int64 // sent or received, repetitions included
}

const (
	firstPatience = 5 * time.Second // before the first answer of a server
	stalled       = time.Minute     // after this time without progress a request is given up
	firstPause    = 100 * time.Millisecond
	longestPause  = 5 * time.Second
	badAnswers    = 3 // attempts for errors that repetition seldom mends
)

// A transfer is one Put or Download. It keeps its progress, and since when the
// server fails.
type transfer struct {
	patience time.Duration
	tell     func(Progress)

	mu       sync.Mutex // guards the fields below; held while tell runs
	at       Progress
	answered bool      // the server has answered at least once
	failing  time.Time // since when requests fail; zero if the last one did not
}

func (c *Client) newTransfer(size int64, tell func(Progress)) *transfer {
	return &transfer{patience: c.patience, tell: tell, at: Progress{Size: size}}
}

// addProgress adds to the progress and reports it.
func (t *transfer) addProgress(done, moved int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at.Done += done
	t.at.Moved += moved
	if done > 0 {
		t.answered, t.failing = true, time.Time{}
	}
	if t.tell != nil {
		t.tell(t.at)
	}
}

// setSize sets the size of the content.
func (t *transfer) setSize(size int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.at.Size = size
}

func (t *transfer) progress() Progress {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.at
}

// noteSuccess notes that a request succeeded.
func (t *transfer) noteSuccess() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.answered, t.failing = true, time.Time{}
}

// noteFailure notes a failure and reports whether to try again.
func (t *transfer) noteFailure() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.failing.IsZero() {
		t.failing = time.Now()
	}
	limit := t.patience
	if !t.answered {
		limit = min(limit, firstPatience)
	}
	return time.Since(t.failing) < limit
}

// An attempt is a request that may be repeated. n is the number of attempts
// before. ctx ends if touch is not called for too long.
type attempt func(ctx context.Context, touch func(), n int) error

// retry repeats an attempt until it succeeds, fails with an error that
// repetition does not mend, or patience with the server ends.
func (t *transfer) retry(ctx context.Context, fn attempt) error {
	return t.retryWithin(ctx, stalled, fn)
}

func (t *transfer) retryWithin(ctx context.Context, idle time.Duration, fn attempt) error {
	bad := 0
	for n := 0; ; n++ {
		err := attemptOnce(ctx, idle, fn, n)
		if err == nil {
			t.noteSuccess()
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch classifyError(err) {
		case never:
			return err
		case perhaps:
			if bad++; bad == badAnswers {
				return err
			}
		}
		wait := retryPause(n, err)
		if !t.noteFailure() || wait > max(t.patience, longestPause) {
			return fmt.Errorf("given up: %w", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

var errStalled = errors.New("nothing moved for too long")

func attemptOnce(ctx context.Context, idle time.Duration, fn attempt, n int) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watch := time.AfterFunc(idle, func() { cancel(errStalled) })
	defer watch.Stop()
	err := fn(ctx, func() { watch.Reset(idle) }, n)
	if err != nil && errors.Is(context.Cause(ctx), errStalled) {
		return &brokenError{errStalled}
	}
	return err
}

// retryPause returns how long to wait before the next attempt: at random, so
// that many clients of a server that was restarted do not come at once, and at
// least as long as the server asks for.
func retryPause(n int, err error) time.Duration {
	d := min(firstPause<<min(n, 10), longestPause)
	d = d/2 + rand.N(d/2)
	var e *Error
	if errors.As(err, &e) && e.RetryAfter > 0 {
		d += e.RetryAfter
	}
	return d
}

// A brokenError is a request or an answer that was cut off.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// errContent reports an answer that is not valid.
var errContent = errors.New("the server's answer is wrong")

// transient is whether repeating a request may help.
type transient int

const (
	never transient = iota
	perhaps
	surely
)

func classifyError(err error) transient {
	var e *Error
	var cert *tls.CertificateVerificationError
	var broken *brokenError
	var call *url.Error
	switch {
	case errors.As(err, &e):
		switch e.Status {
		case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests, http.StatusLocked,
			http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			return surely
		case http.StatusInternalServerError:
			return perhaps
		}
		return never
	case errors.As(err, &cert):
		return never
	case errors.Is(err, errContent):
		return perhaps
	case errors.As(err, &broken), errors.As(err, &call):
		return surely
	}
	return never
}

// retryAfter reads Retry-After, which holds seconds or a date.
func retryAfter(h http.Header) time.Duration {
	v := h.Get("Retry-After")
	if n, err := strconv.Atoi(v); err == nil {
		return time.Duration(min(max(n, 0), 3600)) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return min(max(time.Until(at), 0), time.Hour)
	}
	return 0
}

// A watched reader calls read with the number of bytes of every read.
type watched struct {
	r    io.Reader
	read func(n int)
}

func (w watched) Read(p []byte) (int, error) {
	n, err := w.r.Read(p)
	if n > 0 {
		w.read(n)
	}
	return n, err
}
