package manifest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
)

// A Piece is a run of bytes that Compose makes a content of: a range of a stored
// content, or the bytes of a reader.
type Piece struct {
	From     string    // name of the stored content, "" for Data
	Off, Len int64     // the range within the stored content
	Data     io.Reader // read to its end
}

// An Opener finds the stored content that a piece names. The same name must
// always stand for the same content.
type Opener func(ctx context.Context, name string) (*Content, error)

// Compose makes a content of pieces, one after another. It cuts them by s as if
// their bytes came in one stream. Where it can, it reuses chunk references and
// whole subtrees of segments of the stored contents. It reads bytes only around
// the seams, and of contents that another splitter has cut. opts.Segments must
// be able to find segments, too.
//
// The length of a chunk depends only on the bytes from its beginning on. So
// where a chunk of the new content and a chunk of a stored content begin at the
// same byte, both have the same chunks for as long as their bytes are the same.
// The last chunk of the stored content is the exception, since the end of the
// stream may have ended it.
//
// The commit must check that the chunks are still stored.
func Compose(ctx context.Context, dst *cas.Store, pieces []Piece, open Opener, s chunker.Splitter, opts *WriteOptions) (*Content, cas.BatchStats, error) {
	segs, ok := opts.Segments.(SegmentGetter)
	if !ok {
		return nil, cas.BatchStats{}, errors.New("manifest: pieces need segments that can be read back")
	}
	w := newContentWriter(ctx, dst, s, opts, nil)
	defer w.batch.Close()
	c := &composer{contentWriter: w, ctx: ctx, s: s, name: s.String(), max: s.Max(), pieces: pieces, lens: make([]int64, len(pieces))}
	for i := range pieces {
		if c.lens[i] = pieces[i].Len; pieces[i].From == "" {
			c.lens[i] = -1
		}
	}
	for _, o := range []*source{&c.matched, &c.read, &c.taken} {
		*o = source{open: open, chunks: dst, segs: segs}
		defer o.close()
	}
	w.emit, w.addRest = c.emitChunk, c.takeQueued
	err := c.cutPieces()
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return nil, w.batch.Stats(), err
	}
	return w.content, w.batch.Stats(), digestAll(ctx, dst, w.content, opts)
}

// A composer cuts the stream of its pieces into chunks. It keeps one source each
// for finding reusable chunks, for reading bytes, and for the goroutine that
// adds references to the list, because each of them is at another place of the
// stream.
type composer struct {
	*contentWriter
	ctx    context.Context
	s      chunker.Splitter
	name   string
	max    int
	pieces []Piece
	// Lengths of the pieces. The length of Data is -1 until its end was read.
	lens    []int64
	matched source // stored content whose chunks may be reused next

	// Bytes that were read and not cut yet. The next chunk begins with buf.
	next     streamPosition
	buf      []byte
	end      streamPosition // where buf ends
	read     source         // stored content that buf is filled from
	backing  []byte         // memory of buf
	chunkBuf []byte         // chunks that fillStored has read
	step     int            // bytes to read at a time

	mu    sync.Mutex
	queue []run // guarded by mu; runs that are not in the list yet

	// Stored content that references are taken from. Like the list, it belongs
	// to the goroutine that emits chunks, and after Drain to Compose.
	taken source
}

const (
	firstStep = 64 << 10
	lastStep  = 1 << 20
)

// A streamPosition is a position in the stream: off bytes into a piece.
type streamPosition struct {
	piece int
	off   int64
}

// A run is a part of the new list: put chunks of the batch, or the chunks of a
// stored content between two offsets where chunks begin.
type run struct {
	put      int
	of       string
	from, to int64
}

