package cas_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/cas/pack"
	"github.com/cairn-store/cairn/chunker/blake3"
)

// A toySealer turns bits round and appends a sum that its keys go into.
type toySealer struct {
	now  uint64
	keys []uint64
}

func (s *toySealer) Key() uint64 { return s.now }

func toySum(key uint64, ad, sealed []byte) []byte {
	h := blake3.NewDerived(fmt.Sprintf("a toy for tests, key %d", key))
	h.Write(ad)
	h.Write(sealed)
	return h.Sum(nil)[:16]
}

func (s *toySealer) Seal(dst []byte, key uint64, ad, plain []byte) ([]byte, error) {
	n := len(dst)
	for i, c := range plain {
		dst = append(dst, c^byte(key)^byte(i))
	}
	return append(dst, toySum(key, ad, dst[n:])...), nil
}

func (s *toySealer) Open(dst []byte, key uint64, ad, sealed []byte) ([]byte, error) {
	if !slices.Contains(s.keys, key) {
		return nil, cas.ErrKey
	}
	n := len(sealed) - 16
	if n < 0 || !bytes.Equal(sealed[n:], toySum(key, ad, sealed[:n])) {
		return nil, errors.New("not what was sealed")
	}
	for i, c := range sealed[:n] {
		dst = append(dst, c^byte(key)^byte(i))
	}
	return dst, nil
}

// What is sealed is read with its key, near and far, by index, walk and footer,
// and by a store that has adopted it; nothing of it shows in packs.
func TestSealed(t *testing.T) {
	for _, remote := range []bool{false, true} {
		w := newWorld(t)
		sealer := &toySealer{now: 7, keys: []uint64{7, 8}}
		opts := &cas.Options{PackSize: 200 << 10, Remote: remote, Sealer: sealer}
		s := w.open(t, opts)
		r := seeded(t)
		chunks := [][]byte{prose(r, 50<<10), noise(r, 50<<10), noise(r, 100), prose(r, 300<<10)}
		put(t, s, cas.Zstd, chunks[0], chunks[1])
		sealer.now = 8
		put(t, s, cas.Raw, chunks[2])
		put(t, s, cas.Gzip, chunks[3])
		if err := s.AppendRecords(t.Context(), &cas.Records{Commit: 5, Slots: [][]byte{[]byte("a record")}}); err != nil {
			t.Fatal(err)
		}
		closeStore(t, s)
		s = w.open(t, opts)
		checkStored(t, s, chunks...)
		if got := records(t, w, s); len(got) != 1 || got[0] != "a record" {
			t.Errorf("records %q", got)
		}
		for _, info := range inspect(t, w) {
			for _, f := range info.Frames {
				if bad, plain, err := s.Verify(t.Context(), f); f.Damage != nil || f.Entry.Key == 0 || err != nil || len(bad) > 0 || len(plain) != len(f.Slots) {
					t.Errorf("%+v: %v, %v", f, bad, err)
				}
			}
			text := w.bytesOf(t, info.ID)
			for _, c := range chunks {
				d := cas.Sum(c)
				if bytes.Contains(text, c[:64]) || bytes.Contains(text, d[:8]) {
					t.Error("a chunk or its digest shows")
				}
			}
		}
		closeStore(t, s)
	}
}

