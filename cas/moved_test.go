package cas_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/internal/s3test"
)

// A moving backend lets something happen before a read, and may spoil what that
// read brings.
type moving struct {
	backend.Backend
	mu     sync.Mutex
	armed  int // reads that it is to happen before
	happen func()
	spoil  func(p []byte, err error) error
}

func (m *moving) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	m.mu.Lock()
	strikes := m.armed > 0
	if strikes {
		m.armed--
	}
	rest := m.armed
	if strikes {
		m.armed = 0 // not before the reads of what happens
	}
	m.mu.Unlock()
	if !strikes {
		return m.Backend.ReadAt(ctx, key, p, off)
	}
	m.happen()
	m.mu.Lock()
	m.armed = rest
	m.mu.Unlock()
	return m.spoil(p, m.Backend.ReadAt(ctx, key, p, off))
}

// evacuate rewrites all packs, some of which hold what is dead, and deletes them.
func evacuate(t *testing.T, s *cas.Store, ix *castest.MemIndex) {
	must(t, s.SealOpen(context.Background()))
	var packs []cas.PackEntry
	for p, err := range ix.AllPacks(context.Background()) {
		must(t, err)
		packs = append(packs, p)
	}
	out, err := s.Rewrite(context.Background(), packs, nil)
	if err != nil || len(out.Left) > 0 {
		t.Errorf("%+v, %v", out, err)
	}
	for _, p := range packs {
		ix.DoomPack(p.ID)
		if err := s.DeletePack(context.Background(), p.ID); err != nil {
			t.Error(err)
		}
		if err := ix.Apply(context.Background(), &cas.Change{DropPacks: []cas.PackID{p.ID}}); err != nil {
			t.Error(err)
		}
	}
}

// A read whose pack has gone, or brings wrong bytes or too few, from where its
// chunks no longer lie, reads where they lie by then, however often they are
// moved, and marks nothing.
func TestReadFollowsMoves(t *testing.T) {
	for name, spoil := range map[string]func(p []byte, err error) error{
		"gone":  func(_ []byte, err error) error { return err },
		"short": func([]byte, error) error { return io.ErrUnexpectedEOF },
		"wrong": func(p []byte, _ error) error { clear(p); return nil },
	} {
		for _, remote := range []bool{false, true} {
			for _, codec := range []cas.Codec{cas.Raw, cas.Zstd} {
				for _, times := range []int{1, 2, 5} {
					w := newWorld(t)
					w.mem = membackend.New(&membackend.Options{Referee: t, LateReads: true})
					m := &moving{Backend: w.mem, spoil: spoil}
					w.b = m
					s := w.open(t, &cas.Options{Remote: remote, CacheBytes: 1, PackSize: 200 << 10})
					r := seeded(t)
					var chunks [][]byte
					for range 40 {
						chunks = append(chunks, append(noise(r, 10<<10), prose(r, 10<<10)...))
					}
					put(t, s, codec, chunks...)
					put(t, s, codec, chunks[0][:500], chunks[1][:600]) // a frame of which half will go
					e := make([]cas.ChunkEntry, 1)
					must(t, w.ix.Chunks(t.Context(), []cas.Digest{cas.Sum(chunks[0][:500])}, e))
					must(t, w.ix.Apply(t.Context(), &cas.Change{Drop: e}))
					chunks = append(chunks, chunks[1][:600])
					m.happen = func() { evacuate(t, s, w.ix) }
					m.armed = times
					got, want := make([]byte, len(slices.Concat(chunks...))), slices.Concat(chunks...)
					if err := s.Read(t.Context(), refsOf(chunks...), got); err != nil || !bytes.Equal(got, want) {
						t.Errorf("%s, remote %v, codec %s, moved %d times: %v", name, remote, codec, times, err)
					}
					if m.armed > 0 {
						t.Errorf("%s: moved less than %d times", name, times)
					}
					var ds []cas.Digest
					for _, c := range chunks {
						ds = append(ds, cas.Sum(c))
					}
					if missing, err := s.Missing(t.Context(), ds); err != nil || len(missing) > 0 {
						t.Errorf("%s: marked %v, %v", name, missing, err)
					}
					closeStore(t, s)
				}
			}
		}
	}
}

