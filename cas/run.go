package cas

import (
	"cmp"
	"context"
	"io"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/backend"
)

const (
	// runSize is the most bytes that one request reads, unless one frame is
	// longer: a window of a reader with its frames' headers.
	runSize = 13 << 20

	// farGap is the gap of a loader of a remote backend.
	farGap = 128 << 10

	// farRequests is how many requests to a remote backend are under way at a
	// time, of all readers.
	farRequests = 10

	// delivered is how many pieces of a run are delivered at a time. With the
	// one that comes, it is the number of buffers that a run takes.
	delivered = 2
)

// A piece is a stretch of a pack that is wanted: the payload of a frame, or
// chunks of a frame that is stored plain.
type piece struct {
	*want
	off int64 // in the pack
	n   int

	// claimed is the frame, which this reader has to settle; nil of one that
	// is stored plain, whose chunks that lie in the piece are part.
	claimed *cachedFrame
	part    []wantChunk

	// stored is what was read. It is memory of part's destinations if direct
	// is set, else a buffer to be given back.
	stored []byte
	direct bool

	err error // of its delivery
}

// own is what the piece is to deliver. Another piece of a frame that is stored plain
// delivers the rest, perhaps at the same time.
func (p *piece) own() *want {
	if p.claimed != nil {
		return p.want
	}
	return &want{frame: p.frame, chunks: p.part}
}

func (p *piece) hasSources() bool { return len(p.frame.Sources) > 0 }

func (p *piece) end() int64 { return p.off + int64(p.n) }

// isWhole reports whether the piece is all of its frame.
func (p *piece) isWhole() bool {
	return p.off == p.payload() && p.n == int(p.frame.StoredLen)
}

// rawPieces returns the stretches of a plain stored frame in which all that is
// wanted of it lies, none overlapping another. With a cache it is all of the
// frame, so that it can be kept.
func (l *loader) rawPieces(w *want) (out []*piece) {
	if l.near != nil {
		return []*piece{{want: w, off: w.payload(), n: int(w.frame.StoredLen), part: w.chunks}}
	}
	slices.SortFunc(w.chunks, func(a, b wantChunk) int { return cmp.Compare(a.Offset, b.Offset) })
	for i := 0; i < len(w.chunks); {
		from, end := w.chunks[i].Offset, w.chunks[i].Offset+w.chunks[i].Length
		into, direct := w.chunks[i].dst, true
		j := i + 1
		for ; j < len(w.chunks) && w.chunks[j].Offset <= end; j++ {
			c := &w.chunks[j]
			if direct = direct && c.Offset == end && followsInMemory(into, c.dst); direct {
				into = into[:len(into)+len(c.dst)]
			}
			end = max(end, c.Offset+c.Length)
		}
		p := &piece{want: w, off: w.payload() + int64(from), n: int(end - from), part: w.chunks[i:j], direct: direct}
		if direct {
			p.stored = into
		}
		out = append(out, p)
		i = j
	}
	return out
}

// followsInMemory reports whether next begins in memory where run ends.
func followsInMemory(run, next []byte) bool {
	return len(next) > 0 && cap(run) >= len(run)+len(next) && &run[:len(run)+1][len(run)] == &next[0]
}

// splitRuns sorts pieces by place and returns those that one request reads,
// with at most gap bytes between two of them.
func splitRuns(pieces []*piece, gap int64) (runs [][]*piece) {
	slices.SortFunc(pieces, func(a, b *piece) int {
		return cmp.Or(slices.Compare(a.frame.Pack[:], b.frame.Pack[:]), cmp.Compare(a.off, b.off))
	})
	start := 0
	for i := 1; i <= len(pieces); i++ {
		if i < len(pieces) {
			a, b := pieces[i-1], pieces[i]
			if a.frame.Pack == b.frame.Pack && b.off >= a.end() && b.off-a.end() <= gap && b.end()-pieces[start].off <= runSize {
				continue
			}
		}
		runs = append(runs, pieces[start:i])
		start = i
	}
	return runs
}

