package cas

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// A loader reads frames, decodes them and hands out their chunks, verified. It
// is the only way from stored bytes to plain ones: for reads of near and far
// backends, for the sources of other frames, and for checks.
type loader struct {
	b     backend.Backend
	ix    Index
	log   *slog.Logger
	dec   *decoder
	cores cores
	bufs  *buffers

	// frames has decoded frames. A reader claims the frames that nobody has
	// loaded or is loading, and settles each of them, whatever happens.
	frames *frameCache

	// near keeps stored bytes of frames of a remote backend; nil without one.
	near Cache

	// gap is the most bytes between two pieces that one request reads for
	// nothing, rather than leaving the second piece to another request.
	gap int64

	// tokens has room for one token for each request under way, of all
	// readers. It is nil if each reader may have as many as there are cores.
	// Who holds a token waits only for the backend and for cores, so that
	// whoever waits for a frame that another reader has claimed gets it.
	tokens chan struct{}
}

// A want is what is wanted of one frame.
type want struct {
	frame  FrameEntry
	chunks []wantChunk // at least one
}

type wantChunk struct {
	ChunkEntry
	dst []byte
}

// entriesOf returns the chunk d as the index had it when the read was planned.
func (w *want) entriesOf(d Digest) []ChunkEntry {
	for i := range w.chunks {
		if w.chunks[i].Digest == d {
			return []ChunkEntry{w.chunks[i].ChunkEntry}
		}
	}
	return nil
}

// payload is where the frame's stored bytes begin in its pack.
func (w *want) payload() int64 { return w.frame.Offset + int64(w.frame.HeaderLen) }

