package cas

import (
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas/pack"
)

// A Sealer encrypts frames and authenticates them: a frame's payload, and the
// part of its header that names its chunks, each by itself. ad is authenticated
// beside them; it names frame, kind and part, never a place. Its methods may be
// called concurrently. A sealed part is at most 1 KiB longer than the plain one.
type Sealer interface {
	// Key returns the ID of the key to seal with now, 0 for none.
	Key() uint64
	// Seal appends the sealed form of plain to dst.
	Seal(dst []byte, key uint64, ad, plain []byte) ([]byte, error)
	// Open appends the plain form of sealed to dst. It fails with ErrKey
	// where it does not have the key; any other error is damage.
	Open(dst []byte, key uint64, ad, sealed []byte) ([]byte, error)
}

// ErrKey reports a frame that is sealed with a key that the store does not
// have. It is no damage.
var ErrKey = errors.New("sealed with a key that is not at hand")

// A FrameCodec decodes frames of a codec that is not one of the format's own,
// whose frames may be made with sources.
type FrameCodec interface {
	// Decode appends the plain bytes of a payload to dst, size in all. Sources
	// are what the frame's sources name, in order. It may run concurrently.
	Decode(dst, payload []byte, sources [][]byte, size int) ([]byte, error)
}

// Parts of a frame that are sealed. Their values are part of the format.
const (
	partBlock   = 0
	partPayload = 1
)

func sealedWith(id FrameID, kind Kind, part byte) []byte { return append(id[:], byte(kind), part) }

// seal seals an encoded frame, if frames are to be sealed.
func (s *Store) seal(e *encoded) error {
	if s.sealer == nil {
		return nil
	}
	h := e.h
	h.Key = s.sealer.Key()
	if h.Key == 0 {
		return nil
	}
	var err error
	if h.Block, err = s.sealer.Seal(nil, h.Key, sealedWith(h.ID, h.Kind, partBlock), pack.AppendBlock(nil, h)); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	e.payload, err = s.sealer.Seal(make([]byte, 0, len(e.payload)+1<<10), h.Key, sealedWith(h.ID, h.Kind, partPayload), e.payload)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	h.StoredLen, h.CRC = uint32(len(e.payload)), pack.Checksum(e.payload)
	return nil
}

// unseal opens a part of a frame.
func (s *Store) unseal(id FrameID, kind Kind, key uint64, part byte, sealed []byte) ([]byte, error) {
	if s.sealer == nil {
		return nil, fmt.Errorf("frame %s, key %d: %w", id, key, ErrKey)
	}
	plain, err := s.sealer.Open(nil, key, sealedWith(id, kind, part), sealed)
	if err != nil {
		return nil, fmt.Errorf("frame %s, key %d: %w", id, key, err)
	}
	return plain, nil
}

// known fails where frames are encoded in a way that this store does not know.
// That is no damage.
func (s *Store) known(fe *FrameEntry) error {
	if !fe.Kind.Known() {
		return &UnknownError{What: "frame kind", Value: uint64(fe.Kind), Pack: fe.Pack, Offset: fe.Offset}
	}
	if fe.Codec > Gzip && s.codecs[fe.Codec] == nil {
		return &UnknownError{What: "codec", Value: uint64(fe.Codec), Pack: fe.Pack, Offset: fe.Offset}
	}
	return nil
}

// lies reports whether the chunks of a frame lie in its payload as they are.
func lies(fe *FrameEntry) bool { return fe.Codec == Raw && fe.Key == 0 }

// sources reads what the sources of a frame name. They are read past caches
// and limits, which those who wait for this frame may hold.
func (s *Store) sources(ctx context.Context, fe *FrameEntry) ([][]byte, error) {
	if len(fe.Sources) == 0 {
		return nil, nil
	}
	ds := make([]Digest, len(fe.Sources))
	for i := range ds {
		ds[i] = fe.Sources[i].Digest
	}
	chunks := make([]ChunkEntry, len(ds))
	if err := s.ix.Chunks(ctx, ds, chunks); err != nil {
		return nil, err
	}
	frames, err := s.framesOf(ctx, chunks)
	if err != nil {
		return nil, err
	}
	loaded := make(map[FrameID][]byte)
	out := make([][]byte, len(ds))
	for i, c := range chunks {
		src, f := &fe.Sources[i], frames[c.Frame]
		if f.ID == (FrameID{}) {
			return nil, &CorruptError{Digest: c.Digest, Pack: fe.Pack, Offset: fe.Offset, Err: fmt.Errorf("source %s: %w", src.Digest, ErrMissing)}
		}
		if len(f.Sources) > 0 {
			return nil, fmt.Errorf("source %s: %w", src.Digest, ErrSource)
		}
		if err := s.known(&f); err != nil {
			return nil, err
		}
		w := &want{frame: f, chunks: []wantChunk{{c, make([]byte, c.Length)}}}
		plain, ok := loaded[f.ID]
		if !ok {
			if plain, err = s.decodeFrame(ctx, s.reader(f.Pack), &f, nil); err != nil {
				return nil, s.damage(ctx, w, c.Digest, err)
			}
			loaded[f.ID] = plain
		}
		if err := s.copyOut(w, plain); err != nil {
			var ce *chunkError
			if errors.As(err, &ce) {
				err = s.damage(ctx, w, ce.digest, ce.err)
			}
			return nil, err
		}
		p := w.chunks[0].dst
		if uint64(src.Offset)+uint64(src.Length) > uint64(len(p)) {
			return nil, &decodeError{fmt.Errorf("source %s ends before %d", src.Digest, uint64(src.Offset)+uint64(src.Length))}
		}
		out[i] = p[src.Offset:][:src.Length]
	}
	return out, nil
}
