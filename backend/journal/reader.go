package journal

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/cairn-store/cairn/backend"
)

// NewReader implements backend.Streamer. An object that is sent meanwhile is
// read on from where it is then.
func (b *Backend) NewReader(ctx context.Context, key string, off, n int64) io.ReadCloser {
	return &reader{b: b, ctx: ctx, key: key, off: off, end: off + n}
}

type reader struct {
	b        *Backend
	ctx      context.Context
	key      string
	off, end int64         // what is to be read yet
	far      io.ReadCloser // once it is not near
}

// Read implements io.Reader.
func (r *reader) Read(p []byte) (int, error) {
	if r.far != nil {
		return r.far.Read(p)
	}
	if r.off == r.end {
		return 0, io.EOF
	}
	p = p[:min(int64(len(p)), r.end-r.off)]
	err := r.b.near.ReadAt(r.ctx, r.key, p, r.off)
	if errors.Is(err, fs.ErrNotExist) {
		r.far = backend.NewReader(r.ctx, r.b.far, r.key, r.off, r.end-r.off)
		return r.far.Read(p)
	}
	if err != nil {
		return 0, err
	}
	r.off += int64(len(p))
	return len(p), nil
}

// Close implements io.Closer.
func (r *reader) Close() error {
	if r.far == nil {
		return nil
	}
	return r.far.Close()
}
