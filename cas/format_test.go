package cas_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/internal/race"
)

var update = flag.Bool("update", false, "write golden files anew")

// goldenChunks are what the golden packs hold: of every codec.
func goldenChunks() map[cas.Codec][][]byte {
	r := rand.NewChaCha8([32]byte{'g'})
	return map[cas.Codec][][]byte{
		cas.Raw:  {[]byte("raw"), noise(r, 500)},
		cas.Zstd: {prose(r, 700), prose(r, 800), noise(r, 100)},
		cas.Gzip: {prose(r, 900)},
	}
}

const goldenRecord = "a record"

var goldenSegment = []byte("a segment")

// golden returns the bytes of a pack with everything that a pack can hold.
func golden(t *testing.T, sealed bool) []byte {
	t.Helper()
	w := newWorld(t)
	opts := &cas.Options{Store: [16]byte{'s'}, Domain: [16]byte{'d'}}
	if sealed {
		opts.PackSize = 3000
	}
	s := w.open(t, opts)
	chunks := goldenChunks()
	for _, codec := range []cas.Codec{cas.Raw, cas.Zstd, cas.Gzip} {
		put(t, s, codec, chunks[codec]...)
	}
	b := s.NewBatch(t.Context(), &cas.BatchOptions{})
	if _, err := b.PutSegment(t.Context(), goldenSegment); err != nil {
		t.Fatal(err)
	}
	if err := b.Flush(); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if err := s.AppendRecords(t.Context(), &cas.Records{Commit: 7, Slots: [][]byte{[]byte(goldenRecord)}}); err != nil {
		t.Fatal(err)
	}
	if sealed {
		put(t, s, cas.Raw, noise(rand.NewChaCha8([32]byte{'h'}), 3000))
		put(t, s, cas.Raw, []byte("of the next pack"))
	}
	closeStore(t, s)
	for _, p := range w.packs(t) {
		if text := w.bytesOf(t, p.ID); bytes.Contains(text, []byte(chunks[cas.Raw][0])) && bytes.Contains(text, []byte("CrnTAIL")) == sealed {
			return text
		}
	}
	t.Fatal("no such pack was written")
	return nil
}

// packOf puts a pack's bytes into a backend of its own.
func packOf(t *testing.T, p []byte) (*membackend.Backend, cas.PackEntry) {
	t.Helper()
	b := membackend.New(nil)
	id := cas.PackID(p[16:32])
	w, err := b.Create(t.Context(), id.Key())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(p); err != nil {
		t.Fatal(err)
	}
	if err := w.Commit(); err != nil {
		t.Fatal(err)
	}
	return b, cas.PackEntry{ID: id, Size: int64(len(p))}
}

// indexOf walks a pack that is whole and returns its index.
func indexOf(t *testing.T, b backend.Backend, p cas.PackEntry) *castest.MemIndex {
	t.Helper()
	s, err := cas.Open(t.Context(), b, castest.NewMemIndex(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer closeStore(t, s)
	c := &cas.Change{}
	sealed, err := s.Walk(t.Context(), p, func(f *cas.Frame) error {
		if f.Damage != nil {
			t.Errorf("at %d: %v", f.Entry.Offset, f.Damage)
		}
		if f.Entry.Kind != cas.KindRecord {
			c.Frames = append(c.Frames, f.Entry)
		}
		c.Chunks = append(c.Chunks, f.Chunks...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	p.Sealed = sealed
	c.Packs = []cas.PackEntry{p}
	ix := castest.NewMemIndex()
	if err := ix.Apply(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return ix
}

// TestGolden reads packs that were written once and for all.
func TestGolden(t *testing.T) {
	for _, name := range []string{"sealed", "unsealed"} {
		file := filepath.Join("pack", "testdata", name+".pack")
		if *update {
			if err := os.WriteFile(file, golden(t, name == "sealed"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		b, p := packOf(t, text)
		s, err := cas.Open(t.Context(), b, indexOf(t, b, p), nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, chunks := range goldenChunks() {
			checkStored(t, s, chunks...)
		}
		w := &world{mem: b, b: b}
		if got := records(t, w, s); len(got) != 1 || got[0] != goldenRecord {
			t.Errorf("%s: records %q", name, got)
		}
		if _, sealed := frames(t, s, p); sealed != (name == "sealed") {
			t.Errorf("%s: sealed is %v", name, sealed)
		}
		closeStore(t, s)
	}
}

// A flipped backend has one bit of one object turned round.
type flipped struct {
	backend.Backend
	at int64
}

func (f *flipped) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	err := f.Backend.ReadAt(ctx, key, p, off)
	if i := f.at - off; err == nil && i >= 0 && i < int64(len(p)) {
		p[i] ^= 0x10
	}
	return err
}

// TestEveryByteFlipped damages a pack at every byte in turn: a chunk reads
// back right or is a *CorruptError that names it and the pack, and whatever
// the damage, a walk over the pack sees it.
func TestEveryByteFlipped(t *testing.T) {
	race.LeaveOut(t)
	text := golden(t, true)
	mem, p := packOf(t, text)
	ix := indexOf(t, mem, p)
	p.Sealed = true
	step := 1
	if testing.Short() {
		step = 7
	}
	for at := 0; at < len(text); at += step {
		s, err := cas.Open(t.Context(), &flipped{mem, int64(at)}, ix, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := readAllOf(t.Context(), s, p.ID); err != nil {
			t.Fatalf("byte %d of %d: %v", at, len(text), err)
		}
		if !seen(t, s, p) {
			t.Errorf("byte %d of %d: nothing found", at, len(text))
		}
		closeStore(t, s)
	}
}

// readAllOf reads every golden chunk and returns what must not happen.
func readAllOf(ctx context.Context, s *cas.Store, pack cas.PackID) error {
	for _, chunks := range goldenChunks() {
		for _, want := range chunks {
			d := cas.Sum(want)
			got, err := s.Get(ctx, d, nil)
			var ce *cas.CorruptError
			switch {
			case err == nil && !bytes.Equal(got, want):
				return fmt.Errorf("chunk %s reads back wrong", d)
			case err == nil:
			case !errors.As(err, &ce) || ce.Digest != d || ce.Pack != pack:
				return fmt.Errorf("chunk %s: %w", d, err)
			}
		}
	}
	return nil
}

// seen reports whether walking and verifying the pack finds damage.
func seen(t *testing.T, s *cas.Store, p cas.PackEntry) bool {
	t.Helper()
	found := false
	sealed, err := s.Walk(t.Context(), p, func(f *cas.Frame) error {
		if f.Damage != nil {
			found = true
			return nil
		}
		_, bad, err := s.Verify(t.Context(), f)
		found = found || len(bad) > 0 || err != nil
		return nil
	})
	return found || err != nil || !sealed
}