func (c *composer) cutPieces() error {
	c.step = firstStep
	for {
		if err := c.reuseStored(); err != nil {
			return err
		}
		p, err := c.peekBytes()
		if err != nil || len(p) == 0 {
			return err
		}
		n := c.s.Split(p)
		if n <= 0 || n > len(p) {
			return fmt.Errorf("manifest: splitter %s cut %d of %d bytes", c.name, n, len(p))
		}
		c.queueRun(run{put: 1})
		if err := c.batch.Put(p[:n]); err != nil {
			return err
		}
		c.skipBytes(int64(n))
	}
}

// reuseStored queues references of stored contents for as long as the next chunk
// is one of theirs.
func (c *composer) reuseStored() error {
	for c.next.piece < len(c.pieces) {
		p := &c.pieces[c.next.piece]
		if c.next.off == c.lens[c.next.piece] {
			c.next = streamPosition{c.next.piece + 1, 0}
			continue
		}
		if p.From == "" && len(c.buf) > 0 {
			return nil
		}
		if p.From == "" { // it may have ended
			if err := c.fillBuffer(); err != nil {
				return err
			}
			continue
		}
		r, err := c.matched.openPiece(c.ctx, p)
		if err != nil || r.c.Chunker != c.name {
			return err
		}
		from := p.Off + c.next.off
		first, err := r.list.positionAt(from)
		if err != nil || first.off != from {
			return err
		}
		// The chunk that holds the last byte of a stored content is never
		// reused.
		end, err := r.list.positionAt(min(p.Off+p.Len, r.c.Size-1))
		if err != nil || end.off == from {
			return err
		}
		c.queueRun(run{of: p.From, from: from, to: end.off})
		c.skipBytes(end.off - from)
		c.step = firstStep
	}
	return nil
}

// skipBytes moves on by n bytes. If buf has fewer, all of them lie in the piece
// of the next chunk.
func (c *composer) skipBytes(n int64) {
	if n <= int64(len(c.buf)) {
		c.buf = c.buf[n:]
	} else {
		c.buf, c.end = c.buf[:0], streamPosition{c.next.piece, c.next.off + n}
	}
	for n > 0 {
		k := n
		if l := c.lens[c.next.piece]; l >= 0 {
			k = min(n, l-c.next.off)
		}
		n -= k
		if c.next.off += k; c.next.off == c.lens[c.next.piece] {
			c.next = streamPosition{c.next.piece + 1, 0}
		}
	}
}

// peekBytes returns what the next chunk is cut from: as many bytes as the
// longest chunk can have, or all that are left.
func (c *composer) peekBytes() ([]byte, error) {
	for len(c.buf) < c.max && c.end.piece < len(c.pieces) {
		if err := c.fillBuffer(); err != nil {
			return nil, err
		}
	}
	return c.buf[:min(len(c.buf), c.max)], nil
}

// fillBuffer reads more of the stream into buf.
func (c *composer) fillBuffer() error {
	if c.end.off == c.lens[c.end.piece] {
		c.end = streamPosition{c.end.piece + 1, 0}
		return nil
	}
	if c.pieces[c.end.piece].From == "" {
		return c.fillData()
	}
	return c.fillStored()
}

func (c *composer) fillData() error {
	c.growBuffer(max(c.max-len(c.buf), lastStep))
	for range 100 { // like bufio, give up after that many reads without data and error
		n, err := c.pieces[c.end.piece].Data.Read(c.buf[len(c.buf):cap(c.buf)])
		c.buf = c.buf[:len(c.buf)+n]
		c.end.off += int64(n)
		if err == io.EOF {
			c.lens[c.end.piece] = c.end.off
			return nil
		}
		if err != nil {
			return fmt.Errorf("manifest: read a piece: %w", err)
		}
		if n > 0 {
			return nil
		}
	}
	return io.ErrNoProgress
}

