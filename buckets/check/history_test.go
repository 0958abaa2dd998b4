package check

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A hookedMeta calls hook before the calls that a collection makes of a database.
type hookedMeta struct {
	manifest.Store
	hook func()
}

func (m *hookedMeta) AllRows(ctx context.Context, bucket string) iter.Seq2[*manifest.Row, error] {
	m.hook()
	return m.Store.AllRows(ctx, bucket)
}

func (m *hookedMeta) Marks(ctx context.Context) iter.Seq2[manifest.Record, error] {
	m.hook()
	return m.Store.Marks(ctx)
}

func (m *hookedMeta) Homes(ctx context.Context) ([]*manifest.Home, error) {
	m.hook()
	return m.Store.Homes(ctx)
}

func (m *hookedMeta) Dead(ctx context.Context, domain string) ([]*manifest.Census, error) {
	m.hook()
	return m.Store.Dead(ctx, domain)
}

func (m *hookedMeta) TakeNumber(ctx context.Context) (uint64, error) {
	m.hook()
	return m.Store.TakeNumber(ctx)
}

func (m *hookedMeta) SetCheckpoint(ctx context.Context, domain string, base uint64) error {
	m.hook()
	return m.Store.SetCheckpoint(ctx, domain, base)
}

func (m *hookedMeta) DropMarks(ctx context.Context, upTo uint64, limit int) (bool, error) {
	m.hook()
	return m.Store.DropMarks(ctx, upTo, limit)
}

// A history is a store of two domains that much happens to.
type history struct {
	t      *testing.T
	r      *rand.Rand
	packs  map[string]backend.Backend // by domain
	db     *pebblestore.DB
	store  *buckets.Store
	where  map[string]string // domain, by bucket
	inside bool              // a change is made while something else goes on
	did    map[string]int    // how often what was done
}

const historyPacks = 20_000 // bytes of a pack

func (h *history) open(dir string) {
	t := h.t
	t.Helper()
	var err error
	h.db, err = pebblestore.Open(dir, nil)
	must(t, err)
	policies := make(map[string]buckets.Policy)
	for name, domain := range h.where {
		policies[name] = buckets.Policy{Domain: domain, Profile: "fine", Trash: buckets.Trash{Off: name == "c"}}
	}
	meta := &hookedMeta{h.db, func() {
		if h.inside && h.r.IntN(3) == 0 {
			h.inside = false
			h.change()
			h.inside = true
		}
	}}
	h.store, err = buckets.New(t.Context(), meta, openDomains(t, h.db, h.packs), policies, &buckets.Options{Closers: []io.Closer{h.db}})
	must(t, err)
}

func openDomains(t *testing.T, db *pebblestore.DB, packs map[string]backend.Backend) map[string]*cas.Store {
	t.Helper()
	store, err := db.StoreID(t.Context())
	must(t, err)
	chunks := make(map[string]*cas.Store)
	for name, b := range packs {
		domain, err := db.DomainID(t.Context(), name)
		must(t, err)
		chunks[name], err = cas.Open(t.Context(), b, db.Index(name), &cas.Options{Store: store, Domain: domain, PackSize: historyPacks, Exclusive: true})
		must(t, err)
	}
	return chunks
}

func (h *history) bucket() *buckets.Bucket {
	b, err := h.store.Bucket([]string{"a", "b", "c"}[h.r.IntN(3)])
	must(h.t, err)
	return b
}

// change makes a change of a file, or makes one.
func (h *history) change() {
	ctx, b := h.t.Context(), h.bucket()
	name := strconv.Itoa(h.r.IntN(12))
	put := func() error {
		_, err := b.Put(ctx, name, bytes.NewReader(noise(h.r.Uint64N(30), 1000*h.r.IntN(12))), nil)
		return err
	}
	f, err := b.StatPath(ctx, name)
	if err != nil {
		must(h.t, put())
		return
	}
	switch h.r.IntN(8) {
	case 0, 1:
		err = b.Purge(ctx, f.ID, nil)
	case 2:
		_, err = b.Delete(ctx, f.ID, nil)
	case 3:
		if err = b.DeleteVersion(ctx, f.ID, 1+h.r.Uint64N(4)); err != nil {
			err = nil // there is no such version, or no other
		}
	case 4:
		to := name + "-" + strconv.Itoa(h.r.IntN(5))
		if _, err = b.Update(ctx, f.ID, &buckets.Patch{Name: &to}); errors.Is(err, buckets.ErrExist) {
			err = nil
		}
	default:
		err = put()
	}
	must(h.t, err)
}

// migrate moves a bucket to the other domain, by chance not to the end.
func (h *history) migrate(mayFail bool) {
	b := h.bucket()
	to := map[string]string{"x": "y", "y": "x"}[h.where[b.Name()]]
	ctx, cancel := context.WithCancel(h.t.Context())
	defer cancel()
	giveUp, calls := h.r.IntN(5), 0
	if !mayFail {
		giveUp = 0
	}
	_, err := h.store.Migrate(ctx, b.Name(), to, func(buckets.Migrated) {
		if calls++; giveUp == calls {
			cancel()
		} else if calls == 1 { // later ones hold up all changes
			h.change()
		}
	})
	home, herr := h.db.Home(h.t.Context(), b.Name())
	must(h.t, herr)
	if err != nil && ctx.Err() == nil || err == nil && home.Domain != to {
		h.t.Fatalf("move of bucket %s to %s: %+v, %v", b.Name(), to, home, err)
	}
	h.where[b.Name()] = home.Domain
	h.did[map[bool]string{true: "moves", false: "moves given up"}[err == nil]]++
}

