package backend

import (
	"context"
	"io"
)

// A Streamer is a Backend that yields the bytes of a range as they arrive.
type Streamer interface {
	Backend

	// NewReader returns a reader of n bytes of the object, at least one, from
	// off on. It makes no request before the first Read, and one for all
	// bytes if nothing fails. Its errors are those of ReadAt, after the bytes
	// that lie before them. A reader is for one goroutine at a time; Close
	// ends its request.
	NewReader(ctx context.Context, key string, off, n int64) io.ReadCloser
}

// NewReader returns a reader of any Backend as a Streamer does. Of one that is no
// Streamer, all n bytes are read into memory by one ReadAt.
func NewReader(ctx context.Context, b Backend, key string, off, n int64) io.ReadCloser {
	if s, ok := b.(Streamer); ok {
		return s.NewReader(ctx, key, off, n)
	}
	return &wholeReader{ctx: ctx, b: b, key: key, off: off, n: n}
}

// A wholeReader reads all its bytes at the first Read.
type wholeReader struct {
	ctx    context.Context
	b      Backend
	key    string
	off, n int64
	rest   []byte // nil before the first Read
}

func (r *wholeReader) Read(p []byte) (int, error) {
	if r.rest == nil {
		buf := make([]byte, r.n)
		if err := r.b.ReadAt(r.ctx, r.key, buf, r.off); err != nil {
			return 0, err
		}
		r.rest = buf
	}
	if len(r.rest) == 0 {
		return 0, io.EOF
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *wholeReader) Close() error { return nil }
