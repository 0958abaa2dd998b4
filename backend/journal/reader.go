package journal

import (
	"context"
	"errors"
	"io"
	"io/fs"

	"github.com/cairn-store/cairn/backend"
)

// NewReader implements backend.Streamer. If the object is sent meanwhile, the
// rest is read from the far backend.
func (b *Backend) NewReader(ctx context.Context, key string, off, n int64) io.ReadCloser {
	return &reader{b: b, ctx: ctx, key: key, off: off, end: off + n}
}

type reader struct {
	b        *Backend
	ctx      context.Context
	key      string
	off, end int64         // the range that was not read yet
	far      io.ReadCloser // of that range, once the object is not near
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
