package cas_test

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/diskcache"
	"github.com/cairn-store/cairn/cas/pack"
	"github.com/cairn-store/cairn/internal/race"
)

// A far backend counts the requests that read, and may spoil what they bring.
type far struct {
	backend.Backend
	mu    sync.Mutex
	reads int                                    // guarded by mu
	bytes int                                    // guarded by mu
	spoil func(n int, p []byte, off int64) error // guarded by mu; n counts from 1
}

func (f *far) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	if err := f.Backend.ReadAt(ctx, key, p, off); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	f.bytes += len(p)
	if f.spoil != nil {
		return f.spoil(f.reads, p, off)
	}
	return nil
}

func (f *far) count(spoil func(n int, p []byte, off int64) error) (reads, bytes int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	reads, bytes = f.reads, f.bytes
	f.reads, f.bytes, f.spoil = 0, 0, spoil
	return reads, bytes
}

// farWorld is a remote store with chunks in it, half of which compress.
func farWorld(t *testing.T, cache cas.Cache) (*world, *far, *cas.Store, [][]byte) {
	w := newWholeWorld(t)
	f := &far{Backend: w.mem}
	w.b = f
	s := w.open(t, &cas.Options{Remote: true, PackSize: 3 << 20, Cache: cache, CacheBytes: 1})
	r := seeded(t)
	var chunks [][]byte
	for i := range 120 {
		n := 32<<10 + int(r.Uint64()%(64<<10))
		if i/20%2 == 0 {
			chunks = append(chunks, noise(r, n))
		} else {
			chunks = append(chunks, append(noise(r, n/2), prose(r, n/2)...))
		}
	}
	put(t, s, cas.Zstd, chunks...)
	t.Cleanup(func() { closeStore(t, s) })
	return w, f, s, chunks
}

func readAll(t *testing.T, s *cas.Store, chunks [][]byte) error {
	t.Helper()
	want := slices.Concat(chunks...)
	got := make([]byte, len(want))
	err := s.Read(t.Context(), refsOf(chunks...), got)
	if err == nil && !bytes.Equal(got, want) {
		t.Fatal("read: not the bytes that were put")
	}
	return err
}

func TestFarReadsAreFew(t *testing.T) {
	race.LeaveOut(t)
	w, f, s, chunks := farWorld(t, nil)
	packs := len(w.packs(t))
	f.count(nil)
	if err := readAll(t, s, chunks); err != nil {
		t.Fatal(err)
	}
	total := len(slices.Concat(chunks...))
	reads, n := f.count(nil)
	if reads > packs+total>>23+1 || n > total+total/10 {
		t.Errorf("%d chunks of %d bytes in %d packs: %d requests for %d bytes", len(chunks), total, packs, reads, n)
	}
	// What lies apart is not read together.
	if err := readAll(t, s, [][]byte{chunks[0], chunks[8]}); err != nil {
		t.Fatal(err)
	}
	if reads, n := f.count(nil); reads != 2 || n > 2<<20 {
		t.Errorf("two chunks far apart: %d requests for %d bytes", reads, n)
	}
	// In any order, and repeated.
	some := slices.Concat(chunks[:50], chunks[20:70], chunks[:3])
	rand.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	if err := readAll(t, s, some); err != nil {
		t.Fatal(err)
	}
}

