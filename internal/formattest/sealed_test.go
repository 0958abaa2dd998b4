package formattest

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"maps"
	"path/filepath"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	caspack "github.com/cairn-store/cairn/cas/pack"
)

// A gcmSealer seals with AES-GCM under key 7.
type gcmSealer struct{ aead cipher.AEAD }

func newSealer(t *testing.T) *gcmSealer {
	t.Helper()
	b, err := aes.NewCipher(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCMWithRandomNonce(b)
	if err != nil {
		t.Fatal(err)
	}
	return &gcmSealer{a}
}

func (s *gcmSealer) Key() uint64 { return 7 }

func (s *gcmSealer) Seal(dst []byte, _ uint64, ad, plain []byte) ([]byte, error) {
	return s.aead.Seal(dst, nil, plain, ad), nil
}

func (s *gcmSealer) Open(dst []byte, _ uint64, ad, sealed []byte) ([]byte, error) {
	return s.aead.Open(dst, nil, sealed, ad)
}

// open opens a part of a frame as the page says.
func (s *gcmSealer) open(f *frame, part byte, sealed []byte) ([]byte, error) {
	return s.aead.Open(nil, nil, sealed, append(f.id[:], f.kind, part))
}

// TestReadsSealedFrames reads frames of three kinds that are sealed, in packs with a footer and without.
func TestReadsSealedFrames(t *testing.T) {
	dir, sealer := t.TempDir(), newSealer(t)
	b, err := diskbackend.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err := cas.Open(t.Context(), b, castest.NewMemIndex(), &cas.Options{PackSize: 4000, Sealer: sealer})
	if err != nil {
		t.Fatal(err)
	}
	want := map[byte][]string{}
	for i := range byte(9) {
		chunk := bytes.Repeat([]byte{'c', i}, 500)
		segment := append([]byte("segment "), i)
		slot := append([]byte("record "), i)
		batch := s.NewBatch(t.Context(), &cas.BatchOptions{Compression: cas.Compression{Codec: cas.Zstd}})
		if err := batch.Put(chunk); err != nil {
			t.Fatal(err)
		}
		if _, err := batch.PutSegment(t.Context(), segment); err != nil {
			t.Fatal(err)
		}
		if err := batch.Flush(); err != nil {
			t.Fatal(err)
		}
		batch.Close()
		if err := s.AppendRecords(t.Context(), &cas.Records{Commit: uint64(i) + 3, Slots: [][]byte{slot}}); err != nil {
			t.Fatal(err)
		}
		for kind, b := range map[byte][]byte{kindData: chunk, kindSegments: segment, kindRecords: slot} {
			want[kind] = append(want[kind], string(b))
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := map[byte][]string{}
	footers := map[bool]int{}
	for _, p := range readSealed(t, dir, sealer) {
		footers[p.sealed]++
		for _, f := range p.frames {
			for _, s := range f.slots {
				got[f.kind] = append(got[f.kind], string(s.plain))
			}
		}
	}
	for kind := range want {
		slices.Sort(got[kind])
		slices.Sort(want[kind])
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("packs hold %q, want %q", got, want)
	}
	if footers[true] == 0 || footers[false] == 0 {
		t.Errorf("packs with a footer and without are %v", footers)
	}
}

// readSealed reads all packs in dir, all frames of which are sealed.
func readSealed(t *testing.T, dir string, sealer *gcmSealer) (out []*pack) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "packs", "??", "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		p, err := openPackFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range p.frames {
			if !f.sealed() || f.key != 7 {
				t.Errorf("frame at %d of %s is not sealed with key 7", f.offset, path)
			}
			if err := f.decode(sealer.open); err != nil {
				t.Errorf("frame at %d of %s: %v", f.offset, path, err)
			}
		}
		out = append(out, p)
	}
	return out
}

// TestReadsNote reads what the store writes of a serial that was given up.
func TestReadsNote(t *testing.T) {
	want := voidSerial{writer: id16{1, 15: 2}, serial: 300}
	note := caspack.AppendVoid(nil, caspack.Void{Writer: want.writer, Serial: want.serial})
	if !bytes.Equal(note, binary.AppendUvarint(append([]byte{1}, want.writer[:]...), 300)) {
		t.Errorf("note is %x", note)
	}
	if got, err := parseNote(note); got != want || err != nil {
		t.Errorf("note is %+v, %v", got, err)
	}
}