// takeCached fills the pieces that the near cache has, and returns them and the
// others.
func (l *loader) takeCached(pieces []*piece) (cached, rest []*piece) {
	if l.near == nil {
		return nil, pieces
	}
	for _, p := range pieces {
		if !p.isWhole() {
			rest = append(rest, p)
			continue
		}
		p.stored = l.bufs.get(p.n)
		if l.near.Get(p.frame.ID, p.stored) {
			cached = append(cached, p)
			continue
		}
		l.bufs.put(p.stored)
		p.stored = nil
		rest = append(rest, p)
	}
	return cached, rest
}

// readRun reads and delivers the pieces of a run. Frames with sources come
// last, when the run has given its token back: their sources may be frames of
// runs that wait for a token, or later pieces of this one.
func (l *loader) readRun(ctx context.Context, tokens chan struct{}, run []*piece) error {
	read, err := l.readPieces(ctx, tokens, run)
	if read < len(run) {
		err = l.recoverRun(ctx, run[read:], err)
	}
	for _, p := range run[:read] {
		if p.hasSources() {
			p.err = l.deliverPiece(ctx, p)
		}
		err = cmp.Or(err, p.err)
	}
	return err
}

// readPieces makes the request of a run, for which it takes a token. Each piece
// is delivered while the next ones come, unless its frame has sources. It
// returns how many pieces have been read, and why the next one was not.
func (l *loader) readPieces(ctx context.Context, tokens chan struct{}, run []*piece) (read int, err error) {
	select {
	case tokens <- struct{}{}:
		defer func() { <-tokens }()
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	r := l.openRun(ctx, run)
	defer r.Close()
	var g errgroup.Group // deliveries leave their errors in the pieces
	g.SetLimit(delivered)
	defer g.Wait()
	at := run[0].off
	for i, p := range run {
		if !p.direct {
			p.stored = l.bufs.get(p.n)
		}
		if err := readPiece(r, p.off-at, p.stored); err != nil {
			return i, err
		}
		at = p.end()
		deliver := func() error {
			if l.near != nil && p.isWhole() {
				l.near.Put(p.frame.ID, p.stored)
			}
			if !p.hasSources() {
				p.err = l.deliverPiece(ctx, p)
			}
			return nil
		}
		if i == len(run)-1 {
			deliver()
		} else {
			g.Go(deliver)
		}
	}
	return len(run), nil
}

// openRun returns a reader of the bytes of a run. One piece is read without a
// copy.
func (l *loader) openRun(ctx context.Context, run []*piece) io.ReadCloser {
	off, key := run[0].off, run[0].frame.Pack.Key()
	if len(run) == 1 {
		return &pieceReader{ctx, packReader{l.b, key}, off}
	}
	return backend.NewReader(ctx, l.b, key, off, run[len(run)-1].end()-off)
}

// A pieceReader reads exactly what each Read asks for.
type pieceReader struct {
	ctx  context.Context
	from packReader
	off  int64
}

func (r *pieceReader) Read(p []byte) (int, error) {
	if err := r.from.ReadAt(r.ctx, p, r.off); err != nil {
		return 0, err
	}
	r.off += int64(len(p))
	return len(p), nil
}

func (r *pieceReader) Close() error { return nil }

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

// recoverRun settles the frames of pieces that cannot be read. Where the pack is
// gone or ends too early, each is looked up again, and those that lie elsewhere
// by now or before the end are still delivered. The caller holds no token.
func (l *loader) recoverRun(ctx context.Context, run []*piece, err error) error {
	for _, p := range run {
		if p.claimed != nil {
			l.frames.settleFrame(p.claimed, nil, err)
			l.frames.releaseFrame(p.claimed)
		}
		if p.stored != nil && !p.direct {
			l.bufs.put(p.stored)
		}
	}
	if !mayHaveMoved(err) {
		return err
	}
	for _, p := range run {
		if err := l.readAgain(ctx, p.own(), err, len(run) == 1); err != nil {
			return err
		}
	}
	return nil
}