// Bytes that came wrong are read again before anything is called damaged.
func TestFarBytesWrongOnTheWay(t *testing.T) {
	w, f, s, chunks := farWorld(t, nil)
	f.count(func(n int, p []byte, _ int64) error {
		if n == 1 {
			for i := 0; i < len(p); i += 1000 {
				p[i] ^= 1
			}
		}
		return nil
	})
	if err := readAll(t, s, chunks); err != nil {
		t.Fatalf("wrong once: %v", err)
	}
	f.count(func(int, []byte, int64) error { return errBoom })
	if err := readAll(t, s, chunks); !errors.Is(err, errBoom) {
		t.Errorf("unreachable: %v", err)
	}
	f.count(nil)
	if err := readAll(t, s, chunks); err != nil {
		t.Errorf("reachable again: %v", err)
	}
	f.count(func(_ int, p []byte, _ int64) error { p[len(p)/2] ^= 1; return nil })
	var ce *cas.CorruptError
	if err := readAll(t, s, chunks); !errors.As(err, &ce) {
		t.Errorf("wrong for good: %v", err)
	}
	f.count(nil)
	if missing, err := s.Missing(t.Context(), []cas.Digest{ce.Digest}); err != nil || len(missing) != 1 {
		t.Errorf("the damaged chunk is not marked: %v, %v", missing, err)
	}
	_ = w
}

// A pack that is cut short loses what lay beyond, and nothing before.
func TestFarPackCutShort(t *testing.T) {
	w, _, _, chunks := farWorld(t, nil)
	cut := membackend.New(&membackend.Options{WholeOnly: true})
	for i, p := range w.packs(t) {
		b := w.bytesOf(t, p.ID)
		if i == 0 {
			b = b[:len(b)/2]
		}
		wr, err := cut.Create(t.Context(), p.ID.Key())
		if err != nil {
			t.Fatal(err)
		}
		wr.Write(b)
		if err := wr.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	s2, err := cas.Open(t.Context(), cut, w.ix, &cas.Options{Remote: true})
	if err != nil {
		t.Fatal(err)
	}
	var ce *cas.CorruptError
	if err := readAll(t, s2, chunks); !errors.As(err, &ce) {
		t.Errorf("all: %v, want damage", err)
	}
	good := 0
	for _, c := range chunks {
		if err := readAll(t, s2, [][]byte{c}); err == nil {
			good++
		}
	}
	if good == 0 || good == len(chunks) {
		t.Errorf("%d of %d chunks can be read", good, len(chunks))
	}
}

// Readers of the same frames share them; one that is cancelled harms nobody.
func TestFarReadersSideBySide(t *testing.T) {
	_, _, s, chunks := farWorld(t, nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if i%2 == 1 {
				go cancel()
			}
			part := chunks[i*4 : 80+i*4]
			want := slices.Concat(part...)
			got := make([]byte, len(want))
			err := s.Read(ctx, refsOf(part...), got)
			if i%2 == 1 && errors.Is(err, context.Canceled) {
				return
			}
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("reader %d: other bytes, or %v", i, err)
			}
		})
	}
	wg.Wait()
}

