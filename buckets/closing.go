package buckets

import (
	"context"
	"errors"
	"io"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Close closes the store, whatever is under way, and may be called at any time, from
// anywhere but a transaction, any number of times: every call returns when the first is
// done, with its error.
//
// From its beginning on, every call that reads or changes anything fails with ErrClosed:
// of the Store, its Buckets, and all that they have returned, such as an open Object, an
// iterator, an fs.File, an upload or a Host.
//
//   - A change whose transaction has begun is waited for, until its records are in the
//     packs: it succeeds. So does Run, which ends.
//   - All else that is under way ends at its next step, with ErrClosed, in its caller's
//     goroutine. What has stored nothing that was answered leaves what a crash leaves.
//   - Nobody is waited for who reads or writes by foreign code: the body of a Put that
//     does not come, a Writer that takes nothing, a loop over List that calls Close.
//
// What was acknowledged is durable. An error of Close says that a change which was not
// acknowledged may be lost.
func (s *Store) Close() error {
	return s.life.Close(func() error {
		var errs []error
		for _, c := range s.chunks {
			errs = append(errs, c.Close())
		}
		s.dropWriters(context.Background())
		s.audit.close()
		for _, c := range s.closers {
			errs = append(errs, c.Close())
		}
		return errors.Join(errs...)
	})
}

// untilClosed returns a context that is also done when the store is being closed. end
// gives it up, and says in the error of the call that this was why it ended.
func (s *Store) untilClosed(ctx context.Context) (_ context.Context, end func(*error)) {
	ctx, stop := s.life.Context(ctx)
	return ctx, func(err *error) {
		stop()
		*err = s.life.Explain(*err)
	}
}

// A closingReader is the Content of an open Object. What it has read ahead is not
// given out any more once the store is being closed.
type closingReader struct {
	*manifest.Reader
	life *cas.Lifetime
}

func (r closingReader) Read(p []byte) (int, error) {
	if err := r.life.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Read(p)
}

func (r closingReader) ReadAt(p []byte, off int64) (int, error) {
	if err := r.life.Err(); err != nil {
		return 0, err
	}
	return r.Reader.ReadAt(p, off)
}

func (r closingReader) Seek(offset int64, whence int) (int64, error) {
	if err := r.life.Err(); err != nil {
		return 0, err
	}
	return r.Reader.Seek(offset, whence)
}

func (r closingReader) WriteTo(w io.Writer) (int64, error) {
	if err := r.life.Err(); err != nil {
		return 0, err
	}
	return r.Reader.WriteTo(closingWriter{w, r.life})
}

// Close frees what the reader holds, also once the store is closed.
func (r closingReader) Close() error { return errors.Join(r.Reader.Close(), r.life.Err()) }

type closingWriter struct {
	io.Writer
	life *cas.Lifetime
}

func (w closingWriter) Write(p []byte) (int, error) {
	if err := w.life.Err(); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}
