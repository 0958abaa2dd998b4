package cas_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
)

// seeded returns a random source whose seed is printed when the test fails.
// CAIRN_SEED repeats a run.
func seeded(t testing.TB) *rand.ChaCha8 {
	t.Helper()
	seed := rand.Uint64()
	if s := os.Getenv("CAIRN_SEED"); s != "" {
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		seed = n
	}
	t.Logf("CAIRN_SEED=%d", seed)
	var key [32]byte
	copy(key[:], strconv.FormatUint(seed, 10))
	return rand.NewChaCha8(key)
}

// noise returns n bytes that do not compress.
func noise(r io.Reader, n int) []byte {
	p := make([]byte, n)
	io.ReadFull(r, p)
	return p
}

// prose returns n bytes that compress.
func prose(r *rand.ChaCha8, n int) []byte {
	words := []string{"stone ", "upon ", "a cairn ", "marks ", "the way ", "home\n"}
	var b bytes.Buffer
	for b.Len() < n {
		b.WriteString(words[r.Uint64()%uint64(len(words))])
	}
	return b.Bytes()[:n]
}

// A world is a backend and an index that outlive the stores opened on them.
type world struct {
	mem *membackend.Backend
	ix  *castest.MemIndex
	b   backend.Backend // mem, or a wrapper around it

	opts cas.Options // of the last store that was opened
}

func newWorld(t testing.TB) *world {
	mem := membackend.New(&membackend.Options{Referee: t})
	return &world{mem: mem, ix: castest.NewMemIndex(), b: mem}
}

func newWholeWorld(t testing.TB) *world {
	mem := membackend.New(&membackend.Options{Referee: t, WholeOnly: true})
	return &world{mem: mem, ix: castest.NewMemIndex(), b: mem}
}

