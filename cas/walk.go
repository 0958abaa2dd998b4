package cas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cairn-store/cairn/cas/pack"
)

// A Frame is what a walk over a pack finds: a frame, or a stretch of bytes in
// which none could be recognised.
type Frame struct {
	Entry   FrameEntry
	Chunks  []ChunkEntry // of data and segments
	Slots   []Ref
	Sources []Source
	header  *pack.Frame
	from    pack.Reader // reads its bytes

	// locked says that its key is not at hand, so that its slots are unknown.
	locked bool
	// bare says that it comes from a footer, which has no slots of frames of
	// records: its own header has them.
	bare bool

	// Damage says why no frame was recognised from Entry.Offset on, for
	// Skipped bytes. In a pack that was never sealed this may be what a
	// crash left of an unfinished write.
	Damage  error
	Skipped int64
}

// size is how much of the pack the frame takes.
func (f *Frame) size() int64 { return int64(f.Entry.HeaderLen) + int64(f.Entry.StoredLen) }

// checkPayload reads the payload and compares its checksum.
func (f *Frame) checkPayload(ctx context.Context) error {
	p := make([]byte, f.Entry.StoredLen)
	if err := f.from.ReadAt(ctx, p, f.Entry.Offset+int64(f.Entry.HeaderLen)); err != nil {
		return err
	}
	if pack.Checksum(p) != f.header.CRC {
		return errPayload
	}
	return nil
}

var errPayload = errors.New("frame payload is damaged")

// Packs yields the packs that the backend holds, in any order. Keys of anything
// else are passed over.
func (s *Store) Packs(ctx context.Context) iter.Seq2[PackEntry, error] {
	return func(yield func(PackEntry, error) bool) {
		for info, err := range s.b.List(ctx, pack.Prefix) {
			if err != nil {
				yield(PackEntry{}, fmt.Errorf("cas: packs: %w", err))
				return
			}
			id, ok := pack.ParseKey(info.Key)
			if ok && !yield(PackEntry{ID: id, Size: info.Size}, nil) {
				return
			}
		}
	}
}

// Walk calls fn for every frame of a pack, in order of offsets, and for every
// stretch in which none is recognised. sealed says whether the pack has a
// whole footer. A version, kind, codec or flag that is not known ends it with
// an error satisfying ErrUnknown.
func (s *Store) Walk(ctx context.Context, p PackEntry, fn func(*Frame) error) (sealed bool, err error) {
	info, err := s.Examine(ctx, p, fn)
	if err != nil {
		return false, err
	}
	return info.Sealed, nil
}

// Examine does what Walk does, and returns what the pack says of itself, without
// Frames.
func (s *Store) Examine(ctx context.Context, p PackEntry, fn func(*Frame) error) (*PackInfo, error) {
	from := s.scan.openPack(p)
	info, err := readInfo(ctx, from, p)
	var foot *pack.Footer
	if err == nil {
		foot, err = s.scan.walkPack(ctx, from, p, func(f *Frame) error {
			info.noteRecords(f)
			return fn(f)
		})
	}
	if err != nil {
		return nil, fmt.Errorf("cas: walk %s: %w", p.ID, err)
	}
	info.Sealed = foot != nil
	return info, nil
}

func (s *scanner) walkPack(ctx context.Context, from pack.Reader, p PackEntry, fn func(*Frame) error) (*pack.Footer, error) {
	return pack.Walk(ctx, from, p.ID, p.Size, func(w *pack.Found) error {
		f, err := s.frameFound(from, p.ID, w)
		if err != nil {
			return err
		}
		return fn(f)
	})
}

// frameFound turns what a walk of package pack met into a Frame.
func (s *scanner) frameFound(from pack.Reader, id PackID, w *pack.Found) (*Frame, error) {
	f := &Frame{from: from, Damage: w.Damage, Entry: FrameEntry{Pack: id, Offset: w.Offset}}
	if w.Damage != nil {
		f.Skipped = w.Length
	}
	if w.Frame == nil {
		return f, nil
	}
	return f, s.describeFrame(f, w.Frame)
}

// describeFrame fills f from a header. A sealed frame whose key is not at hand
// gets no slots.
func (s *scanner) describeFrame(f *Frame, h *pack.Frame) error {
	if h.Block != nil {
		block, err := s.load.dec.openPart(h.ID, h.Kind, h.Key, partBlock, h.Block)
		if err == nil {
			err = h.ParseBlock(block)
		}
		switch f.locked = errors.Is(err, ErrKey); {
		case errors.Is(err, ErrUnknown):
			return err
		case err != nil && !f.locked:
			f.Damage, f.Skipped = err, h.End()-h.Offset
		}
	}
	f.header, f.Entry = h, frameEntry(h)
	f.Slots, f.Sources, f.Chunks = h.Slots, h.Sources, slotEntries(h)
	return s.load.dec.checkKnown(&f.Entry)
}