// fillStored reads whole chunks into buf, because only whole chunks can be
// verified.
func (c *composer) fillStored() error {
	p := &c.pieces[c.end.piece]
	r, err := c.read.openPiece(c.ctx, p)
	if err != nil {
		return err
	}
	off, end := p.Off+c.end.off, p.Off+p.Len
	want := min(end, off+int64(max(c.max-len(c.buf), c.step)))
	refs, start, err := r.list.refsAt(off, want-off+cas.MaxChunk)
	if err != nil {
		return err
	}
	c.step = min(2*c.step, lastStep)
	k, size := 0, 0
	for k < len(refs) && (k == 0 || start+int64(size) < want) {
		size += int(refs[k].Length)
		k++
	}
	if cap(c.chunkBuf) < size {
		c.chunkBuf = make([]byte, size)
	}
	c.chunkBuf = c.chunkBuf[:size]
	if err := r.src.Read(c.ctx, refs[:k], c.chunkBuf); err != nil {
		return err
	}
	got := c.chunkBuf[off-start : min(int64(size), end-start)]
	c.growBuffer(len(got))
	c.buf = append(c.buf, got...)
	c.end.off += int64(len(got))
	return nil
}

// growBuffer makes space for n more bytes behind buf.
func (c *composer) growBuffer(n int) {
	if cap(c.buf)-len(c.buf) >= n {
		return
	}
	if n += len(c.buf); n > len(c.backing) {
		c.backing = make([]byte, 2*n)
	}
	c.buf = c.backing[:copy(c.backing, c.buf)]
}

// queueRun queues a run for the list.
func (c *composer) queueRun(r run) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := len(c.queue); r.put > 0 && n > 0 && c.queue[n-1].put > 0 {
		c.queue[n-1].put += r.put
		return
	}
	c.queue = append(c.queue, r)
}

// nextRun takes the next run off the queue: one chunk at a time of those of the
// batch. It returns false if the queue is empty.
func (c *composer) nextRun() (run, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.queue) == 0 {
		return run{}, false
	}
	r := c.queue[0]
	if r.put > 1 {
		c.queue[0].put--
	} else {
		c.queue = c.queue[1:]
	}
	return r, true
}

// emitChunk adds a chunk of the batch to the list, after the stored references
// that come before it.
func (c *composer) emitChunk(ref cas.Ref) error {
	for {
		r, ok := c.nextRun()
		if !ok {
			return errors.New("manifest: a chunk that was not put")
		}
		if r.put > 0 {
			return c.list.addRef(ref)
		}
		if err := c.takeRun(r); err != nil {
			return err
		}
	}
}

// takeQueued adds the stored references that come after the last chunk of the
// batch.
func (c *composer) takeQueued() error {
	for {
		r, ok := c.nextRun()
		if !ok {
			return nil
		}
		if err := c.takeRun(r); err != nil {
			return err
		}
	}
}

// takeRun adds the references of a run of a stored content.
func (c *composer) takeRun(t run) error {
	r, err := c.taken.openPiece(c.ctx, &Piece{From: t.of})
	if err != nil {
		return err
	}
	for off := t.from; off < t.to; {
		n, err := c.list.graftNodes(r.list, off, t.to)
		if err != nil {
			return err
		}
		off += n
	}
	return nil
}

// A source reads the stored content that was asked for last.
type source struct {
	open   Opener
	chunks Source
	segs   SegmentGetter
	name   string
	r      *Reader
}

// openPiece returns a reader of the stored content of p.
func (s *source) openPiece(ctx context.Context, p *Piece) (*Reader, error) {
	if s.r == nil || s.name != p.From {
		s.close()
		c, err := s.open(ctx, p.From)
		if err != nil {
			return nil, err
		}
		s.name, s.r = p.From, NewReader(ctx, s.chunks, s.segs, c)
	}
	if p.Off < 0 || p.Len < 0 || p.Off > s.r.c.Size || p.Len > s.r.c.Size-p.Off {
		return nil, fmt.Errorf("manifest: %d bytes at %d of %d: %w", p.Len, p.Off, s.r.c.Size, fs.ErrInvalid)
	}
	return s.r, nil
}

func (s *source) close() {
	if s.r != nil {
		s.r.Close()
		s.r = nil
	}
}
