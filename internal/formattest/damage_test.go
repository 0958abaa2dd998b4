package formattest

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func goldenPack(t *testing.T, name string) (id16, []byte) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../cas/pack/testdata", name+".pack"))
	if err != nil {
		t.Fatal(err)
	}
	return id16(data[16:32]), data
}

// TestEveryFlipIsNoticed changes every byte of the golden packs, one at a time.
func TestEveryFlipIsNoticed(t *testing.T) {
	for _, name := range []string{"sealed", "unsealed"} {
		id, data := goldenPack(t, name)
		for i := range data {
			flip := byte(1) << (i % 8)
			data[i] ^= flip
			if _, err := read(id, data); err == nil {
				t.Errorf("%s: byte %d turned by %x is not noticed", name, i, flip)
			}
			data[i] ^= flip
		}
		if _, err := read(id, data); err != nil {
			t.Fatal(err)
		}
	}
}

// flipBytes changes bytes of the packs of a domain: some anywhere, some in headers and footers.
func (w *walk) flipBytes(d *domain) {
	for _, p := range d.packs {
		data, err := os.ReadFile(p.path)
		if err != nil {
			w.t.Fatal(err)
		}
		at := []int{0, packHeaderLen - 1, len(data) - 1, len(data) - trailerLen}
		for range 5 {
			f := p.frames[w.rand.IntN(len(p.frames))]
			at = append(at, w.rand.IntN(len(data)), w.rand.IntN(packHeaderLen),
				f.offset+w.rand.IntN(f.headerLen), f.offset+w.rand.IntN(f.headerLen+f.payloadLen),
				len(data)-1-w.rand.IntN(min(len(data), 2000)))
		}
		for _, i := range at {
			data[i] ^= 1 << w.rand.IntN(8)
			if _, err := read(p.id, data); err == nil {
				w.t.Errorf("%s: byte %d that is turned is not noticed", p.path, i)
			}
			if data[i], err = byteAt(p.path, i); err != nil {
				w.t.Fatal(err)
			}
		}
	}
}

func byteAt(path string, i int) (byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var b [1]byte
	_, err = f.ReadAt(b[:], int64(i))
	return b[0], err
}

// TestDamagedHeaderWithFooter verifies that a footer keeps all frames when the header of one is damaged; only of
// records the frame itself is lost.
func TestDamagedHeaderWithFooter(t *testing.T) {
	id, data := goldenPack(t, "sealed")
	whole, err := read(id, data)
	if err != nil {
		t.Fatal(err)
	}
	for i, f := range whole.frames {
		broken := slices.Clone(data)
		broken[f.offset] ^= 1
		p, err := readPack(id, broken)
		if err != nil {
			t.Fatal(err)
		}
		want := len(whole.frames)
		if f.kind == kindRecords {
			want--
		}
		if len(p.frames) != want || len(p.damaged) != 1 {
			t.Errorf("header %d: %d frames, damage %v", i, len(p.frames), p.damaged)
		}
		for _, f := range p.frames {
			if err := f.decode(nil); err != nil {
				t.Error(err)
			}
		}
	}
}

// TestUnknownIsNoDamage gives headers with right sums what only a later version can mean.
func TestUnknownIsNoDamage(t *testing.T) {
	tests := []struct {
		name   string
		change func(id id16, b []byte)
	}{
		{"pack version", func(_ id16, b []byte) { b[7] = 3; sumPackHeader(b) }},
		{"pack flags", func(_ id16, b []byte) { b[12] = 1; sumPackHeader(b) }},
		{"frame version", func(id id16, b []byte) { b[packHeaderLen+4] = 3; sumFrame(id, b) }},
		{"kind", func(id id16, b []byte) { b[packHeaderLen+5] = 5; sumFrame(id, b) }},
		{"codec", func(id id16, b []byte) { b[packHeaderLen+6] = 3; sumFrame(id, b) }},
		{"frame flags", func(id id16, b []byte) { b[packHeaderLen+7] = 2; sumFrame(id, b) }},
		{"footer version", func(id id16, b []byte) { b[len(b)-trailerLen+7] = 3; sumFooter(id, b) }},
		{"footer flags", func(id id16, b []byte) { b[len(b)-trailerLen+12] = 1; sumFooter(id, b) }},
	}
	for _, tt := range tests {
		id, data := goldenPack(t, "sealed")
		tt.change(id, data)
		if _, err := read(id, data); !errors.Is(err, errUnknown) {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
	if _, err := parseNote([]byte{2, 0}); !errors.Is(err, errUnknown) {
		t.Errorf("note: %v", err)
	}
}

func sumPackHeader(b []byte) {
	binary.LittleEndian.PutUint32(b[packHeaderLen-4:], castagnoli(b[:packHeaderLen-4]))
}

// sumFrame gives the first frame its check and sum.
func sumFrame(id id16, b []byte) {
	f := b[packHeaderLen:]
	at := binary.LittleEndian.AppendUint64(nil, packHeaderLen)
	binary.LittleEndian.PutUint32(f[36:], castagnoli(id[:], at, f[:36]))
	n := binary.LittleEndian.Uint32(f[8:])
	copy(f[n-frameSumLen:n], derive(frameSumLen, contextFrame, id[:], at, f[:n-frameSumLen]))
}

func sumFooter(id id16, b []byte) {
	t := b[len(b)-trailerLen:]
	n := int(binary.LittleEndian.Uint64(t[16:]))
	lines := b[len(b)-trailerLen-n : len(b)-trailerLen]
	copy(t[32:], derive(32, contextFooter, id[:], lines, t[:32]))
}
