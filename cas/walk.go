package cas

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
)

// A Frame is what a walk over a pack finds: a frame, or a stretch of bytes in
// which none could be recognised.
type Frame struct {
	Entry   FrameEntry
	Chunks  []ChunkEntry // of data and segments
	Slots   []Ref
	Sources []FrameID
	crc     uint32
	from    readerAt // has its bytes

	// Damage says why no frame was recognised from Entry.Offset on, for
	// Skipped bytes. In a pack that was never sealed this may be what a
	// crash left of an unfinished write.
	Damage  error
	Skipped int64
}

func (f *Frame) tail() tailFrame {
	return tailFrame{f.Entry.ID, f.Entry.Offset, f.Entry.end() - f.Entry.Offset, f.crc, f.Entry.Kind}
}

// checkPayload reads the payload and compares its checksum.
func (f *Frame) checkPayload(ctx context.Context, b readerAt) error {
	p := make([]byte, f.Entry.StoredLen)
	if err := b.ReadAt(ctx, f.Entry.Pack.Key(), p, f.Entry.Offset+int64(f.Entry.HeaderLen)); err != nil {
		return err
	}
	if castagnoli(p) != f.crc {
		return errPayload
	}
	return nil
}

var errPayload = errors.New("frame payload is damaged")

// Packs yields the packs that the backend holds, in order of their keys. Keys
// of anything else are passed over.
func (s *Store) Packs(ctx context.Context) iter.Seq2[PackEntry, error] {
	return func(yield func(PackEntry, error) bool) {
		for info, err := range s.b.List(ctx, packPrefix) {
			if err != nil {
				yield(PackEntry{}, fmt.Errorf("cas: packs: %w", err))
				return
			}
			id, ok := ParsePackKey(info.Key)
			if ok && !yield(PackEntry{ID: id, Size: info.Size}, nil) {
				return
			}
		}
	}
}

// Walk calls fn for every frame of a pack, in order of offsets, and for every
// stretch in which none is recognised. sealed says whether the pack has a
// whole footer; a damaged one is an error satisfying IsDamage after all
// frames have been seen.
func (s *Store) Walk(ctx context.Context, p PackEntry, fn func(*Frame) error) (sealed bool, err error) {
	var from readerAt = s.b
	if s.remote {
		from = &packView{b: s.b, size: p.Size}
	}
	tail, terr := readTail(ctx, from, p.ID, p.Size)
	if terr != nil && terr != errTail {
		return false, fmt.Errorf("cas: walk %s: %w", p.ID, terr)
	}
	if err := walkPack(ctx, from, p.ID, p.Size, fn); err != nil {
		return false, fmt.Errorf("cas: walk %s: %w", p.ID, err)
	}
	return tail != nil, nil
}

// walkPack walks the first size bytes of a pack.
func walkPack(ctx context.Context, b readerAt, id PackID, size int64, fn func(*Frame) error) error {
	tail, err := readTail(ctx, b, id, size)
	if err != nil && err != errTail {
		return err
	}
	if tail != nil {
		size -= tailSize + int64(len(tail))*tailEntry
	}
	w := &walker{ctx: ctx, b: b, id: id, size: size}
	if err := w.packHeader(fn); err != nil {
		return err
	}
	for off := int64(packHeader); off < size; {
		f, err := w.frame(off)
		if err != nil {
			return err
		}
		if f == nil {
			next, err := w.resync(off + 1)
			if err != nil {
				return err
			}
			f = &Frame{Entry: FrameEntry{Pack: id, Offset: off}, Damage: errHeader, Skipped: next - off}
			off = next
		} else {
			off = f.Entry.end()
		}
		if err := fn(f); err != nil {
			return err
		}
	}
	return nil
}

type walker struct {
	ctx  context.Context
	b    readerAt
	id   PackID
	size int64
}

// read returns up to n bytes from off, fewer at the end.
func (w *walker) read(off int64, n int) ([]byte, error) {
	p := make([]byte, min(int64(n), w.size-off))
	return p, w.b.ReadAt(w.ctx, w.id.Key(), p, off)
}

func (w *walker) packHeader(fn func(*Frame) error) error {
	if w.size < packHeader {
		return fn(&Frame{Entry: FrameEntry{Pack: w.id}, Damage: errPack, Skipped: w.size})
	}
	p, err := w.read(0, packHeader)
	if err != nil {
		return err
	}
	if err := checkPackHeader(p, w.id); err != nil {
		return fn(&Frame{Entry: FrameEntry{Pack: w.id}, Damage: err, Skipped: packHeader})
	}
	return nil
}

// frame returns the frame at off, nil if there is none.
func (w *walker) frame(off int64) (*Frame, error) {
	p, err := w.read(off, 4096)
	if err != nil {
		return nil, err
	}
	n := headerLength(p)
	if n == 0 || int64(n) > w.size-off {
		return nil, nil
	}
	if n > len(p) {
		if p, err = w.read(off, n); err != nil {
			return nil, err
		}
	}
	h, err := parseHeader(p[:n], w.id, off)
	if errors.Is(err, errHeader) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	f := &Frame{from: w.b, Slots: h.slots, Sources: h.sources, crc: h.crc, Chunks: slotEntries(h), Entry: FrameEntry{
		ID: h.id, Pack: w.id, Offset: off, HeaderLen: h.headerLen, StoredLen: h.stored,
		PlainLen: h.plain, Slots: uint32(len(h.slots)), Kind: h.kind, Codec: h.codec}}
	if f.Entry.end() > w.size {
		return nil, nil // torn
	}
	return f, nil
}

// resync returns where the next frame begins at or after off, or the end.
func (w *walker) resync(off int64) (int64, error) {
	const window = 1 << 20
	for off < w.size {
		p, err := w.read(off, window)
		if err != nil {
			return 0, err
		}
		for i := 0; ; i++ {
			j := bytes.Index(p[i:], []byte(frameMagic))
			if j < 0 {
				break
			}
			i += j
			f, err := w.frame(off + int64(i))
			if err != nil {
				return 0, err
			}
			if f != nil {
				return off + int64(i), nil
			}
		}
		if len(p) < window {
			break
		}
		off += window - int64(len(frameMagic)) + 1
	}
	return w.size, nil
}

// Verify reads a frame and returns which of its slots cannot be had any more,
// each with its digest and what is wrong.
func (s *Store) Verify(ctx context.Context, f *Frame) (bad []Ref, plain [][]byte, err error) {
	buf, err := s.decodeFrame(ctx, f.from, &f.Entry, nil)
	var de *decodeError
	if errors.As(err, &de) || errors.Is(err, io.ErrUnexpectedEOF) {
		return f.Slots, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("cas: verify frame %s: %w", f.Entry.ID, err)
	}
	h := newHasher(f.Entry.Kind)
	for _, r := range f.Slots {
		p := buf[:r.Length]
		buf = buf[r.Length:]
		if h.sum(p) != r.Digest {
			bad = append(bad, r)
			p = nil
		}
		plain = append(plain, p)
	}
	return bad, plain, nil
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