// open opens a store that has the world to itself; closing it is the caller's.
func (w *world) open(t testing.TB, opts *cas.Options) *cas.Store {
	t.Helper()
	var own cas.Options
	if opts != nil {
		own = *opts
	}
	own.Exclusive = true
	w.opts = own
	s, err := cas.Open(t.Context(), w.b, w.ix, &own)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

// store opens a store that the end of the test closes.
func (w *world) store(t testing.TB, opts *cas.Options) *cas.Store {
	t.Helper()
	s := w.open(t, opts)
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

func closeStore(t testing.TB, s *cas.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// look opens a store to look at packs with, also while another is open.
func (w *world) look(t testing.TB) *cas.Store {
	t.Helper()
	ix, opts := w.ix, w.opts
	if ix == nil {
		ix = castest.NewMemIndex()
	}
	opts.Exclusive = false
	s, err := cas.Open(t.Context(), w.mem, ix, &opts)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { closeStore(t, s) })
	return s
}

// packs returns the packs of the backend.
func (w *world) packs(t testing.TB) []cas.PackEntry {
	t.Helper()
	var out []cas.PackEntry
	for p, err := range w.look(t).Packs(context.Background()) {
		if err != nil {
			t.Fatalf("packs: %v", err)
		}
		out = append(out, p)
	}
	return out
}

// bytesOf returns the bytes of a pack.
func (w *world) bytesOf(t testing.TB, id cas.PackID) []byte {
	t.Helper()
	info, err := w.mem.Stat(context.Background(), id.Key())
	if err != nil {
		t.Fatal(err)
	}
	p := make([]byte, info.Size)
	if err := w.mem.ReadAt(context.Background(), id.Key(), p, 0); err != nil {
		t.Fatal(err)
	}
	return p
}

// tryPut puts chunks in a batch of their own and returns their references.
func tryPut(ctx context.Context, s *cas.Store, codec cas.Codec, chunks ...[]byte) (refs []cas.Ref, st cas.BatchStats, err error) {
	b := s.NewBatch(ctx, &cas.BatchOptions{Compression: cas.Compression{Codec: codec}, Emit: func(r cas.Ref) error {
		refs = append(refs, r)
		return nil
	}})
	defer b.Close()
	for _, c := range chunks {
		if err := b.Put(c); err != nil {
			return refs, b.Stats(), err
		}
	}
	err = b.Flush()
	return refs, b.Stats(), err
}

func put(t testing.TB, s *cas.Store, codec cas.Codec, chunks ...[]byte) ([]cas.Ref, cas.BatchStats) {
	t.Helper()
	refs, st, err := tryPut(context.Background(), s, codec, chunks...)
	if err != nil {
		t.Fatalf("put: %v", err)
	}
	checkRefs(t, refs, chunks)
	return refs, st
}

// checkRefs checks that refs are those of chunks, in order.
func checkRefs(t testing.TB, refs []cas.Ref, chunks [][]byte) {
	t.Helper()
	if len(refs) != len(chunks) {
		t.Fatalf("%d references emitted for %d chunks", len(refs), len(chunks))
	}
	for i, c := range chunks {
		if want := (cas.Ref{Digest: cas.Sum(c), Length: uint32(len(c))}); refs[i] != want {
			t.Fatalf("reference %d is %v, want %v", i, refs[i], want)
		}
	}
}

// refsOf returns the references of chunks, whether stored or not.
func refsOf(chunks ...[]byte) (refs []cas.Ref) {
	for _, c := range chunks {
		refs = append(refs, cas.Ref{Digest: cas.Sum(c), Length: uint32(len(c))})
	}
	return refs
}

// checkStored reads chunks, together and one by one.
func checkStored(t testing.TB, s *cas.Store, chunks ...[]byte) {
	t.Helper()
	want := slices.Concat(chunks...)
	got := make([]byte, len(want))
	if err := s.Read(context.Background(), refsOf(chunks...), got); err != nil {
		t.Fatalf("read: %v", err)
	}
	if !bytes.Equal(got, want) {
		t.Fatal("read: not the bytes that were put")
	}
	for i, c := range chunks {
		if i%(1+len(chunks)/50) != 0 {
			continue // a sample of many
		}
		checkGet(t, s, c)
	}
}

func checkGet(t testing.TB, s *cas.Store, chunk []byte) {
	t.Helper()
	got, err := s.Get(context.Background(), cas.Sum(chunk), []byte("before"))
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	if rest, ok := bytes.CutPrefix(got, []byte("before")); !ok || !bytes.Equal(rest, chunk) {
		t.Fatal("get: not the bytes that were put")
	}
}

// frames walks a pack and returns what it finds.
func frames(t testing.TB, s *cas.Store, p cas.PackEntry) (out []*cas.Frame, sealed bool) {
	t.Helper()
	sealed, err := s.Walk(context.Background(), p, func(f *cas.Frame) error {
		out = append(out, f)
		return nil
	})
	if err != nil {
		t.Fatalf("walk: %v", err)
	}
	return out, sealed
}

// records returns all records that walks over all packs find.
func records(t testing.TB, w *world, s *cas.Store) (out []string) {
	t.Helper()
	for _, p := range w.packs(t) {
		fs, _ := frames(t, s, p)
		for _, f := range fs {
			if f.Damage != nil || f.Entry.Kind != cas.KindRecord {
				continue
			}
			bad, plain, err := s.Verify(context.Background(), f)
			if err != nil || len(bad) > 0 {
				t.Fatalf("verify: %v, bad %v", err, bad)
			}
			for _, p := range plain {
				out = append(out, string(p))
			}
		}
	}
	slices.Sort(out)
	return out
}

// A hooked backend tells of each write, sync and commit before it happens and
// counts them. A hook that blocks holds the operation up.
type hooked struct {
	backend.Backend
	creates, writes, syncs, commits atomic.Int64

	mu   sync.Mutex
	hook func(op, key string) error // guarded by mu
}

func (h *hooked) setHook(f func(op, key string) error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hook = f
}

func (h *hooked) call(op, key string, n *atomic.Int64) error {
	n.Add(1)
	h.mu.Lock()
	f := h.hook
	h.mu.Unlock()
	if f == nil {
		return nil
	}
	return f(op, key)
}

func (h *hooked) Create(ctx context.Context, key string) (backend.Writer, error) {
	if err := h.call("create", key, &h.creates); err != nil {
		return nil, err
	}
	w, err := h.Backend.Create(ctx, key)
	return &hookedWriter{w, h, key}, err
}

func (h *hooked) Append(ctx context.Context, key string) (backend.Writer, int64, error) {
	w, n, err := h.Backend.Append(ctx, key)
	return &hookedWriter{w, h, key}, n, err
}

func (h *hooked) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	var n atomic.Int64
	if err := h.call("read", key, &n); err != nil {
		return err
	}
	return h.Backend.ReadAt(ctx, key, p, off)
}

type hookedWriter struct {
	backend.Writer
	h   *hooked
	key string
}

func (w *hookedWriter) Write(p []byte) (int, error) {
	if err := w.h.call("write", w.key, &w.h.writes); err != nil {
		return 0, err
	}
	return w.Writer.Write(p)
}

func (w *hookedWriter) Sync() error {
	if err := w.h.call("sync", w.key, &w.h.syncs); err != nil {
		return err
	}
	return w.Writer.Sync()
}

func (w *hookedWriter) Commit() error {
	if err := w.h.call("commit", w.key, &w.h.commits); err != nil {
		return err
	}
	return w.Writer.Commit()
}

var errBoom = errors.New("boom")
