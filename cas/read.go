package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"runtime"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/cas/pack"
)

// Get appends the chunk d to dst and returns the extended slice. What it
// returns has been verified; damage is a *CorruptError.
func (s *Store) Get(ctx context.Context, d Digest, dst []byte) ([]byte, error) {
	e := make([]ChunkEntry, 1)
	if err := s.ix.Chunks(ctx, []Digest{d}, e); err != nil {
		return dst, fmt.Errorf("cas: get %s: %w", d, err)
	}
	n := len(dst)
	dst = append(dst, make([]byte, e[0].Length)...)
	if err := s.Read(ctx, []Ref{{Digest: d, Length: e[0].Length}}, dst[n:]); err != nil {
		return dst[:n], err
	}
	return dst, nil
}

// Read fills dst with the chunks refs, one after another; their lengths must
// sum up to len(dst). Chunks of one frame are read together and frames side
// by side. What it delivers has been verified; damage is a *CorruptError.
func (s *Store) Read(ctx context.Context, refs []Ref, dst []byte) error {
	wants, err := s.plan(ctx, refs, dst)
	if err != nil {
		return fmt.Errorf("cas: read: %w", err)
	}
	if s.remote {
		err = s.readFar(ctx, wants)
	} else if len(wants) == 1 {
		err = s.readFrame(ctx, wants[0])
	} else {
		g, gctx := errgroup.WithContext(ctx)
		g.SetLimit(runtime.GOMAXPROCS(0))
		for _, w := range wants {
			g.Go(func() error { return s.readFrame(gctx, w) })
		}
		err = g.Wait()
	}
	if err != nil {
		return fmt.Errorf("cas: read: %w", err)
	}
	return nil
}

// A want is what is wanted of one frame.
type want struct {
	frame  FrameEntry
	chunks []wantChunk
}

type wantChunk struct {
	ChunkEntry
	dst []byte
}

// plan groups refs by frame, in order of first need.
func (s *Store) plan(ctx context.Context, refs []Ref, dst []byte) ([]*want, error) {
	ds := make([]Digest, len(refs))
	for i := range refs {
		ds[i] = refs[i].Digest
	}
	entries := make([]ChunkEntry, len(refs))
	if err := s.ix.Chunks(ctx, ds, entries); err != nil {
		return nil, err
	}
	frames, err := s.framesOf(ctx, entries)
	if err != nil {
		return nil, err
	}
	var wants []*want
	byFrame := make(map[FrameID]*want)
	for i, e := range entries {
		n := int(refs[i].Length)
		if n > len(dst) {
			return nil, io.ErrShortBuffer
		}
		if e.Frame == (FrameID{}) || e.Length != refs[i].Length {
			return nil, &CorruptError{Digest: ds[i], Err: ErrMissing}
		}
		w := byFrame[e.Frame]
		if w == nil {
			fe, ok := frames[e.Frame]
			if !ok {
				return nil, &CorruptError{Digest: ds[i], Err: errors.New("the index does not know its frame")}
			}
			if err := s.known(&fe); err != nil {
				return nil, err
			}
			w = &want{frame: fe}
			byFrame[e.Frame] = w
			wants = append(wants, w)
		}
		w.chunks = append(w.chunks, wantChunk{e, dst[:n]})
		dst = dst[n:]
	}
	return wants, nil
}

// framesOf looks up the frames that chunks lie in, those that are known.
func (s *Store) framesOf(ctx context.Context, chunks []ChunkEntry) (map[FrameID]FrameEntry, error) {
	found := make(map[FrameID]FrameEntry)
	var ids []FrameID
	for _, e := range chunks {
		if _, asked := found[e.Frame]; !asked && e.Frame != (FrameID{}) {
			found[e.Frame] = FrameEntry{}
			ids = append(ids, e.Frame)
		}
	}
	out := make([]FrameEntry, len(ids))
	if err := s.ix.Frames(ctx, ids, out); err != nil {
		return nil, err
	}
	for i, id := range ids {
		if out[i].Known() {
			found[id] = out[i]
		} else {
			delete(found, id)
		}
	}
	return found, nil
}

// readFrame delivers what is wanted of one frame.
func (s *Store) readFrame(ctx context.Context, w *want) error {
	if lies(&w.frame) {
		return s.readRaw(ctx, w)
	}
	f, err := s.frames.get(w.frame.ID, int(w.frame.PlainLen), func(buf []byte) ([]byte, error) {
		return s.decodeFrame(context.WithoutCancel(ctx), s.reader(w.frame.Pack), &w.frame, buf) // others may wait for it too
	})
	defer s.frames.put(f)
	if err != nil {
		return s.damage(ctx, w, w.chunks[0].Digest, err)
	}
	var ce *chunkError
	if err := s.copyOut(w, f.plain); errors.As(err, &ce) {
		return s.damage(ctx, w, ce.digest, ce.err)
	}
	return nil
}

