package s3backend

import (
	"context"
	"fmt"
	"io"
	"io/fs"

	"github.com/cairn-store/cairn/backend"
)

var _ backend.Streamer = (*Backend)(nil)

// NewReader implements backend.Streamer. Where an answer breaks off, another
// request asks for the rest, Attempts times in all.
func (b *Backend) NewReader(ctx context.Context, key string, off, n int64) io.ReadCloser {
	r := &reader{b: b, ctx: ctx, key: key, off: off, end: off + n, eof: io.EOF}
	if r.err = backend.CheckKey(ctx, key); r.err == nil && (off < 0 || n < 1) {
		r.err = fs.ErrInvalid
	}
	return r
}

type reader struct {
	b        *Backend
	ctx      context.Context
	key      string
	off, end int64         // the range that was not read yet
	answers  int           // requests that were answered
	body     io.ReadCloser // of the present answer, nil between two
	eof      error         // that Read returns at end
	err      error         // that Read returns from now on
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (n int, err error) {
	if r.err == nil && r.off == r.end {
		r.err = r.eof
	}
	if r.err == nil && len(p) > 0 {
		r.err = r.b.withRetries(r.ctx, func() error {
			n, err = r.readOnce(p)
			return err
		})
		r.off += int64(n)
	}
	if r.err == nil || r.err == io.EOF {
		return n, r.err
	}
	return n, wrapError("read", r.key, r.err)
}

// readOnce reads some bytes from the present answer, or from a new one.
func (r *reader) readOnce(p []byte) (n int, err error) {
	if r.body == nil {
		if r.answers == r.b.opts.Attempts {
			return 0, errBroken
		}
		var size int64
		if r.body, size, err = r.b.openRange(r.ctx, r.key, r.off, r.end-r.off); err != nil {
			return 0, err
		}
		r.answers++
		if r.off+size < r.end {
			r.end, r.eof = r.off+size, io.ErrUnexpectedEOF
		}
	}
	for n == 0 && err == nil {
		n, err = r.body.Read(p[:min(int64(len(p)), r.end-r.off)])
	}
	if n > 0 {
		return n, nil // the next Read returns the error
	}
	r.body.Close()
	r.body = nil
	return 0, fmt.Errorf("%w: %v", errShort, err)
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.err == nil {
		r.err = fs.ErrClosed
	}
	if r.body == nil {
		return nil
	}
	return r.body.Close()
}
