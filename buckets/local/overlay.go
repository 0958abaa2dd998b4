package local

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"iter"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
)

// An overlay is a backend that reads what others hold, and writes to one of its own:
// the others stay as they are. It is its own driver.
type overlay struct {
	top   *diskbackend.Backend
	below []backend.Backend // only read
}

var (
	_ backend.Backend = (*overlay)(nil)
	_ backend.Driver  = (*overlay)(nil)
)

func (o *overlay) Open(context.Context) (backend.Backend, error) { return o, nil }

func (o *overlay) Place() string { return "its overlay" }

func (o *overlay) Create(ctx context.Context, key string) (backend.Writer, error) {
	for _, b := range o.below {
		if _, err := b.Stat(ctx, key); err == nil {
			return nil, fs.ErrExist
		} else if !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return o.top.Create(ctx, key)
}

// Append reopens what was written to the overlay.
func (o *overlay) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	w, size, err := o.top.Append(ctx, key)
	if errors.Is(err, fs.ErrNotExist) {
		err = errors.ErrUnsupported
	}
	return w, size, err
}

func (o *overlay) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	err := o.top.ReadAt(ctx, key, p, off)
	for i := 0; i < len(o.below) && errors.Is(err, fs.ErrNotExist); i++ {
		err = o.below[i].ReadAt(ctx, key, p, off)
	}
	return err
}

func (o *overlay) Stat(ctx context.Context, key string) (backend.Info, error) {
	info, err := o.top.Stat(ctx, key)
	for i := 0; i < len(o.below) && errors.Is(err, fs.ErrNotExist); i++ {
		info, err = o.below[i].Stat(ctx, key)
	}
	return info, err
}

// Delete deletes nothing: nobody who repairs does.
func (o *overlay) Delete(context.Context, string) error { return errors.ErrUnsupported }

func (o *overlay) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		seen := make(map[string]bool)
		for _, b := range append([]backend.Backend{o.top}, o.below...) {
			for info, err := range b.List(ctx, prefix) {
				if err == nil && seen[info.Key] {
					continue
				}
				seen[info.Key] = true
				if !yield(info, err) || err != nil {
					return
				}
			}
		}
	}
}

// Close closes all of it.
func (o *overlay) Close() error {
	err := o.top.Close()
	for _, b := range o.below {
		if c, ok := b.(io.Closer); ok {
			err = errors.Join(err, c.Close())
		}
	}
	return err
}