// Without its key a frame is neither damaged nor passed over: readers and
// Verify say which key lacks, and nothing is marked.
func TestSealedWithoutKey(t *testing.T) {
	w := newWorld(t)
	s := w.open(t, &cas.Options{Sealer: &toySealer{now: 7, keys: []uint64{7}}})
	c := prose(seeded(t), 50<<10)
	put(t, s, cas.Zstd, c)
	closeStore(t, s)
	for _, sealer := range []cas.Sealer{nil, &toySealer{now: 9, keys: []uint64{9}}} {
		for _, remote := range []bool{false, true} {
			s, err := cas.Open(t.Context(), w.b, w.ix, &cas.Options{Sealer: sealer, Remote: remote})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Get(t.Context(), cas.Sum(c), nil); !errors.Is(err, cas.ErrKey) {
				t.Errorf("read: %v", err)
			}
			if missing, err := s.Missing(t.Context(), []cas.Digest{cas.Sum(c)}); err != nil || len(missing) > 0 {
				t.Errorf("missing %v, %v", missing, err)
			}
			for _, f := range inspect(t, w)[0].Frames {
				if _, _, err := s.Verify(t.Context(), f); !errors.Is(err, cas.ErrKey) || f.Damage != nil {
					t.Errorf("verify: %v", err)
				}
			}
			closeStore(t, s)
		}
	}
	bare := castest.NewMemIndex() // knows of the pack, not of what is in it
	for e := range w.ix.AllPacks(t.Context()) {
		e.Size = pack.HeaderSize
		if err := bare.Apply(t.Context(), &cas.Change{Packs: []cas.PackEntry{e}}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cas.Open(t.Context(), w.b, bare, &cas.Options{Exclusive: true}); !errors.Is(err, cas.ErrKey) {
		t.Errorf("open: %v", err)
	}
}

// A toyCodec makes frames of whole sources and of bytes of its own: its payload
// is the numbers of the sources, each in a byte, a byte 255, and the rest.
type toyCodec struct{}

func (toyCodec) Decode(dst, payload []byte, sources [][]byte, size int) ([]byte, error) {
	for i, n := range payload {
		if n == 255 {
			return append(dst, payload[i+1:]...), nil
		}
		if int(n) >= len(sources) {
			return nil, errors.New("no such source")
		}
		dst = append(dst, sources[n]...)
	}
	return dst, nil
}

const toy = cas.Codec(200)

// addToy adds a pack with a frame of one chunk that is copied from ranges of
// two others, and returns the chunk.
func addToy(t *testing.T, w *world, a, b []byte) []byte {
	t.Helper()
	return addToyTo(t, w, w.ix, &cas.Options{Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}}, a, b, []byte("and its own"))
}

// addToyTo is addToy for an index that is not the world's, and bytes of the
// chunk's own.
func addToyTo(t *testing.T, w *world, ix cas.Index, opts *cas.Options, a, b, own []byte) []byte {
	t.Helper()
	sources := []cas.Source{{Digest: cas.Sum(a), Offset: 10, Length: 500}, {Digest: cas.Sum(b), Offset: 0, Length: 300}}
	chunk := slices.Concat(b[:300], a[10:510], b[:300], own)
	payload := append([]byte{1, 0, 1, 255}, own...)
	id := cas.PackID(pack.NewID())
	text := pack.AppendHeader(nil, &pack.Header{Pack: id, Serial: 1})
	f := &pack.Frame{ID: pack.NewID(), Pack: id, Offset: int64(len(text)), Kind: cas.KindData, Codec: toy, StoredLen: uint32(len(payload)),
		CRC: pack.Checksum(payload), Slots: refsOf(chunk), Sources: sources}
	var lines pack.Lines
	head := pack.AppendFrame(nil, f)
	lines.Add(f, head)
	text = pack.AppendFooter(append(append(text, head...), payload...), id, &lines)
	bw, err := w.mem.Create(t.Context(), id.Key())
	if err != nil {
		t.Fatal(err)
	}
	bw.Write(text)
	if err := bw.Commit(); err != nil {
		t.Fatal(err)
	}
	s, err := cas.Open(t.Context(), w.mem, ix, &cas.Options{Codecs: opts.Codecs, Sealer: opts.Sealer})
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	info, err := s.Inspect(t.Context(), cas.PackEntry{ID: id, Size: int64(len(text))})
	if err != nil {
		t.Fatal(err)
	}
	g := info.Frames[0]
	if !slices.Equal(g.Entry.Sources, sources) {
		t.Errorf("sources %v", g.Entry.Sources)
	}
	if err := s.Apply(t.Context(), &cas.Change{Packs: []cas.PackEntry{info.PackEntry}, Frames: []cas.FrameEntry{g.Entry}, Chunks: g.Chunks}); err != nil {
		t.Fatal(err)
	}
	return chunk
}

// A frame of copies is read through its sources. One that is damaged is named
// and marked, not the frame that copies from it, which is whole again when the
// source is healed.
func TestFrameOfCopies(t *testing.T) {
	for _, remote := range []bool{false, true} {
		for _, codec := range []cas.Codec{cas.Raw, cas.Zstd} {
			w := newWorld(t)
			opts := &cas.Options{Remote: remote, Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}}
			s := w.open(t, opts)
			r := seeded(t)
			a, b := noise(r, 4000), prose(r, 4000)
			put(t, s, codec, a, b)
			closeStore(t, s)
			chunk := addToy(t, w, a, b)
			s = w.open(t, opts)
			checkStored(t, s, a, chunk, b)
			for _, info := range inspect(t, w) {
				for _, f := range info.Frames {
					if bad, _, err := s.Verify(t.Context(), f); err != nil || len(bad) > 0 {
						t.Errorf("verify: %d bad, %v", len(bad), err)
					}
				}
			}
			closeStore(t, s)

			var hurt int64 // in the frame of a and b
			for f := range w.ix.AllFrames(t.Context()) {
				if f.Codec != toy {
					hurt = f.Offset + int64(f.HeaderLen) + 100
				}
			}
			w.b = &flipped{w.mem, hurt}
			s = w.open(t, opts)
			_, err := s.Get(t.Context(), cas.Sum(chunk), nil)
			var ce *cas.CorruptError
			if !errors.As(err, &ce) || ce.Digest != cas.Sum(a) {
				t.Errorf("read with a damaged source: %v", err)
			}
			missing, err := s.Missing(t.Context(), []cas.Digest{cas.Sum(a), cas.Sum(chunk)})
			if err != nil || !slices.Equal(missing, []cas.Digest{cas.Sum(a)}) {
				t.Errorf("marked %v, %v", missing, err)
			}
			closeStore(t, s)
			w.b = w.mem
			s = w.open(t, opts)
			put(t, s, codec, a)
			checkStored(t, s, chunk)
			closeStore(t, s)
		}
	}
}

// A codec of the format cannot be replaced.
func TestCodecsOfTheFormat(t *testing.T) {
	w := newWorld(t)
	if _, err := cas.Open(t.Context(), w.b, w.ix, &cas.Options{Codecs: map[cas.Codec]cas.FrameCodec{cas.Zstd: toyCodec{}}}); err == nil {
		t.Error("taken")
	}
}
