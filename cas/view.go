package cas

import (
	"context"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// A scanner walks packs and describes what is in them.
type scanner struct {
	b      backend.Backend
	remote bool
	load   *loader
}

// openPack returns the reader for those who walk all of a pack: of a remote
// backend it reads large pieces.
func (s *scanner) openPack(p PackEntry) pack.Reader {
	r := packReader{s.b, p.ID.Key()}
	if s.remote {
		return &packView{r: r, size: p.Size}
	}
	return r
}

// A packView reads one pack of a remote backend in large pieces, for walks over
// all of it. One goroutine at a time may use it.
type packView struct {
	r    packReader
	size int64

	off int64 // of buf in the pack
	buf []byte
}

// viewSize is how much is read at a time. Packs of the usual size of a remote
// backend are shorter, so one request reads all of such a pack.
const viewSize = 48 << 20

func (v *packView) ReadAt(ctx context.Context, p []byte, off int64) error {
	if off < 0 || off+int64(len(p)) > v.size || len(p) > viewSize {
		return v.r.ReadAt(ctx, p, off)
	}
	if off < v.off || off+int64(len(p)) > v.off+int64(len(v.buf)) {
		if err := v.loadPiece(ctx, off); err != nil {
			return err
		}
	}
	copy(p, v.buf[off-v.off:])
	return nil
}

// loadPiece reads a piece that begins at off, or all of the pack if it is short.
func (v *packView) loadPiece(ctx context.Context, off int64) error {
	if v.size <= viewSize {
		off = 0
	}
	n := min(v.size-off, viewSize)
	if int64(cap(v.buf)) < n {
		v.buf = make([]byte, n)
	}
	v.buf = v.buf[:n]
	v.off = off
	if err := v.r.ReadAt(ctx, v.buf, off); err != nil {
		v.buf = v.buf[:0]
		return err
	}
	return nil
}