// Real backends keep or break what is read from a pack while it is deleted. Either
// way readers get their bytes.
func TestReadWhilePacksGo(t *testing.T) {
	for name, open := range map[string]func(t *testing.T) (backend.Backend, bool){
		"memory": func(*testing.T) (backend.Backend, bool) {
			return membackend.New(&membackend.Options{Referee: t, LateReads: true}), false
		},
		"disk": func(t *testing.T) (backend.Backend, bool) {
			b, err := diskbackend.Open(t.TempDir(), &diskbackend.Options{Reserve: -1})
			must(t, err)
			t.Cleanup(func() { b.Close() })
			return b, false
		},
		"s3": func(t *testing.T) (backend.Backend, bool) { return s3test.Fake(t).Open(t), true },
	} {
		t.Run(name, func(t *testing.T) {
			b, remote := open(t)
			w := &world{ix: castest.NewMemIndex(), b: b}
			s := w.open(t, &cas.Options{Remote: remote, CacheBytes: 1, PackSize: 500 << 10})
			r := seeded(t)
			var chunks [][]byte
			for range 100 {
				chunks = append(chunks, append(noise(r, 8<<10), prose(r, 8<<10)...))
			}
			put(t, s, cas.Zstd, chunks[:50]...)
			put(t, s, cas.Raw, chunks[50:]...)
			var over atomic.Bool
			var wg sync.WaitGroup
			for i := range 3 {
				wg.Go(func() {
					for !over.Load() {
						part := chunks[i*20 : i*20+60]
						got := make([]byte, len(slices.Concat(part...)))
						if err := s.Read(context.Background(), refsOf(part...), got); err != nil || !bytes.Equal(got, slices.Concat(part...)) {
							t.Errorf("read: %v", err)
							return
						}
					}
				})
			}
			for range 6 {
				evacuate(t, s, w.ix)
			}
			over.Store(true)
			wg.Wait()
			closeStore(t, s)
		})
	}
}

// A late index lets something happen before it marks a chunk.
type lateIndex struct {
	*castest.MemIndex
	happen func()
}

func (x *lateIndex) Apply(ctx context.Context, c *cas.Change) error {
	if len(c.Bad) > 0 {
		x.happen()
	}
	return x.MemIndex.Apply(ctx, c)
}

// A reader that has read wrong bytes, and marks the chunk when its frame has been
// moved meanwhile, marks nothing.
func TestMarkComparesThePack(t *testing.T) {
	w := newWorld(t)
	w.mem = membackend.New(&membackend.Options{Referee: t, LateReads: true})
	m := &moving{Backend: w.mem, armed: 2, happen: func() {}, spoil: func(p []byte, _ error) error { clear(p); return nil }}
	x := &lateIndex{MemIndex: w.ix}
	s, err := cas.Open(t.Context(), m, x, &cas.Options{Exclusive: true})
	must(t, err)
	x.happen = func() { evacuate(t, s, w.ix) }
	c := noise(seeded(t), 5000)
	put(t, s, cas.Raw, c)
	before, _ := w.frameOf(t, c)
	var ce *cas.CorruptError
	if _, err := s.Get(t.Context(), cas.Sum(c), nil); !errors.As(err, &ce) || ce.Pack != before.Pack {
		t.Errorf("wrong twice: %v", err)
	}
	if after, e := w.frameOf(t, c); !e.Usable() || after.Pack == before.Pack {
		t.Errorf("%+v in %+v", e, after)
	}
	checkGet(t, s, c)
	closeStore(t, s)
}