func TestDiskCache(t *testing.T) {
	dir := t.TempDir()
	open := func(size int64) *diskcache.Cache {
		c, err := diskcache.Open(dir, size, nil)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	_, f, s, chunks := farWorld(t, open(64<<20))
	twice := func(when string, s *cas.Store) int {
		t.Helper()
		if err := readAll(t, s, chunks); err != nil {
			t.Fatalf("%s: %v", when, err)
		}
		reads, _ := f.count(nil)
		return reads
	}
	if n := twice("first", s); n == 0 {
		t.Error("nothing was read")
	}
	if n := twice("cached", s); n != 0 {
		t.Errorf("cached: %d requests", n)
	}
	// It survives a restart, and wrong bytes in it are fetched anew.
	files, _ := filepath.Glob(filepath.Join(dir, "*", "*"))
	if len(files) < 4 {
		t.Fatalf("%d files in the cache", len(files))
	}
	for i, name := range files[:3] {
		p, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if i == 0 {
			p = p[:len(p)/2]
		} else {
			p[len(p)/2] ^= 0xff
			p[len(p)/3] ^= 0xff
		}
		if err := os.WriteFile(name, p, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "note.tmp"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, f, s, open(64<<20))
	if n := twice("damaged cache", s); n == 0 || n > 3 {
		t.Errorf("damaged cache: %d requests, want one for each damaged file", n)
	}
	if n := twice("mended", s); n > 3 { // a frame that was read again is not kept at once
		t.Errorf("mended cache: %d requests", n)
	}
	// It keeps to its size.
	s = reopen(t, f, s, open(2<<20))
	twice("small", s)
	var size int64
	files, _ = filepath.Glob(filepath.Join(dir, "*", "*"))
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		size += info.Size()
	}
	if size > 2<<20 || size == 0 {
		t.Errorf("the cache takes %d bytes", size)
	}
}

func reopen(t *testing.T, f *far, s *cas.Store, c cas.Cache) *cas.Store {
	t.Helper()
	n, err := cas.Open(t.Context(), f, s.Index(), &cas.Options{Remote: true, PackSize: 3 << 20, Cache: c, CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// Frames that are copied from others of the same window are read however few
// requests may be under way: a run does not keep its token while the sources
// are loaded, even if they are later pieces of the same run or of one that
// still waits for a token.
func TestSourcesOfTheSameWindow(t *testing.T) {
	w := newWorld(t)
	r := seeded(t)
	a, b := noise(r, 4000), noise(r, 4000)
	var window [][]byte
	for range 2 {
		window = append(window, addCopies(t, w, a, b)...)
	}
	for _, remote := range []bool{false, true} {
		s := w.open(t, &cas.Options{Remote: remote, CacheBytes: 1, Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}})
		cas.SetRequests(s, 1)
		done := make(chan error, 1)
		go func() { done <- readAll(t, s, append(window, a, b)) }()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("remote %v: %v", remote, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("remote %v: the read hangs", remote)
		}
		closeStore(t, s)
	}
}

// addCopies adds a pack of frames, each of one chunk that is copied from ranges
// of a and b, with the frame of a and b behind them. It returns their chunks.
func addCopies(t *testing.T, w *world, a, b []byte) (chunks [][]byte) {
	t.Helper()
	id := cas.PackID(pack.NewID())
	text := pack.AppendHeader(nil, &pack.Header{Pack: id, Serial: 1})
	var lines pack.Lines
	add := func(f *pack.Frame, payload []byte) {
		f.ID, f.Pack, f.Offset, f.Kind = pack.NewID(), id, int64(len(text)), cas.KindData
		f.StoredLen, f.CRC = uint32(len(payload)), pack.Checksum(payload)
		head := pack.AppendFrame(nil, f)
		lines.Add(f, head)
		text = append(append(text, head...), payload...)
	}
	for i := range 5 {
		tail := pack.NewID()
		chunk := slices.Concat(b[i:300], a[10:510], tail[:])
		chunks = append(chunks, chunk)
		add(&pack.Frame{Codec: toy, Slots: refsOf(chunk), Sources: []cas.Source{
			{Digest: cas.Sum(a), Offset: 10, Length: 500}, {Digest: cas.Sum(b), Offset: uint32(i), Length: uint32(300 - i)},
		}}, append([]byte{1, 0, 255}, tail[:]...))
	}
	coded, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	add(&pack.Frame{Codec: cas.Zstd, Slots: refsOf(a, b)}, coded.EncodeAll(slices.Concat(a, b), nil))
	text = pack.AppendFooter(text, id, &lines)
	bw, err := w.mem.Create(t.Context(), id.Key())
	if err != nil {
		t.Fatal(err)
	}
	bw.Write(text)
	if err := bw.Commit(); err != nil {
		t.Fatal(err)
	}
	s := w.open(t, &cas.Options{Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}})
	defer closeStore(t, s)
	info, err := s.Inspect(t.Context(), cas.PackEntry{ID: id, Size: int64(len(text))})
	if err != nil {
		t.Fatal(err)
	}
	change := &cas.Change{Packs: []cas.PackEntry{info.PackEntry}}
	for _, f := range info.Frames {
		change.Frames, change.Chunks = append(change.Frames, f.Entry), append(change.Chunks, f.Chunks...)
	}
	if err := s.Apply(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	return chunks
}
