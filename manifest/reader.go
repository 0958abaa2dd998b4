package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"sync"
	"time"

	"github.com/cairn-store/cairn/cas"
)

// A Source reads chunks: a *cas.Store.
type Source interface {
	// Read fills dst with the verified bytes of the chunks refs, one after
	// another.
	Read(ctx context.Context, refs []cas.Ref, dst []byte) error
}

// A longSource is a Source with a remote backend, which a *cas.Store may be. It
// lets a few readers at a time use long windows.
type longSource interface {
	LongReader() (release func(), ok bool)
}

// A roomySource is a Source whose readers share room for windows, which a *cas.Store
// is. A reader that gets none keeps a single small window.
type roomySource interface {
	TakeAhead(n int64) bool
	GiveAheadBack(n int64)
}

// slowWindow is how long a window is read at least by somebody who does not need
// long ones.
const slowWindow = time.Second

const (
	firstWindow = 128 << 10 // size of the first window; the size doubles up to lastWindow
	lastWindow  = 2 << 20
	windowQueue = 3 // windows being read at a time

	firstLong = 8 << 20 // the same for readers with long windows
	lastLong  = cas.WindowSize
	longQueue = 9
)

// A Reader reads a version's content: an io.ReadSeekCloser, io.ReaderAt and
// io.WriterTo. Read and WriteTo read ahead in the order of the chunk list.
// ReadAt may be called concurrently, all other methods from one goroutine at a
// time.
//
// A window fails as a whole: after an error, bytes before the damage may not have
// been delivered, and Read returns the error again until Seek leaves the window.
// ReadAt of a smaller range may still read them.
type Reader struct {
	ctx    context.Context // governs all reads, since io.Reader takes no context
	cancel context.CancelFunc
	src    Source
	c      *Content
	list   *chunkList

	pos   int64
	queue []*window // windows read or being read, in order; pos lies in the first
	next  int64     // offset where the window after the queue begins
	size  int       // of that window
	until int64     // where reading in order ends, by Expect; else 0
	long  func()    // ends the use of long windows; nil if they are not used
	free  []buffer
	room  roomySource // nil for no bound
	begun time.Time   // when the first window was first read from, zero if it was not
	wg    sync.WaitGroup
	err   error // errClosed after Close
}

// A window is a run of chunks that are read with one call of Source.Read.
type window struct {
	buffer
	off   int64
	err   error
	ready chan struct{}
}

// A buffer holds the bytes of a window, and room for them.
type buffer struct {
	buf  []byte
	room int64 // that was taken for it
}

// NewReader returns a reader of c. ctx governs all its reads.
func NewReader(ctx context.Context, src Source, segs SegmentGetter, c *Content) *Reader {
	r := &Reader{src: src, c: c, size: firstWindow}
	r.room, _ = src.(roomySource)
	r.ctx, r.cancel = context.WithCancel(ctx)
	r.list = newList(r.ctx, segs, c)
	return r
}

// Size returns the length of the content in bytes.
func (r *Reader) Size() int64 { return r.c.Size }

// ReadAt implements io.ReaderAt.
func (r *Reader) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 {
		return 0, fmt.Errorf("manifest: read at %d: %w", off, fs.ErrInvalid)
	}
	var buf []byte
	for n < len(p) {
		if off >= r.c.Size {
			return n, io.EOF
		}
		refs, start, err := r.list.refsAt(off, lastWindow)
		if err != nil {
			return n, err
		}
		k, size := 0, 0
		for k < len(refs) && (k == 0 || start+int64(size) < off+int64(len(p)-n) && size < lastWindow) {
			size += int(refs[k].Length)
			k++
		}
		if cap(buf) < size {
			buf = make([]byte, size)
		}
		buf = buf[:size]
		if err := r.src.Read(r.ctx, refs[:k], buf); err != nil {
			return n, err
		}
		m := copy(p[n:], buf[off-start:])
		n += m
		off += int64(m)
	}
	return n, nil
}

// Seek implements io.Seeker.
func (r *Reader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.pos
	case io.SeekEnd:
		offset += r.c.Size
	}
	if offset < 0 || whence < io.SeekStart || whence > io.SeekEnd {
		return r.pos, fmt.Errorf("manifest: seek to %d: %w", offset, fs.ErrInvalid)
	}
	r.pos = offset
	return offset, nil
}

// Read implements io.Reader.
func (r *Reader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, r.err
	}
	buf, err := r.readAhead()
	if err != nil {
		return 0, err
	}
	n := copy(p, buf)
	r.pos += int64(n)
	return n, nil
}

// WriteTo implements io.WriterTo. It is the fastest way to read much.
func (r *Reader) WriteTo(w io.Writer) (n int64, err error) {
	r.Expect(r.c.Size - r.pos)
	for {
		buf, err := r.readAhead()
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
		m, err := w.Write(buf)
		n += int64(m)
		r.pos += int64(m)
		if err != nil {
			return n, err
		}
	}
}

// readAhead returns the bytes from pos to the end of the first window, at least
// one. It starts reads until the queue of windows is full.
func (r *Reader) readAhead() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	if r.pos >= r.c.Size {
		return nil, io.EOF
	}
	for len(r.queue) > 0 && !r.queue[0].holds(r.pos) {
		r.dropWindow()
	}
	if len(r.queue) == 0 {
		r.next = r.pos
		if len(r.free) == 0 {
			r.size = firstWindow
		}
		if r.pos < r.until {
			r.lengthenWindows(r.until - r.pos)
		}
	}
	most := windowQueue
	if r.long != nil {
		most = longQueue // hides the latency of a request
	}
	for len(r.queue) < most && r.next < r.readAheadEnd() {
		if ok, err := r.fetchWindow(); err != nil {
			return nil, err
		} else if !ok {
			break
		}
	}
	w := r.queue[0]
	<-w.ready
	if r.begun.IsZero() {
		r.begun = time.Now()
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.buf[r.pos-w.off:], nil
}