// Commits are the numbers of the first and of the last commit whose records
// the frame holds, and the base of the checkpoint that it is a part of.
func (f *Frame) Commits() (first, last, base uint64) {
	if f.header == nil {
		return 0, 0, 0
	}
	return f.header.First, f.header.Last, f.header.Base
}

// readSlots reads the header of a frame of records, and returns it with the
// payload that follows.
func (s *scanner) readSlots(ctx context.Context, f *Frame) (stretch, error) {
	p := stretch{f.Entry.Offset, make([]byte, int(f.header.HeaderLen)+int(f.header.StoredLen))}
	if err := f.from.ReadAt(ctx, p.bytes, p.off); err != nil {
		return p, err
	}
	h, err := pack.ParseFrame(p.bytes[:f.header.HeaderLen], f.Entry.Pack, f.Entry.Offset)
	if err != nil {
		return p, err
	}
	f.bare = false
	if err := s.describeFrame(f, h); err != nil || f.Damage == nil {
		return p, err
	}
	return p, pack.ErrHeader
}

// A stretch is what was read of a pack from an offset on.
type stretch struct {
	off   int64
	bytes []byte
}

func (p stretch) ReadAt(_ context.Context, dst []byte, off int64) error {
	if off -= p.off; off < 0 || off > int64(len(p.bytes)) || copy(dst, p.bytes[off:]) < len(dst) {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// Verify reads a frame and returns its damaged slots, and the plain bytes of all
// slots in order, nil for those that are damaged; plain is nil if all are. What is
// wrong is read again, past all caches, before it counts. If a frame of records
// that only a footer describes has a damaged header, its slots are unknown, and the
// error is a *CorruptError.
func (s *Store) Verify(ctx context.Context, f *Frame) (bad []Ref, plain [][]byte, err error) {
	again := s.scan.again(f)
	bad, plain, err = s.verifyFrame(ctx, f)
	if len(bad) > 0 || mayHaveMoved(err) || errors.Is(err, pack.ErrHeader) {
		bad, plain, err = s.verifyFrame(ctx, again)
		from := f.from
		*f, f.from = *again, from
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cas: verify frame %s: %w", f.Entry.ID, err)
	}
	return bad, plain, nil
}

// again returns a copy of a frame whose bytes come from the backend.
func (s *scanner) again(f *Frame) *Frame {
	c := *f
	c.from = packReader{s.b, f.Entry.Pack.Key()}
	return &c
}

// verifyFrame is Verify of what one read brings.
func (s *Store) verifyFrame(ctx context.Context, f *Frame) (bad []Ref, plain [][]byte, err error) {
	from := f.from
	if f.bare {
		from, err = s.scan.readSlots(ctx, f)
		if errors.Is(err, pack.ErrHeader) || errors.Is(err, io.ErrUnexpectedEOF) {
			err = &CorruptError{Pack: f.Entry.Pack, Offset: f.Entry.Offset, Err: err}
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if f.locked {
		return nil, nil, fmt.Errorf("key %d: %w", f.Entry.Key, ErrKey)
	}
	buf, err := s.load.readFrame(ctx, from, &f.Entry)
	var de *decodeError
	if errors.As(err, &de) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f.Slots, nil, nil
	}
	if err != nil {
		return nil, nil, err
	}
	for _, r := range f.Slots {
		p := buf[:r.Length]
		buf = buf[r.Length:]
		if pack.SumSlot(f.Entry.Kind, p) != r.Digest {
			bad = append(bad, r)
			p = nil
		}
		plain = append(plain, p)
	}
	return bad, plain, nil
}

// A Void is a serial that its writer has given up: no pack of it need exist.
type Void = pack.Void

// Voids returns the void serials that a frame of notes names, and none for other
// frames. It leaves damaged notes out.
func (s *Store) Voids(ctx context.Context, f *Frame) (out []Void, err error) {
	if f.Damage != nil || f.Entry.Kind != pack.KindNote {
		return nil, nil
	}
	_, plain, err := s.Verify(ctx, f)
	if err != nil {
		return nil, err
	}
	for _, p := range plain {
		if p == nil {
			continue
		}
		v, err := pack.ParseNote(p, f.Entry.Pack, f.Entry.Offset)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Apply changes the index, for rebuilding and repair.
func (s *Store) Apply(ctx context.Context, c *Change) error {
	if err := s.ix.Apply(ctx, c); err != nil {
		return fmt.Errorf("cas: %w", err)
	}
	return nil
}

// Index returns the store's index, for reports and checks.
func (s *Store) Index() Index { return s.ix }
