package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
)

// mostPlans is how often the place of a chunk is looked up for one read of it:
// each time anew only because a collector has copied it elsewhere meanwhile.
const mostPlans = 16

// planRead groups refs by frame, in order of first need.
func (s *Store) planRead(ctx context.Context, refs []Ref, dst []byte) ([]*want, error) {
	chunks := make([]wantChunk, len(refs))
	for i, r := range refs {
		if int(r.Length) > len(dst) {
			return nil, io.ErrShortBuffer
		}
		chunks[i] = wantChunk{ChunkEntry{Digest: r.Digest, Length: r.Length}, dst[:r.Length]}
		dst = dst[r.Length:]
	}
	return s.load.planChunks(ctx, chunks)
}

// planChunks looks up where chunks lie, of which digest, length and dst are
// given, and groups them by frame, in order of first need.
func (l *loader) planChunks(ctx context.Context, chunks []wantChunk) ([]*want, error) {
	lengths := make([]uint32, len(chunks))
	for i := range chunks {
		lengths[i] = chunks[i].Length
	}
	frames, err := l.findPlaces(ctx, chunks)
	if err != nil {
		return nil, err
	}
	var wants wantList
	for i, c := range chunks {
		if c.Frame == (FrameID{}) || c.Length != lengths[i] {
			return nil, &CorruptError{Digest: c.Digest, Err: ErrMissing}
		}
		fe, ok := frames[c.Frame]
		if !ok {
			return nil, &CorruptError{Digest: c.Digest, Err: errors.New("the index does not know its frame")}
		}
		if err := l.dec.checkKnown(&fe); err != nil {
			return nil, err
		}
		wants.add(fe, c)
	}
	return wants.list, nil
}

// findPlaces fills in the entries of chunks, of which the digests are given, and
// returns the frames that they lie in. A frame that is not known may have left
// the index between the two look-ups, since its chunks were copied to others:
// then the chunks are looked up again.
func (l *loader) findPlaces(ctx context.Context, chunks []wantChunk) (map[FrameID]FrameEntry, error) {
	ds, entries := make([]Digest, len(chunks)), make([]ChunkEntry, len(chunks))
	for i := range chunks {
		ds[i] = chunks[i].Digest
	}
	for n := 1; ; n++ {
		if err := l.ix.Chunks(ctx, ds, entries); err != nil {
			return nil, err
		}
		changed := false
		for i := range entries {
			changed = changed || entries[i].Frame != chunks[i].Frame
			chunks[i].ChunkEntry = entries[i]
			chunks[i].Digest = ds[i]
		}
		frames, err := framesOf(ctx, l.ix, entries)
		if err != nil {
			return nil, err
		}
		whole := true
		for i := range entries {
			_, ok := frames[entries[i].Frame]
			whole = whole && (ok || entries[i].Frame == FrameID{})
		}
		if whole || n > 1 && !changed || n == mostPlans {
			return frames, nil
		}
	}
}

// A wantList gathers what is wanted by frame.
type wantList struct {
	list    []*want
	byFrame map[FrameID]*want
}

func (l *wantList) add(fe FrameEntry, c wantChunk) {
	w := l.byFrame[fe.ID]
	if w == nil {
		if l.byFrame == nil {
			l.byFrame = make(map[FrameID]*want)
		}
		w = &want{frame: fe}
		l.byFrame[fe.ID] = w
		l.list = append(l.list, w)
	}
	w.chunks = append(w.chunks, c)
}

