package cas_test

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
)

// FuzzPack walks and verifies arbitrary bytes: whatever they are, that ends,
// in bounded memory, with frames and stretches that cover the pack in order.
func FuzzPack(f *testing.F) {
	for _, name := range []string{"sealed", "unsealed"} {
		p, err := os.ReadFile(filepath.Join("pack", "testdata", name+".pack"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
		f.Add(p[:len(p)-1])
		f.Add(append(p[:128:128], p[200:]...))
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte("CrnF"), 100))
	f.Fuzz(func(t *testing.T, p []byte) {
		var id cas.PackID
		if len(p) >= 32 {
			id = cas.PackID(p[16:32])
		}
		b := membackend.New(nil)
		w, err := b.Create(t.Context(), id.Key())
		if err != nil {
			t.Fatal(err)
		}
		w.Write(p)
		if err := w.Commit(); err != nil {
			t.Fatal(err)
		}
		s, err := cas.Open(t.Context(), b, castest.NewMemIndex(), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer closeStore(t, s)
		var end int64
		s.Walk(t.Context(), cas.PackEntry{ID: id, Size: int64(len(p))}, func(f *cas.Frame) error {
			if f.Entry.Offset < end {
				t.Fatalf("at %d after %d", f.Entry.Offset, end)
			}
			end = f.Entry.Offset + f.Skipped
			if f.Damage == nil {
				end = f.Entry.Offset + int64(f.Entry.HeaderLen) + int64(f.Entry.StoredLen)
				s.Verify(t.Context(), f)
			}
			return nil
		})
		if end > int64(len(p)) {
			t.Fatalf("%d bytes walked of %d", end, len(p))
		}
	})
}

// A header that promises more than the limits is no frame, however much
// memory it asks for.
func TestHeaderPromises(t *testing.T) {
	text := golden(t, false)
	for _, at := range []int{8, 12, 16, 36, 40} {
		p := bytes.Clone(text)
		binary.LittleEndian.PutUint32(p[128+at:], 1<<31)
		b, e := packOf(t, p)
		s, err := cas.Open(t.Context(), b, castest.NewMemIndex(), nil)
		if err != nil {
			t.Fatal(err)
		}
		first := true
		if _, err := s.Walk(t.Context(), e, func(f *cas.Frame) error {
			if first && f.Damage == nil {
				t.Errorf("field at %d: a frame was found", at)
			}
			first = false
			return nil
		}); err != nil {
			t.Error(err)
		}
		closeStore(t, s)
	}
}