// Expect announces that the next n bytes will be read in order, and nothing
// after them. Then the Reader reads no more than those, and more of them at a
// time. It is only a hint.
func (r *Reader) Expect(n int64) { r.until = r.pos + min(n, r.c.Size-r.pos) }

// readAheadEnd is the offset where reading ahead stops.
func (r *Reader) readAheadEnd() int64 {
	if r.pos < r.until {
		return r.until
	}
	return r.c.Size
}

// lengthenWindows switches to long windows if n bytes are enough for them and
// the source allows one more long reader.
func (r *Reader) lengthenWindows(n int64) {
	s, ok := r.src.(longSource)
	if !ok || n < lastWindow/2 {
		return
	}
	if r.long == nil {
		r.long, _ = s.LongReader()
	}
	if r.long != nil {
		r.size = max(r.size, firstLong)
	}
}

func (w *window) holds(pos int64) bool { return pos >= w.off && pos < w.off+int64(len(w.buf)) }

// dropWindow takes the first window off the queue and keeps its buffer for the
// next one. After a window that was read slowly the next ones are small again.
func (r *Reader) dropWindow() {
	w := r.queue[0]
	r.queue = r.queue[1:]
	<-w.ready
	r.free = append(r.free, w.buffer)
	if !r.begun.IsZero() && time.Since(r.begun) > slowWindow && r.long == nil {
		r.size = firstWindow
	}
	r.begun = time.Time{}
}

// fetchWindow starts the read of the next window. It reports false if there is no
// room for another one.
func (r *Reader) fetchWindow() (ok bool, err error) {
	refs, off, size, err := r.windowChunks(r.next)
	if err != nil {
		return false, err
	}
	b, ok := r.takeBuffer(size)
	if !ok && len(r.queue) > 0 {
		return false, nil
	}
	if !ok {
		r.size = firstWindow
		if refs, off, size, err = r.windowChunks(r.next); err != nil {
			return false, err
		}
		b = buffer{buf: make([]byte, size)} // which every reader may have
	}
	w := &window{buffer: b, off: off, ready: make(chan struct{})}
	r.queue = append(r.queue, w)
	r.next = off + int64(size)
	last := lastWindow
	if r.long != nil {
		last = lastLong
	}
	r.size = min(2*r.size, last)
	r.wg.Go(func() {
		w.err = r.src.Read(r.ctx, refs, w.buf)
		close(w.ready)
	})
	return true, nil
}

// windowChunks returns the chunks of the window that begins with the chunk at
// from, its offset and its size.
func (r *Reader) windowChunks(from int64) (refs []cas.Ref, off int64, size int, err error) {
	rest, off, err := r.list.refsAt(from, int64(r.size)+1)
	for err == nil {
		k := 0
		for k < len(rest) && (size == 0 || size+int(rest[k].Length) <= r.size && off+int64(size) < r.readAheadEnd()) {
			size += int(rest[k].Length)
			k++
		}
		refs = append(refs, rest[:k]...)
		if k < len(rest) || len(refs) >= listedRefs || off+int64(size) >= r.readAheadEnd() {
			return refs, off, size, nil
		}
		rest, _, err = r.list.refsAt(off+int64(size), int64(r.size)+1)
	}
	return nil, 0, 0, err
}

// EachWindow calls fn with the chunks of each window of a Reader that reads all of c
// in order, as WriteTo does. far says that the source gives it leave to use long
// windows, as a remote one does to a few readers.
func EachWindow(ctx context.Context, segs SegmentGetter, c *Content, far bool, fn func(refs []cas.Ref) error) error {
	r := &Reader{c: c, list: newList(ctx, segs, c), size: firstWindow, until: c.Size}
	last := lastWindow
	if far && c.Size >= lastWindow/2 {
		r.size, last = firstLong, lastLong
	}
	for at := int64(0); at < c.Size; {
		refs, off, size, err := r.windowChunks(at)
		if err == nil {
			err = fn(refs)
		}
		if err != nil {
			return err
		}
		at = off + int64(size)
		r.size = min(2*r.size, last)
	}
	return nil
}

// takeBuffer returns a buffer for a window, false if there is no room for it. Long
// windows have room of their own.
func (r *Reader) takeBuffer(size int) (buffer, bool) {
	for i, b := range r.free {
		if cap(b.buf) >= size && cap(b.buf) <= 4*max(size, firstWindow) {
			r.free = slices.Delete(r.free, i, i+1)
			b.buf = b.buf[:size]
			return b, true
		}
	}
	r.dropFree()
	long := size // enough for windows that follow
	if r.long != nil || size > r.size/2 {
		long = max(size, r.size)
	}
	b := buffer{}
	if r.room != nil && r.long == nil {
		if !r.room.TakeAhead(int64(long)) {
			return b, false
		}
		b.room = int64(long)
	}
	b.buf = make([]byte, size, long)
	return b, true
}

// dropFree gives up buffers that are kept for windows to come.
func (r *Reader) dropFree() {
	for _, b := range r.free {
		if b.room > 0 {
			r.room.GiveAheadBack(b.room)
		}
	}
	r.free = r.free[:0]
}

var errClosed = errors.New("reader is closed")

// Close cancels the reads under way and waits for them.
func (r *Reader) Close() error {
	r.cancel()
	r.wg.Wait()
	if r.long != nil {
		r.long()
		r.long = nil
	}
	for _, w := range r.queue {
		r.free = append(r.free, w.buffer)
	}
	r.dropFree()
	r.err, r.queue = errClosed, nil
	return nil
}