// loadChunks fills what is wanted. Each frame is wanted once. Pieces that lie close
// together are read by one request, and requests are made side by side.
func (l *loader) loadChunks(ctx context.Context, wants []*want) error {
	for _, w := range wants {
		if w.frame.StoredLen > pack.MaxPlain || w.frame.PlainLen > pack.MaxPlain {
			return l.reportDamage(ctx, w, w.chunks[0].Digest, errOutside)
		}
	}
	tokens := l.tokens
	if tokens == nil {
		tokens = make(chan struct{}, runtime.GOMAXPROCS(0))
	}
	var pieces []*piece
	var jobs []func(context.Context) error
	for _, w := range wants {
		if storedPlain(&w.frame) {
			pieces = append(pieces, l.rawPieces(w)...)
			continue
		}
		f, mine := l.frames.claimFrame(w.frame.ID)
		if mine {
			pieces = append(pieces, &piece{want: w, claimed: f, off: w.payload(), n: int(w.frame.StoredLen)})
		} else {
			jobs = append(jobs, func(ctx context.Context) error { return l.copyShared(ctx, w, f) })
		}
	}
	cached, pieces := l.takeCached(pieces)
	for _, p := range cached {
		jobs = append(jobs, func(ctx context.Context) error { return l.deliverPiece(ctx, p) })
	}
	for _, run := range splitRuns(pieces, l.gap) {
		jobs = append(jobs, func(ctx context.Context) error { return l.readRun(ctx, tokens, run) })
	}
	if len(jobs) == 1 {
		return jobs[0](ctx)
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, job := range jobs {
		g.Go(func() error { return job(ctx) })
	}
	return g.Wait()
}

// copyShared waits for a frame that another reader has claimed, and copies from it.
func (l *loader) copyShared(ctx context.Context, w *want, f *cachedFrame) error {
	<-f.ready
	err := f.err
	if err == nil {
		err = l.copyOut(w, f.plain)
	}
	l.frames.releaseFrame(f)
	if err != nil {
		return l.readAgain(ctx, w, err, false) // the other reader may have been cancelled
	}
	return nil
}

// deliverPiece copies the wanted chunks of a piece to their reader, and hands the
// plain bytes of its frame to all who wait for them.
func (l *loader) deliverPiece(ctx context.Context, p *piece) error {
	var err error
	if p.claimed == nil {
		err = l.copyRaw(p)
	} else {
		var plain []byte
		plain, err = l.decodeFrame(ctx, &p.frame, p.stored, l.frames.takeBuffer(int(p.frame.PlainLen)))
		l.frames.settleFrame(p.claimed, plain, err)
		if err == nil {
			err = l.copyOut(p.want, plain)
		}
		l.frames.releaseFrame(p.claimed)
	}
	if !p.direct {
		l.bufs.put(p.stored)
	}
	p.stored = nil
	if err != nil {
		return l.readAgain(ctx, p.own(), err, false)
	}
	return nil
}

// copyRaw copies the wanted chunks out of a piece of a frame that is stored
// plain, and verifies them. Its error is a *chunkError.
func (l *loader) copyRaw(p *piece) error {
	l.cores.take()
	defer l.cores.give()
	base := p.off - p.payload()
	for _, c := range p.part {
		from := int64(c.Offset) - base
		if from < 0 || from+int64(c.Length) > int64(len(p.stored)) {
			return &chunkError{c.Digest, errOutside}
		}
		if !p.direct {
			copy(c.dst, p.stored[from:])
		}
		if pack.SumSlot(p.frame.Kind, c.dst) != c.Digest {
			return &chunkError{c.Digest, errDigest}
		}
	}
	return nil
}

// copyOut copies the wanted chunks out of a frame's plain bytes, and verifies
// them. Its error is a *chunkError.
func (l *loader) copyOut(w *want, plain []byte) error {
	l.cores.take()
	defer l.cores.give()
	for _, c := range w.chunks {
		if uint64(c.Offset)+uint64(c.Length) > uint64(len(plain)) {
			return &chunkError{c.Digest, errOutside}
		}
		copy(c.dst, plain[c.Offset:])
		if pack.SumSlot(w.frame.Kind, c.dst) != c.Digest {
			return &chunkError{c.Digest, errDigest}
		}
	}
	return nil
}

// readFrame reads and decodes a whole frame, past caches and tokens.
func (l *loader) readFrame(ctx context.Context, from pack.Reader, fe *FrameEntry) ([]byte, error) {
	if fe.StoredLen > pack.MaxPlain {
		return nil, &decodeError{errors.New("stored length is over the limit")}
	}
	stored := l.bufs.get(int(fe.StoredLen))
	defer l.bufs.put(stored)
	if err := from.ReadAt(ctx, stored, fe.Offset+int64(fe.HeaderLen)); err != nil {
		return nil, err
	}
	return l.decodeFrame(ctx, fe, stored, nil)
}

// decodeFrame decodes the payload of a frame into buf, if that has room. A caller
// that holds a token must not decode a frame with sources.
func (l *loader) decodeFrame(ctx context.Context, fe *FrameEntry, stored, buf []byte) ([]byte, error) {
	sources, err := l.loadSources(ctx, fe)
	if err != nil {
		return nil, err
	}
	return l.dec.decodePayload(fe, stored, buf, sources)
}

// A chunkError says which chunk is not what it should be.
type chunkError struct {
	digest Digest
	err    error
}

func (e *chunkError) Error() string { return e.err.Error() }
func (e *chunkError) Unwrap() error { return e.err }

// A decodeError says that bytes were read but make no sense.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "its frame does not decode: " + e.err.Error() }

var (
	errOutside = errors.New("the index places it outside its frame")
	errDigest  = errors.New("its bytes do not have its digest")
)

// isWrong reports whether bytes were read that make no sense.
func isWrong(err error) bool {
	var de *decodeError
	var ce *chunkError
	return errors.As(err, &de) || errors.As(err, &ce)
}

// reportDamage turns what went wrong with a chunk into the error for the
// reader. A chunk whose bytes are wrong is marked in the index, so that the
// next upload that carries it stores it anew; trouble with the backend is not
// damage, and a damaged source has been reported already.
func (l *loader) reportDamage(ctx context.Context, w *want, d Digest, err error) error {
	var source *CorruptError
	if errors.As(err, &source) {
		return err
	}
	ce := &CorruptError{Digest: d, Pack: w.frame.Pack, Offset: w.frame.Offset, Err: err}
	var de *decodeError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		ce.Err = errors.New("the pack is missing") // an absent pack is not an absent file
	case errors.Is(err, io.ErrUnexpectedEOF):
		ce.Err = errors.New("the pack ends before it")
	case errors.As(err, &de), errors.Is(err, errDigest), errors.Is(err, errOutside):
		if merr := l.ix.Apply(ctx, &Change{Bad: w.entriesOf(d), BadIn: w.frame.Pack}); merr != nil {
			l.log.Error("a damaged chunk could not be marked", "digest", d, "err", merr)
		}
	default:
		return err
	}
	l.log.Error("stored bytes are damaged", "digest", d, "pack", w.frame.Pack, "offset", w.frame.Offset, "err", ce.Err)
	return ce
}