// copyOut copies the wanted chunks out of a frame's plain bytes, verified. Its
// error is a *chunkError.
func (s *Store) copyOut(w *want, plain []byte) error {
	s.acquire()
	defer s.release()
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

// A chunkError says which chunk is not what it should be.
type chunkError struct {
	digest Digest
	err    error
}

func (e *chunkError) Error() string { return e.err.Error() }
func (e *chunkError) Unwrap() error { return e.err }

var (
	errOutside = errors.New("the index places it outside its frame")
	errDigest  = errors.New("its bytes do not have its digest")
)

// readRaw reads chunks that are stored as they are, neighbours together.
func (s *Store) readRaw(ctx context.Context, w *want) error {
	base := w.frame.Offset + int64(w.frame.HeaderLen)
	for i := 0; i < len(w.chunks); {
		run, j := w.chunks[i].dst, i+1
		end := w.chunks[i].Offset + w.chunks[i].Length
		for j < len(w.chunks) && w.chunks[j].Offset == end && follows(run, w.chunks[j].dst) {
			run = run[:len(run)+len(w.chunks[j].dst)]
			end += w.chunks[j].Length
			j++
		}
		if uint64(end) > uint64(w.frame.StoredLen) {
			return s.damage(ctx, w, w.chunks[i].Digest, errOutside)
		}
		if err := s.b.ReadAt(ctx, w.frame.Pack.Key(), run, base+int64(w.chunks[i].Offset)); err != nil {
			return s.damage(ctx, w, w.chunks[i].Digest, err)
		}
		s.acquire()
		for ; i < j; i++ {
			if c := w.chunks[i]; pack.SumSlot(w.frame.Kind, c.dst) != c.Digest {
				s.release()
				return s.damage(ctx, w, c.Digest, errDigest)
			}
		}
		s.release()
	}
	return nil
}

// follows reports whether next begins in memory where run ends.
func follows(run, next []byte) bool {
	return len(next) > 0 && cap(run) >= len(run)+len(next) && &run[:len(run)+1][len(run)] == &next[0]
}

// decodeFrame reads and decodes a frame.
func (s *Store) decodeFrame(ctx context.Context, from pack.Reader, fe *FrameEntry, buf []byte) ([]byte, error) {
	if fe.StoredLen > pack.MaxPlain {
		return nil, &decodeError{errors.New("stored length is over the limit")}
	}
	stored := s.getBuf()
	if cap(stored) < int(fe.StoredLen) {
		stored = make([]byte, fe.StoredLen)
	}
	stored = stored[:fe.StoredLen]
	defer s.putBuf(stored)
	if err := from.ReadAt(ctx, stored, fe.Offset+int64(fe.HeaderLen)); err != nil {
		return nil, err
	}
	return s.decode(ctx, fe, stored, buf)
}

// decode decodes the payload of a frame into buf, if that has room.
func (s *Store) decode(ctx context.Context, fe *FrameEntry, stored, buf []byte) (plain []byte, err error) {
	if fe.PlainLen > pack.MaxPlain {
		return nil, &decodeError{errors.New("plain length is over the limit")}
	}
	sources, err := s.sources(ctx, fe)
	if err != nil {
		return nil, err
	}
	s.acquire()
	defer s.release()
	if fe.Key != 0 {
		stored, err = s.unseal(fe.ID, fe.Kind, fe.Key, partPayload, stored)
		if errors.Is(err, ErrKey) {
			return nil, err
		}
	}
	if c := s.codecs[fe.Codec]; err == nil && c != nil {
		plain, err = decodeBy(c, buf, stored, sources, int(fe.PlainLen))
	} else if err == nil {
		plain, err = s.coder.decode(fe.Codec, stored, buf, int(fe.PlainLen))
	}
	if err != nil {
		return nil, &decodeError{err}
	}
	return plain, nil
}

func decodeBy(c FrameCodec, buf, stored []byte, sources [][]byte, size int) (plain []byte, err error) {
	defer contain(&err)
	plain, err = c.Decode(buf[:0], stored, sources, size)
	if err == nil && len(plain) != size {
		err = fmt.Errorf("decodes to %d bytes, want %d", len(plain), size)
	}
	return plain, err
}

// entries returns the chunk d as the index had it when the read was planned.
func (w *want) entries(d Digest) []ChunkEntry {
	for i := range w.chunks {
		if w.chunks[i].Digest == d {
			return []ChunkEntry{w.chunks[i].ChunkEntry}
		}
	}
	return nil
}

// A decodeError says that bytes were read but make no sense.
type decodeError struct{ err error }

func (e *decodeError) Error() string { return "its frame does not decode: " + e.err.Error() }

// damage turns what went wrong with a chunk into the error for the reader. A
// chunk whose bytes are wrong is marked, so that the next upload that carries
// it stores it anew; trouble with the backend is not damage.
func (s *Store) damage(ctx context.Context, w *want, d Digest, err error) error {
	ce := &CorruptError{Digest: d, Pack: w.frame.Pack, Offset: w.frame.Offset, Err: err}
	var de *decodeError
	switch {
	case errors.Is(err, fs.ErrNotExist):
		ce.Err = errors.New("the pack is missing") // an absent pack is not an absent file
	case errors.Is(err, io.ErrUnexpectedEOF):
		ce.Err = errors.New("the pack ends before it")
	case errors.As(err, &de), err == errDigest, err == errOutside:
		if merr := s.ix.Apply(ctx, &Change{Bad: w.entries(d)}); merr != nil {
			s.log.Error("a damaged chunk could not be marked", "digest", d, "err", merr)
		}
	default:
		return err
	}
	s.log.Error("stored bytes are damaged", "digest", d, "pack", w.frame.Pack, "offset", w.frame.Offset, "err", ce.Err)
	return ce
}