// framesOf looks up the frames that chunks lie in, those that are known.
func framesOf(ctx context.Context, ix Index, chunks []ChunkEntry) (map[FrameID]FrameEntry, error) {
	found := make(map[FrameID]FrameEntry)
	var ids []FrameID
	for _, e := range chunks {
		if _, seen := found[e.Frame]; !seen && e.Frame != (FrameID{}) {
			found[e.Frame] = FrameEntry{}
			ids = append(ids, e.Frame)
		}
	}
	out := make([]FrameEntry, len(ids))
	if err := ix.Frames(ctx, ids, out); err != nil {
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

// isAt reports whether c lies in the frame of w, at the same place as when w was
// planned.
func (w *want) isAt(frame *FrameEntry, c *wantChunk) bool {
	for i := range w.chunks {
		if o := &w.chunks[i]; o.Digest == c.Digest {
			return o.Frame == c.Frame && o.Slot == c.Slot && o.Offset == c.Offset && w.frame.Pack == frame.Pack && w.frame.Offset == frame.Offset
		}
	}
	return false
}

// hasMoved reports whether a chunk of w lies elsewhere in the plan now.
func (w *want) hasMoved(now []*want) bool {
	for _, n := range now {
		for i := range n.chunks {
			if !w.isAt(&n.frame, &n.chunks[i]) {
				return true
			}
		}
	}
	return false
}

// readAgain reads what is wanted of a frame anew after it came wrong: its chunks
// may lie elsewhere by now, or bytes were damaged on their way, or in a cache,
// while what is stored is good. read says that they were read past all caches. It
// is an error, and chunks are marked, only if the index still names the place
// after bytes were read past all caches and were wrong. The caller holds no
// token.
func (l *loader) readAgain(ctx context.Context, w *want, err error, read bool) error {
	for range mostPlans {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if read && !mayHaveMoved(err) {
			break
		}
		l.dropCached(w.frame.ID)
		now, perr := l.planChunks(ctx, append([]wantChunk(nil), w.chunks...))
		if perr != nil {
			return perr
		}
		moved := w.hasMoved(now)
		if read && !moved {
			break
		}
		if len(now) > 1 {
			return l.readEach(ctx, now)
		}
		w = now[0]
		rerr := l.readDirect(ctx, w)
		if rerr == nil {
			if isWrong(err) && !moved {
				l.log.Warn("a frame came damaged, and whole when it was read again", "pack", w.frame.Pack, "offset", w.frame.Offset, "err", err)
			}
			return nil
		}
		read, err = true, rerr
	}
	d := w.chunks[0].Digest
	if ce := (*chunkError)(nil); errors.As(err, &ce) {
		d, err = ce.digest, ce.err
	}
	return l.reportDamage(ctx, w, d, err)
}

// readEach reads what chunks that lay together wanted, where they lie now.
func (l *loader) readEach(ctx context.Context, wants []*want) error {
	for _, w := range wants {
		if err := l.readDirect(ctx, w); err != nil {
			if err := l.readAgain(ctx, w, err, true); err != nil {
				return err
			}
		}
	}
	return nil
}

// readDirect reads a frame past caches and tokens.
func (l *loader) readDirect(ctx context.Context, w *want) error {
	plain, err := l.readFrame(ctx, packReader{l.b, w.frame.Pack.Key()}, &w.frame)
	if err != nil {
		return err
	}
	return l.copyOut(w, plain)
}

func (l *loader) dropCached(id FrameID) {
	l.frames.dropFrame(id)
	if l.near != nil {
		l.near.Drop(id)
	}
}

// mayHaveMoved reports whether a read failed in a way that a place that is no
// longer the right one explains: its pack is gone or ends before it, bytes are
// wrong, or a source of the frame has left the index.
func mayHaveMoved(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, ErrMissing) || isWrong(err)
}

// loadSources returns the ranges that the sources of a frame name. Sources have
// no sources themselves, so the loads for them wait for no further ones.
func (l *loader) loadSources(ctx context.Context, fe *FrameEntry) ([][]byte, error) {
	if len(fe.Sources) == 0 {
		return nil, nil
	}
	chunks := make([]wantChunk, len(fe.Sources))
	for i := range chunks {
		chunks[i].Digest = fe.Sources[i].Digest
	}
	frames, err := l.findPlaces(ctx, chunks)
	if err != nil {
		return nil, err
	}
	var wants wantList
	out := make([][]byte, len(chunks))
	for i, c := range chunks {
		src, f := &fe.Sources[i], frames[c.Frame]
		if f.ID == (FrameID{}) {
			return nil, &CorruptError{Digest: src.Digest, Pack: fe.Pack, Offset: fe.Offset, Err: fmt.Errorf("source %s: %w", src.Digest, ErrMissing)}
		}
		if len(f.Sources) > 0 {
			return nil, fmt.Errorf("source %s: %w", src.Digest, ErrSource)
		}
		if err := l.dec.checkKnown(&f); err != nil {
			return nil, err
		}
		end := uint64(src.Offset) + uint64(src.Length)
		if end > uint64(c.Length) {
			return nil, &decodeError{fmt.Errorf("source %s ends before %d", src.Digest, end)}
		}
		c.dst = make([]byte, c.Length)
		wants.add(f, c)
		out[i] = c.dst[src.Offset:end]
	}
	return out, l.loadChunks(ctx, wants.list)
}
