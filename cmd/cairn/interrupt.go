package main

import (
	"context"
	"io"
	"os"
)

// openUntil is os.OpenFile that ends with ctx. To open a FIFO waits for somebody
// at its other end, which no signal ends.
func openUntil(ctx context.Context, name string, flag int) (*os.File, error) {
	type opened struct {
		f   *os.File
		err error
	}
	done := make(chan opened, 1)
	go func() {
		f, err := os.OpenFile(name, flag, 0)
		done <- opened{f, err}
	}()
	select {
	case o := <-done:
		return o.f, o.err
	case <-ctx.Done():
		go func() {
			if o := <-done; o.err == nil {
				o.f.Close()
			}
		}()
		return nil, ctx.Err()
	}
}

// untilBuffer is how many bytes a stream that may block passes at a time.
const untilBuffer = 128 << 10

// A blockedStream reads or writes a stream that may block for ever, such as a
// terminal or a pipe, until ctx ends. The call that blocks then stays behind, with
// a buffer of its own.
type blockedStream struct {
	ctx  context.Context
	r    io.Reader // one of r and w is set
	w    io.Writer
	buf  []byte
	left []byte // of buf, read and not passed on
	err  error
}

func readUntil(ctx context.Context, r io.Reader) io.Reader {
	return &blockedStream{ctx: ctx, r: r, buf: make([]byte, untilBuffer)}
}

func writeUntil(ctx context.Context, w io.Writer) io.Writer {
	return &blockedStream{ctx: ctx, w: w, buf: make([]byte, untilBuffer)}
}

// await runs fn, which uses buf, until ctx ends.
func (s *blockedStream) await(fn func(buf []byte) (int, error)) (n int) {
	if s.err = s.ctx.Err(); s.err != nil {
		return 0
	}
	type result struct {
		n   int
		err error
	}
	buf, done := s.buf, make(chan result, 1)
	go func() {
		n, err := fn(buf)
		done <- result{n, err}
	}()
	select {
	case r := <-done:
		s.err = r.err
		return r.n
	case <-s.ctx.Done():
		s.err, s.buf = s.ctx.Err(), nil
		return 0
	}
}

func (s *blockedStream) Read(p []byte) (int, error) {
	if len(s.left) == 0 && s.err == nil && len(p) > 0 {
		s.left = s.buf[:s.await(s.r.Read)]
	}
	n := copy(p, s.left)
	if s.left = s.left[n:]; len(s.left) > 0 {
		return n, nil
	}
	return n, s.err
}

func (s *blockedStream) Write(p []byte) (n int, err error) {
	for n < len(p) && s.err == nil {
		part := copy(s.buf, p[n:])
		n += s.await(func(buf []byte) (int, error) { return s.w.Write(buf[:part]) })
	}
	return n, s.err
}