// collect makes a cycle of both domains, while changes are made.
func (h *history) collect() {
	h.inside = true
	r, err := h.store.Collect(h.t.Context(), &collect.Options{Full: h.r.IntN(3) > 0})
	h.inside = false
	must(h.t, err)
	for _, d := range r.Domains {
		h.did["deleted packs"] += int(d.DeletedPacks)
		h.did["rewritten packs"] += int(d.RewrittenPacks)
	}
}

// rowsOf returns all rows of files and versions.
func rowsOf(t *testing.T, meta manifest.Store) map[string]any {
	t.Helper()
	rows := make(map[string]any)
	for row, err := range meta.AllRows(t.Context(), "") {
		must(t, err)
		rows["file "+string(row.File.ID)] = *row.File
		if row.Manifest != nil {
			rows["version "+string(row.Manifest.ID)] = *row.Manifest
		}
	}
	homes, err := meta.Homes(t.Context())
	must(t, err)
	for _, h := range homes {
		if h.Move > 0 { // of others the rows tell, if there are any
			rows["home "+h.Bucket] = fmt.Sprint(h.Domain, h.Move)
		}
	}
	return rows
}

// compareRows fails unless a database has the rows that it should have.
func compareRows(t *testing.T, what string, got, want map[string]any) {
	t.Helper()
	for key, w := range want {
		if g, ok := got[key]; !ok || !reflect.DeepEqual(g, w) {
			t.Errorf("%s: %s is\n%+v\nwant\n%+v", what, key, g, w)
		}
	}
	for key, g := range got {
		if _, ok := want[key]; !ok {
			t.Errorf("%s: %s is back: %+v", what, key, g)
		}
	}
}

// checkAll fails if a check finds anything.
func checkAll(t *testing.T, what string, db *pebblestore.DB, chunks map[string]*cas.Store) *Store {
	t.Helper()
	s := storeOf(db, chunks)
	r, err := s.Check(t.Context(), nil)
	must(t, err)
	if !r.OK {
		t.Errorf("%s: check finds %+v, %+v", what, r.Problems, r.Damaged)
	}
	return s
}

func storeOf(db *pebblestore.DB, chunks map[string]*cas.Store) *Store {
	return &Store{Meta: db, Domains: []*Domain{{Name: "x", Chunks: chunks["x"]}, {Name: "y", Chunks: chunks["y"]}}}
}

// verify makes a database anew from the packs alone, and brings an older one up
// to them, and compares their rows with those of the store.
func (h *history) verify(older string) {
	t := h.t
	t.Helper()
	want := rowsOf(t, h.db)
	db, err := pebblestore.Open(t.TempDir(), nil)
	must(t, err)
	defer db.Close()
	chunks := openDomains(t, db, h.packs)
	must(t, storeOf(db, chunks).Rebuild(t.Context()))
	compareRows(t, "rebuilt", rowsOf(t, db), want)
	checkAll(t, "rebuilt", db, chunks)
	if older == "" {
		return
	}
	old, err := pebblestore.Open(older, nil)
	must(t, err)
	defer old.Close()
	s := storeOf(old, openDomains(t, old, h.packs))
	must(t, s.Survey(t.Context()))
	if s.Stale() == nil {
		return
	}
	err = s.CatchUp(t.Context())
	if errors.Is(err, ErrOvertaken) {
		h.did["overtaken"]++
		return
	}
	must(t, err)
	h.did["caught up"]++
	compareRows(t, "caught up", rowsOf(t, old), want)
	checkAll(t, "caught up", old, openDomains(t, old, h.packs))
}

// Whatever happens to a store, its packs alone tell what rows there are: through
// moves, ended or not, collections, checkpoints and packs that are deleted, with
// changes at every step of a collection.
func TestHistories(t *testing.T) {
	race.LeaveOut(t)
	seed := rand.Uint64()
	if s := os.Getenv("CAIRN_SEED"); s != "" {
		seed, _ = strconv.ParseUint(s, 10, 64)
	}
	rounds := 4
	if n, err := strconv.Atoi(os.Getenv("CAIRN_SOAK")); err == nil {
		rounds *= n
	}
	t.Logf("seed %d", seed)
	did := make(map[string]int)
	for round := range rounds {
		h := &history{t: t, r: rand.New(rand.NewPCG(seed, uint64(round))), did: did,
			where: map[string]string{"a": "x", "b": "x", "c": "y"},
			packs: map[string]backend.Backend{"x": membackend.New(nil), "y": membackend.New(nil)}}
		dir := t.TempDir()
		h.open(dir)
		older := ""
		for n := range 4 {
			if n == 2 {
				h.migrate(false)
				h.collect()
			}
			for range 10 + h.r.IntN(20) {
				h.change()
			}
			for range h.r.IntN(4) {
				switch h.r.IntN(3) {
				case 0:
					h.migrate(true)
				default:
					h.collect()
				}
				for range h.r.IntN(8) {
					h.change()
				}
			}
			must(t, h.store.Close())
			if older == "" || h.r.IntN(2) == 0 {
				older = filepath.Join(t.TempDir(), "older")
				must(t, os.CopyFS(older, os.DirFS(dir)))
			}
			h.open(dir)
			h.change()
			h.verify(older)
			if t.Failed() {
				t.Fatalf("round %d", round)
			}
			for domain, chunks := range openDomains(t, h.db, h.packs) {
				base, err := h.db.Checkpoint(t.Context(), domain)
				must(t, err)
				if base > 0 {
					did["rounds with a checkpoint"]++
				}
				must(t, chunks.Close())
			}
		}
		must(t, h.store.Close())
	}
	t.Logf("%v", did)
	for _, what := range []string{"moves", "deleted packs", "rounds with a checkpoint"} {
		if did[what] == 0 {
			t.Errorf("there were no %s", what)
		}
	}
}
