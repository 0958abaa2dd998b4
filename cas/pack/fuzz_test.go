package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"testing"
)

// seeds are packs to begin with.
func seeds(f *testing.F) (out [][]byte) {
	for _, name := range []string{"sealed", "unsealed"} {
		p, err := os.ReadFile(filepath.Join("testdata", name+".pack"))
		if err != nil {
			f.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

// resign gives every header of p that has a right length a right check and
// sum, so that what lies behind them is reached.
func resign(p []byte, id ID) {
	if n := len(p); n >= HeaderSize {
		copy(p[16:32], id[:])
		binary.LittleEndian.PutUint32(p[HeaderSize-4:], Checksum(p[:HeaderSize-4]))
	}
	for off := HeaderSize; off+frameFixed < len(p); {
		h := p[off:]
		n := binary.LittleEndian.Uint32(h[8:])
		if string(h[:4]) != frameTag || n < frameFixed+frameSum || int64(n) > int64(len(h)) {
			off++
			continue
		}
		binary.LittleEndian.PutUint32(h[checkAt:], checkOf(h, id, int64(off)))
		sum := sumOf(h[:n-frameSum], id, int64(off))
		copy(h[n-frameSum:], sum[:])
		off += int(n)
	}
	if len(p) < HeaderSize+tailSize {
		return
	}
	tail := p[len(p)-tailSize:]
	if n := binary.LittleEndian.Uint64(tail[16:]); n < uint64(len(p)-HeaderSize-tailSize) {
		sum := sumFooter(id, p[len(p)-tailSize-int(n):len(p)-tailSize], tail[:32])
		copy(tail[32:], sum[:])
	}
}

// FuzzWalk walks arbitrary bytes: that ends, reads no more than it may, and
// finds frames and stretches that cover the pack in order.
func FuzzWalk(f *testing.F) {
	for _, p := range seeds(f) {
		f.Add(p, true)
		f.Add(p, false)
		f.Add(p[:len(p)-1], true)
		f.Add(append(p[:HeaderSize:HeaderSize], p[200:]...), true)
	}
	f.Add([]byte{}, false)
	f.Add(bytes.Repeat([]byte(frameTag), 100), true)
	f.Fuzz(func(t *testing.T, p []byte, right bool) {
		id := testPack
		if len(p) >= HeaderSize {
			id = ID(p[16:32])
		}
		if right {
			resign(p, id)
		}
		r := &bytesReader{p: p}
		var end int64
		foot, err := Walk(t.Context(), r, id, int64(len(p)), func(w *Found) error {
			if w.Offset < end || w.Length <= 0 && len(p) > 0 {
				t.Fatalf("%d bytes at %d after %d", w.Length, w.Offset, end)
			}
			end = w.Offset + w.Length
			if w.Frame != nil && w.Damage == nil && len(w.Frame.Slots) > MaxSlots {
				t.Fatalf("%d slots", len(w.Frame.Slots))
			}
			return nil
		})
		if end > int64(len(p)) {
			t.Fatalf("%d bytes walked of %d", end, len(p))
		}
		if err == nil && foot == nil && end != int64(len(p)) && len(p) > HeaderSize {
			t.Fatalf("%d bytes of %d accounted for", end, len(p))
		}
		if err != nil && !errors.Is(err, ErrUnknown) && err != ErrFooter {
			t.Fatal(err)
		}
		if r.read > 3*int64(len(p))+maxHeader {
			t.Fatalf("%d bytes read of %d", r.read, len(p))
		}
	})
}

// FuzzFrame: a header that is read is written the same.
func FuzzFrame(f *testing.F) {
	for _, p := range seeds(f) {
		Walk(f.Context(), &bytesReader{p: p}, ID(p[16:32]), int64(len(p)), func(w *Found) error {
			f.Add(p[w.Offset:][:w.Frame.HeaderLen])
			return nil
		})
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		if len(p) < frameFixed+frameSum {
			return
		}
		p = sign(p[:len(p)-frameSum], 128)
		h, err := ParseFrame(p, testPack, 128)
		if err != nil {
			if !errors.Is(err, ErrUnknown) && !errors.Is(err, ErrHeader) {
				t.Fatal(err)
			}
			return
		}
		if q := AppendFrame(nil, h); !bytes.Equal(p, q) {
			t.Fatalf("%x is written as %x", p, q)
		}
	})
}

// FuzzHeader: a pack header that is read is written the same.
func FuzzHeader(f *testing.F) {
	for _, p := range seeds(f) {
		f.Add(p[:HeaderSize])
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		id := testPack
		if len(p) >= HeaderSize {
			id = ID(p[16:32])
			binary.LittleEndian.PutUint32(p[HeaderSize-4:], Checksum(p[:HeaderSize-4]))
		}
		h, err := ParseHeader(p, id)
		if err != nil {
			if !errors.Is(err, ErrUnknown) && err != ErrPack {
				t.Fatal(err)
			}
			return
		}
		if q := AppendHeader(nil, h); !bytes.Equal(p[:HeaderSize], q) {
			t.Fatalf("%x is written as %x", p, q)
		}
	})
}

// FuzzDigest: what parses is the text of a digest, and nothing else.
func FuzzDigest(f *testing.F) {
	f.Add(Sum(nil).String())
	f.Add("")
	f.Add("zz")
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ParseDigest(s); err == nil && d.String() != s {
			t.Errorf("%q is read as %s", s, d)
		}
	})
}

// FuzzKey: what parses is the key of a pack, and nothing else.
func FuzzKey(f *testing.F) {
	f.Add(testPack.Key())
	f.Add("packs/00/zz")
	f.Fuzz(func(t *testing.T, s string) {
		if id, ok := ParseKey(s); ok && id.Key() != s {
			t.Errorf("%q is read as %s", s, id)
		}
	})
}

// FuzzNote: a note that is read is written the same.
func FuzzNote(f *testing.F) {
	f.Add(AppendVoid(nil, Void{[16]byte{1}, 1 << 40}))
	f.Add([]byte{2})
	f.Fuzz(func(t *testing.T, p []byte) {
		if v, err := ParseNote(p, testPack, 128); err == nil && !bytes.Equal(AppendVoid(nil, v), p) {
			t.Errorf("%x is read as %+v", p, v)
		}
	})
}
