package pack

import (
	"bytes"
	"context"
	"errors"
)

// A Found is what a walk meets: a frame, or a stretch of bytes in which none
// is recognised.
type Found struct {
	Offset, Length int64
	Frame          *Frame // nil if none is recognised

	// Damage says why the bytes are not what they should be. In a pack that
	// was never sealed, the bytes may be what a crash left of an unfinished
	// write. If Frame is set too, only the header of the frame is damaged,
	// and Frame is as the footer describes it.
	Damage error
}

// Walk calls fn for every frame of the first size bytes of the pack id, in
// order of offsets, and for every stretch in which none is recognised. If the
// pack has a footer, it follows and returns that, else it goes from frame to
// frame. An unknown version, kind or flag ends it with an *UnknownError. It
// reads at most three times size, and 4 MiB, in all, whatever the pack holds; of
// payloads only what lies near a header or in a damaged stretch.
func Walk(ctx context.Context, r Reader, id ID, size int64, fn func(*Found) error) (*Footer, error) {
	foot, err := ReadFooter(ctx, r, id, size)
	if err != nil && !errors.Is(err, ErrFooter) {
		return nil, err
	}
	return foot, WalkFrames(ctx, r, id, size, foot, fn)
}

// WalkFrames is Walk for callers that have read the footer. foot is nil for a
// pack without a whole footer.
func WalkFrames(ctx context.Context, r Reader, id ID, size int64, foot *Footer, fn func(*Found) error) error {
	w := &walker{ctx: ctx, r: r, id: id, size: size, fn: fn, spare: size + maxHeader}
	if foot != nil {
		w.size = foot.Begin
	}
	if err := w.packHeader(); err != nil {
		return err
	}
	if foot != nil {
		return w.walkFooter(foot)
	}
	return w.walkFrames()
}

// windowSize is the least that a walk reads at a time, so that a pack of many
// small frames is read about once.
const windowSize = 16 << 10

type walker struct {
	ctx  context.Context
	r    Reader
	id   ID
	size int64 // of what is walked, without the footer
	fn   func(*Found) error

	at     int64 // of window in the pack
	window []byte

	// spare is how many bytes may still be read outside the window to find out
	// whether what looks like a header is one. It bounds the walk's reads.
	spare int64
}

// peek returns n bytes from off, fewer at the end. They are valid until the next
// call.
func (w *walker) peek(off int64, n int) ([]byte, error) {
	n = int(min(int64(n), w.size-off))
	if n <= 0 {
		return nil, nil
	}
	if off < w.at || off+int64(n) > w.at+int64(len(w.window)) {
		load := int(min(int64(max(n, windowSize)), w.size-off))
		if cap(w.window) < load {
			w.window = make([]byte, load)
		}
		w.at, w.window = off, w.window[:load]
		if err := w.r.ReadAt(w.ctx, w.window, off); err != nil {
			w.window = w.window[:0]
			return nil, err
		}
	}
	return w.window[off-w.at:][:n], nil
}

func (w *walker) packHeader() error {
	if w.size < HeaderSize {
		w.size = max(w.size, 0)
		p := make([]byte, w.size)
		if err := w.r.ReadAt(w.ctx, p, 0); err != nil {
			return err
		}
		if _, err := ParseHeader(p, w.id); errors.Is(err, ErrUnknown) {
			return err
		}
		return w.fn(&Found{Length: w.size, Damage: ErrPack})
	}
	_, err := ReadHeader(w.ctx, w.r, w.id, w.size)
	if errors.Is(err, ErrPack) {
		err = w.fn(&Found{Length: HeaderSize, Damage: ErrPack})
	}
	return err
}

// walkFooter visits the frames that the footer names. Bytes between them belong
// to no frame.
func (w *walker) walkFooter(foot *Footer) error {
	for line, err := range foot.Frames() {
		if err != nil {
			return err
		}
		f, err := w.frameAt(line.Offset, int(line.HeaderLen))
		if err != nil {
			return err
		}
		found := &Found{Offset: line.Offset, Length: line.End() - line.Offset, Frame: f}
		if f == nil || f.ID != line.ID || f.End() != line.End() || f.CRC != line.CRC {
			found.Frame, found.Damage = line, ErrHeader
		}
		if err := w.fn(found); err != nil {
			return err
		}
	}
	return nil
}

func (w *walker) walkFrames() error {
	for off := int64(HeaderSize); off < w.size; {
		f, err := w.frameAt(off, 0)
		if err != nil {
			return err
		}
		found := &Found{Offset: off, Frame: f}
		if f == nil {
			next, err := w.findNextFrame(off + 1)
			if err != nil {
				return err
			}
			found.Length, found.Damage = next-off, ErrHeader
		} else {
			found.Length = f.End() - off
		}
		off += found.Length
		if err := w.fn(found); err != nil {
			return err
		}
	}
	return nil
}

// frameAt returns the frame at off, or nil if there is none. want is the length
// of its header, or 0 if that is not known.
func (w *walker) frameAt(off int64, want int) (*Frame, error) {
	p, err := w.peek(off, frameFixed)
	if err != nil {
		return nil, err
	}
	n := headerLength(p, w.id, off)
	if n == 0 || want != 0 && n != want || int64(n) > w.size-off {
		return nil, nil
	}
	if p, err = w.peek(off, n); err != nil {
		return nil, err
	}
	f, err := ParseFrame(p, w.id, off)
	if errors.Is(err, ErrHeader) || err == nil && f.End() > w.size { // torn
		return nil, nil
	}
	return f, err
}

// findNextFrame returns where the next frame begins at or after off, or the end.
func (w *walker) findNextFrame(off int64) (int64, error) {
	for off < w.size {
		if _, err := w.peek(off, frameFixed); err != nil {
			return 0, err
		}
		// Search all that the window has.
		p := w.window[off-w.at:]
		i := bytes.Index(p, []byte(frameTag))
		if i < 0 {
			i = max(len(p)-len(frameTag)+1, 1)
		} else if ok, err := w.frameBegins(off + int64(i)); ok || err != nil {
			return off + int64(i), err
		} else {
			i++
		}
		off += int64(i)
	}
	return w.size, nil
}

// frameBegins reports whether a frame begins at off. To find out, it reads at
// most the length of the header that seems to begin there; w.spare bounds the
// sum of such reads.
func (w *walker) frameBegins(off int64) (bool, error) {
	p, err := w.peek(off, frameFixed)
	if err != nil {
		return false, err
	}
	n := int64(headerLength(p, w.id, off))
	if n == 0 || n > w.size-off {
		return false, nil
	}
	if off+n > w.at+int64(len(w.window)) {
		if w.spare -= n; w.spare < 0 {
			return false, nil
		}
		p = make([]byte, n) // the window stays where it is
		err = w.r.ReadAt(w.ctx, p, off)
	} else {
		p, err = w.peek(off, int(n))
	}
	if err != nil {
		return false, err
	}
	f, err := ParseFrame(p, w.id, off)
	if errors.Is(err, ErrHeader) {
		return false, nil
	}
	return err == nil && f.End() <= w.size, err
}
