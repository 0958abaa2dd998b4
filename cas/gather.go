package cas

import (
	"cmp"
	"context"
	"errors"
	"io"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// Limits of reading from a remote backend.
const (
	runSize = 13 << 20  // bytes read by one request, unless one frame is longer: a window and its frames' headers
	runGap  = 128 << 10 // bytes between two pieces that are read in vain rather than asking twice
	runs    = 10        // requests under way at a time, of all readers

	delivered = 2 // pieces of a run at a time; with the one that comes, the buffers that it takes
)

// WindowSize is how many plain bytes a reader that goes through a file in
// order had better ask a remote store for at a time; longReaders may do so at
// the same time. A window of it may take two requests, where a pack ends in
// it; on the whole there are fewer than one for every 8 MiB.
const (
	WindowSize  = 12 << 20
	longReaders = 2
)

// A Cache keeps the stored bytes of frames near. What it gives need not be
// right: it is verified like all that is read. Its methods may be called
// concurrently and do not keep p.
type Cache interface {
	Get(id FrameID, p []byte) bool // fills p, which is as long as what was put
	Put(id FrameID, p []byte)
	Drop(id FrameID)
}

// LongReader asks for leave to read a remote store in windows of WindowSize.
// Where it is given, release must be called in the end.
func (s *Store) LongReader() (release func(), ok bool) {
	if !s.remote {
		return nil, false
	}
	select {
	case s.long <- struct{}{}:
		return sync.OnceFunc(func() { <-s.long }), true
	default:
		return nil, false
	}
}

// A piece is a stretch of a pack that is wanted: the payload of a frame, or
// chunks of one that is stored as it is.
type piece struct {
	*want
	frame *cachedFrame // that this reader loads for all; nil of a raw frame
	buf   []byte       // for its plain bytes
	off   int64        // in the pack
	n     int
	part  []wantChunk // of a raw frame: what lies in the piece
}

func (p *piece) end() int64 { return p.off + int64(p.n) }

// payload is where the frame's stored bytes begin in its pack.
func (w *want) payload() int64 { return w.frame.Offset + int64(w.frame.HeaderLen) }

// whole reports whether the piece is all of its frame.
func (p *piece) whole() bool {
	return p.off == p.payload() && p.n == int(p.want.frame.StoredLen)
}

// readFar delivers what is wanted from a remote backend: what lies close
// together is read by one request, and requests are made side by side.
func (s *Store) readFar(ctx context.Context, wants []*want) error {
	var mine []*piece
	var others []*want // frames that another reader is loading, or has loaded
	var loaded []*cachedFrame
	for _, w := range wants {
		if w.frame.StoredLen > pack.MaxPlain || w.frame.PlainLen > pack.MaxPlain {
			return s.damage(ctx, w, w.chunks[0].Digest, errOutside)
		}
	}
	for _, w := range wants {
		if lies(&w.frame) {
			mine = append(mine, s.rawPieces(w)...)
			continue
		}
		f, buf, load := s.frames.claim(w.frame.ID, int(w.frame.PlainLen))
		if load {
			mine = append(mine, &piece{want: w, frame: f, buf: buf, off: w.payload(), n: int(w.frame.StoredLen)})
		} else {
			others, loaded = append(others, w), append(loaded, f)
		}
	}
	err := s.readRuns(ctx, mine)
	for i, w := range others {
		f := loaded[i]
		<-f.ready
		ferr := f.err
		if ferr == nil && err == nil {
			ferr = s.copyOut(w, f.plain)
		}
		s.frames.put(f)
		if ferr != nil && err == nil {
			err = s.readAgain(ctx, w, ferr) // what befell another reader need not befall this one
		}
	}
	return err
}

// rawPieces are the stretches of a frame that is stored as it is in which all
// that is wanted of it lies, none overlapping another; with a cache all of it,
// to be kept.
func (s *Store) rawPieces(w *want) (out []*piece) {
	if s.near != nil {
		return []*piece{{want: w, off: w.payload(), n: int(w.frame.StoredLen), part: w.chunks}}
	}
	slices.SortFunc(w.chunks, func(a, b wantChunk) int { return cmp.Compare(a.Offset, b.Offset) })
	for i := 0; i < len(w.chunks); {
		from, end := w.chunks[i].Offset, w.chunks[i].Offset+w.chunks[i].Length
		j := i + 1
		for j < len(w.chunks) && w.chunks[j].Offset <= end {
			end = max(end, w.chunks[j].Offset+w.chunks[j].Length)
			j++
		}
		out = append(out, &piece{want: w, off: w.payload() + int64(from), n: int(end - from), part: w.chunks[i:j]})
		i = j
	}
	return out
}

// readRuns reads pieces and delivers them. Every frame claimed is settled
// when it returns.
func (s *Store) readRuns(ctx context.Context, pieces []*piece) error {
	slices.SortFunc(pieces, func(a, b *piece) int {
		return cmp.Or(slices.Compare(a.want.frame.Pack[:], b.want.frame.Pack[:]), cmp.Compare(a.off, b.off))
	})
	g, gctx := errgroup.WithContext(ctx)
	pieces = slices.DeleteFunc(pieces, func(p *piece) bool {
		stored := s.cached(p)
		if stored != nil {
			g.Go(func() error {
				defer s.putBuf(stored)
				return s.deliver(gctx, p, stored)
			})
		}
		return stored != nil
	})
	for len(pieces) > 0 {
		run := pieces[:runLength(pieces)]
		pieces = pieces[len(run):]
		g.Go(func() error { return s.readRun(gctx, run) })
	}
	return g.Wait()
}

// cached returns the piece as the cache has it, or nil.
func (s *Store) cached(p *piece) []byte {
	if s.near == nil || !p.whole() {
		return nil
	}
	stored := s.sized(p.n)
	if !s.near.Get(p.want.frame.ID, stored) {
		s.putBuf(stored)
		return nil
	}
	return stored
}

// sized returns a buffer of n bytes, for putBuf.
func (s *Store) sized(n int) []byte {
	b := s.getBuf()
	if cap(b) < n {
		s.putBuf(b)
		b = make([]byte, n)
	}
	return b[:n]
}

// runLength returns how many pieces are read by one request.
func runLength(pieces []*piece) int {
	n := 1
	for n < len(pieces) {
		a, b := pieces[n-1], pieces[n]
		if a.want.frame.Pack != b.want.frame.Pack || b.off < a.end() || b.off-a.end() > runGap || b.end()-pieces[0].off > runSize {
			break
		}
		n++
	}
	return n
}

// readRun reads the pieces of a run by one request, and delivers each while
// the next ones come.
func (s *Store) readRun(ctx context.Context, run []*piece) error {
	select {
	case s.runs <- struct{}{}:
	case <-ctx.Done():
		return s.giveUp(ctx, run, context.Cause(ctx))
	}
	defer func() { <-s.runs }()
	var g errgroup.Group
	g.SetLimit(delivered)
	at, end := run[0].off, run[len(run)-1].end()
	r := backend.NewReader(ctx, s.b, run[0].want.frame.Pack.Key(), at, end-at)
	defer r.Close()
	for i, p := range run {
		stored := s.sized(p.n)
		if err := readPiece(r, p.off-at, stored); err != nil {
			s.putBuf(stored)
			return errors.Join(s.giveUp(ctx, run[i:], err), g.Wait())
		}
		at = p.end()
		g.Go(func() error {
			defer s.putBuf(stored)
			if s.near != nil && p.whole() {
				s.near.Put(p.want.frame.ID, stored)
			}
			return s.deliver(ctx, p, stored)
		})
	}
	return g.Wait()
}

// readPiece fills stored with what comes after a gap.
func readPiece(r io.Reader, gap int64, stored []byte) error {
	_, err := io.CopyN(io.Discard, r, gap)
	if err == nil {
		_, err = io.ReadFull(r, stored)
	}
	if err == io.EOF {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// giveUp settles the frames of a run that cannot be read. Where the pack ends
// too early, those that lie before its end are still delivered.
func (s *Store) giveUp(ctx context.Context, run []*piece, err error) error {
	for _, p := range run {
		if p.frame != nil {
			s.frames.settle(p.frame, nil, err)
			s.frames.put(p.frame)
		}
	}
	if len(run) == 1 || !errors.Is(err, io.ErrUnexpectedEOF) {
		return s.damage(ctx, run[0].want, run[0].chunks[0].Digest, err)
	}
	for _, p := range run {
		if err := s.readAgain(ctx, p.want, err); err != nil {
			return err
		}
	}
	return nil
}

// deliver gives the wanted chunks of a piece to their reader, and its plain
// bytes to all who want the frame.
func (s *Store) deliver(ctx context.Context, p *piece, stored []byte) error {
	if p.frame == nil {
		if err := s.copyRaw(p, stored); err != nil {
			return s.readAgain(ctx, p.want, err)
		}
		return nil
	}
	plain, err := s.decode(ctx, &p.want.frame, stored, p.buf)
	s.frames.settle(p.frame, plain, err)
	if err == nil {
		err = s.copyOut(p.want, plain)
	}
	s.frames.put(p.frame)
	if err != nil {
		return s.readAgain(ctx, p.want, err)
	}
	return nil
}

func (s *Store) copyRaw(p *piece, stored []byte) error {
	s.acquire()
	defer s.release()
	base := p.off - p.payload()
	for _, c := range p.part {
		from := int64(c.Offset) - base
		if from < 0 || from+int64(c.Length) > int64(len(stored)) {
			return &chunkError{c.Digest, errOutside}
		}
		copy(c.dst, stored[from:])
		if pack.SumSlot(p.want.frame.Kind, c.dst) != c.Digest {
			return &chunkError{c.Digest, errDigest}
		}
	}
	return nil
}

// readAgain reads one frame anew after it came wrong: bytes may be damaged on
// their way, and in a cache, while what is stored is good.
func (s *Store) readAgain(ctx context.Context, w *want, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	s.frames.drop(w.frame.ID)
	if s.near != nil {
		s.near.Drop(w.frame.ID)
	}
	stored := s.sized(int(w.frame.StoredLen))
	defer s.putBuf(stored)
	rerr := s.b.ReadAt(ctx, w.frame.Pack.Key(), stored, w.payload())
	if rerr != nil {
		return s.damage(ctx, w, w.chunks[0].Digest, rerr)
	}
	plain := stored
	if !lies(&w.frame) {
		plain, rerr = s.decode(ctx, &w.frame, stored, nil)
	}
	if rerr == nil {
		rerr = s.copyOut(w, plain)
	}
	if rerr == nil {
		if isWrong(err) {
			s.log.Warn("a frame came damaged, and whole when it was read again", "pack", w.frame.Pack, "offset", w.frame.Offset, "err", err)
		}
		return nil
	}
	var ce *chunkError
	if errors.As(rerr, &ce) {
		return s.damage(ctx, w, ce.digest, ce.err)
	}
	return s.damage(ctx, w, w.chunks[0].Digest, rerr)
}

// isWrong reports whether bytes were read that make no sense.
func isWrong(err error) bool {
	var de *decodeError
	var ce *chunkError
	return errors.As(err, &de) || errors.As(err, &ce)
}
