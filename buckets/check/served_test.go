package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

// A servedDB is what a served store has its rows and indexes in.
type servedDB interface {
	manifest.Store
	Index(domain string) cas.Index
}

// A served store is one that is changed while it is checked.
type served struct {
	t     *testing.T
	meta  servedDB
	store *buckets.Store
	packs map[string]*plantedDamage // by domain
	cas   map[string]*cas.Store
}

// plantedDamage is a backend some of whose bytes are damaged.
type plantedDamage struct {
	backend.Backend
	mu    sync.Mutex
	flips map[string]int64 // offset, by key
}

func (b *plantedDamage) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	err := b.Backend.ReadAt(ctx, key, p, off)
	b.mu.Lock()
	defer b.mu.Unlock()
	if at, ok := b.flips[key]; ok && at >= off && at < off+int64(len(p)) {
		p[at-off] ^= 1
	}
	return err
}

func (b *plantedDamage) plant(key string, at int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.flips[key] = at
}

func openServed(t *testing.T, meta servedDB, exclusive bool) *served {
	t.Helper()
	s := &served{t: t, meta: meta, packs: make(map[string]*plantedDamage), cas: make(map[string]*cas.Store)}
	store, err := meta.StoreID(t.Context())
	must(t, err)
	policies := make(map[string]buckets.Policy)
	for _, name := range []string{"x", "y"} {
		domain, err := meta.DomainID(t.Context(), name)
		must(t, err)
		s.packs[name] = &plantedDamage{Backend: membackend.New(&membackend.Options{LateReads: true}), flips: make(map[string]int64)}
		s.cas[name], err = cas.Open(t.Context(), s.packs[name], meta.Index(name),
			&cas.Options{Store: store, Domain: domain, PackSize: 200 << 10, Exclusive: exclusive})
		must(t, err)
		policies["of-"+name] = buckets.Policy{Domain: name, Profile: "fine"}
	}
	s.store, err = buckets.New(t.Context(), meta, s.cas, policies, nil)
	must(t, err)
	return s
}

// bucket returns the bucket whose files were in a domain at first.
func (s *served) bucket(domain string) *buckets.Bucket {
	b, err := s.store.Bucket("of-" + domain)
	must(s.t, err)
	return b
}

// change makes a random change.
func (s *served) change(ctx context.Context, r *rand.Rand) error {
	b := s.bucket([]string{"x", "y"}[r.IntN(2)])
	p := noise(r.Uint64N(40), 1+r.IntN(60_000))
	if r.IntN(6) == 0 { // one with segments
		p = noise(r.Uint64N(5), 400_000)
	}
	if r.IntN(2) == 0 {
		p = append(p, noise(r.Uint64N(1<<16), 1+r.IntN(20_000))...)
	}
	name := fmt.Sprint("f", r.IntN(30))
	f, err := b.StatPath(ctx, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		_, err = b.Put(ctx, name, bytes.NewReader(p), nil)
	case err != nil:
	case r.IntN(5) < 2:
		err = b.Purge(ctx, f.ID, nil)
	case r.IntN(5) == 0:
		_, err = b.Delete(ctx, f.ID, nil)
	case r.IntN(5) == 0:
		_, err = b.Copy(ctx, f.ID, s.bucket([]string{"x", "y"}[r.IntN(2)]), &buckets.CopyOptions{Name: fmt.Sprint("f", r.IntN(30))})
	default:
		_, err = b.Replace(ctx, f.ID, bytes.NewReader(p), nil)
	}
	return err
}

// load changes and collects the store until stop is called. done returns how often
// what was done.
func (s *served) load() (done func() map[string]int, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex
	did := make(map[string]int)
	repeat := func(what string, pause time.Duration, do func(n int) error) {
		wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				if do(n) == nil { // others meet each other
					mu.Lock()
					did[what]++
					mu.Unlock()
				}
				time.Sleep(pause)
			}
		})
	}
	for i := range 4 {
		r := rand.New(rand.NewPCG(uint64(i), 1))
		repeat("changes", 0, func(int) error { return s.change(ctx, r) })
	}
	repeat("collections", 0, func(n int) error {
		_, err := s.store.Collect(ctx, &collect.Options{Full: n%3 == 0})
		return err
	})
	repeat("moves", 20*time.Millisecond, func(n int) error {
		_, err := s.store.Migrate(ctx, "of-x", []string{"y", "x"}[n%2], nil)
		return err
	})
	done = func() map[string]int {
		mu.Lock()
		defer mu.Unlock()
		return maps.Clone(did)
	}
	return done, func() { cancel(); wg.Wait() }
}

