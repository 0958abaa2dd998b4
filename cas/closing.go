package cas

import (
	"context"
	"io"
	"iter"

	"github.com/cairn-store/cairn/backend"
)

// A closingBackend is the backend of a Store for all but appends, which the packer
// ends by itself. Once the Store is being closed, it refuses calls and ends those under
// way.
type closingBackend struct {
	backend.Backend
	life *Lifetime
}

// call makes a call of the backend.
func (b closingBackend) call(ctx context.Context, fn func(ctx context.Context) error) error {
	if err := b.life.Enter(); err != nil {
		return err
	}
	defer b.life.Leave()
	ctx, stop := b.life.Context(ctx)
	defer stop()
	return b.life.Explain(fn(ctx))
}

func (b closingBackend) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	return b.call(ctx, func(ctx context.Context) error { return b.Backend.ReadAt(ctx, key, p, off) })
}

func (b closingBackend) Stat(ctx context.Context, key string) (info backend.Info, err error) {
	err = b.call(ctx, func(ctx context.Context) (err error) {
		info, err = b.Backend.Stat(ctx, key)
		return err
	})
	return info, err
}

func (b closingBackend) Delete(ctx context.Context, key string) error {
	return b.call(ctx, func(ctx context.Context) error { return b.Backend.Delete(ctx, key) })
}

func (b closingBackend) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return b.each(ctx, func(ctx context.Context) iter.Seq2[backend.Info, error] { return b.Backend.List(ctx, prefix) })
}

// unfinished yields what Writers have left, if the backend can tell.
func (b closingBackend) unfinished(ctx context.Context) iter.Seq2[backend.Info, error] {
	left, ok := b.Backend.(backend.Leaver)
	if !ok {
		return func(func(backend.Info, error) bool) {}
	}
	return b.each(ctx, left.Unfinished)
}

// each yields what list does. It counts as no call, since foreign code may run between
// two objects.
func (b closingBackend) each(ctx context.Context, list func(context.Context) iter.Seq2[backend.Info, error]) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		if err := b.life.Err(); err != nil {
			yield(backend.Info{}, err)
			return
		}
		ctx, stop := b.life.Context(ctx)
		defer stop()
		for info, err := range list(ctx) {
			if closed := b.life.Err(); closed != nil {
				info, err = backend.Info{}, closed
			}
			if !yield(info, b.life.Explain(err)) || err != nil {
				return
			}
		}
	}
}

// NewReader implements backend.Streamer.
func (b closingBackend) NewReader(ctx context.Context, key string, off, n int64) io.ReadCloser {
	ctx, stop := b.life.Context(ctx)
	return &closingReader{backend.NewReader(ctx, b.Backend, key, off, n), b.life, stop}
}

type closingReader struct {
	io.ReadCloser
	life *Lifetime
	stop func()
}

func (r *closingReader) Read(p []byte) (int, error) {
	if err := r.life.Enter(); err != nil {
		return 0, err
	}
	defer r.life.Leave()
	n, err := r.ReadCloser.Read(p)
	return n, r.life.Explain(err)
}

func (r *closingReader) Close() error {
	defer r.stop()
	return r.ReadCloser.Close()
}