func (s *served) check() (*Report, []Problem) {
	s.t.Helper()
	c := &Store{Meta: s.meta}
	for _, name := range []string{"x", "y"} {
		c.Domains = append(c.Domains, &Domain{Name: name, Chunks: s.cas[name]})
	}
	var told []Problem
	r, err := c.Check(s.t.Context(), &Options{served: true, Found: func(p *Problem) { told = append(told, *p) }})
	must(s.t, err)
	return r, told
}

// checkRounds is how often a store is checked while it is changed.
func checkRounds(t *testing.T, n int) int {
	if v := os.Getenv("CAIRN_SOAK"); v != "" {
		soak, err := strconv.Atoi(v)
		must(t, err)
		n *= soak
	}
	return n
}

// A check of a store that is changed, collected and moved meanwhile finds nothing,
// and what is damaged then.
func TestCheckUnderLoad(t *testing.T) {
	stores := map[string]func(t *testing.T) *served{
		"pebble": func(t *testing.T) *served {
			db, err := pebblestore.Open(t.TempDir(), nil)
			must(t, err)
			t.Cleanup(func() { must(t, db.Close()) })
			return openServed(t, db, true)
		},
		"postgres": func(t *testing.T) *served {
			db, err := pgstore.Open(t.Context(), pgtest.Database(t), nil)
			must(t, err)
			t.Cleanup(func() { must(t, db.Close()) })
			return openServed(t, db, false)
		},
	}
	for name, open := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			defer func() { must(t, s.store.Close()) }()
			hurt := noise(1<<15, 50_000)
			f, err := s.bucket("y").Put(t.Context(), "hurt", bytes.NewReader(hurt), nil)
			must(t, err)
			busy, stop := s.load()
			for n := 0; n < checkRounds(t, 4) || busy()["changes"] < 50 || busy()["collections"] < 3; n++ {
				if r, told := s.check(); !r.OK || len(told) > 0 {
					t.Errorf("a check under load finds %+v", told)
					break
				}
			}
			s.damage(f)
			if r, told := s.check(); r.OK || r.DamagedCount != 1 || r.Damaged[0].Path != "of-y/hurt" || find(told, "chunk", "damaged") == 0 {
				t.Errorf("after damage, a check under load finds %+v", told)
			}
			stop()
			t.Log(busy())
			_, err = s.bucket("y").Put(t.Context(), "again", bytes.NewReader(hurt), nil)
			must(t, err)
			if r, told := s.check(); !r.OK || r.Packs == 0 || r.Files == 0 {
				t.Errorf("healed by an upload, a check finds %+v", told)
			}
		})
	}
}

// damage flips a byte of a chunk of a file where it lies now.
func (s *served) damage(f *buckets.File) {
	s.t.Helper()
	ctx := s.t.Context()
	m, err := s.meta.Manifest(ctx, manifest.VersionID(f.ManifestID))
	must(s.t, err)
	for {
		chunk, frame := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
		must(s.t, s.meta.Index("y").Chunks(ctx, []cas.Digest{m.Inline[0].Digest}, chunk))
		must(s.t, s.meta.Index("y").Frames(ctx, []cas.FrameID{chunk[0].Frame}, frame))
		at := frame[0].Offset + int64(frame[0].HeaderLen) + int64(chunk[0].Offset)
		s.packs["y"].plant(frame[0].Pack.Key(), at)
		_, err := s.cas["y"].Get(ctx, m.Inline[0].Digest, nil)
		var ce *cas.CorruptError
		if errors.As(err, &ce) {
			return
		}
		must(s.t, err) // it was copied elsewhere meanwhile
	}
}
