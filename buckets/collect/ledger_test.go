package collect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// onDatabases runs a test with a new world on each kind of database, which prepare,
// if not nil, is called with before it is opened.
func onDatabases(t *testing.T, prepare func(w *world), test func(t *testing.T, w *world)) {
	for _, name := range []string{"pebble", "postgres"} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, dir: t.TempDir(), packSize: 256 << 10}
			if name == "postgres" {
				url := pgtest.Database(t)
				w.openDB = func() (database, error) { return pgstore.Open(t.Context(), url, nil) }
			}
			if prepare != nil {
				prepare(w)
			}
			w.start()
			test(t, w)
		})
	}
}

// A weighedBackend sums up what is deleted, as it lies there.
type weighedBackend struct {
	backend.Backend
	freed *int64
}

func (b weighedBackend) Delete(ctx context.Context, key string) error {
	info, err := b.Backend.Stat(ctx, key)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := b.Backend.Delete(ctx, key); err != nil {
		return err
	}
	*b.freed += info.Size
	return nil
}

// ledgerSum sums up the ledger.
func (w *world) ledgerSum() (n int64) {
	w.t.Helper()
	for f, err := range w.meta.Ledger(w.t.Context()) {
		must(w.t, err)
		n += f.Bytes
	}
	return n
}

// disturb does something to a store that leaves bytes which a collection frees.
func (w *world) disturb(rnd *rand.Rand) {
	w.t.Helper()
	names := slices.Sorted(maps.Keys(w.files))
	switch rnd.IntN(7) {
	case 0, 1:
		w.mixUp(rnd)
	case 2: // an upload that is given up
		w.store(random(rnd.Uint64(), 1+rnd.IntN(600<<10))).end()
	case 3, 4:
		if len(names) > 0 {
			w.purge(names[rnd.IntN(len(names))])
		}
	case 5:
		for _, name := range names {
			if vs := w.allVersions(w.versions[name].File); len(vs) > 1 {
				w.dropVersion(vs[1])
				break
			}
		}
	case 6: // an upload that dies with the process, at any of its writes
		w.steps.at, w.steps.after = w.steps.n+1+rnd.IntN(30), rnd.IntN(2) == 0
		w.tryPut(fmt.Sprint("torn", rnd.Uint64()), random(rnd.Uint64(), 1+rnd.IntN(900<<10)))
		w.reopen()
	}
}

// tryPut stores a file, or fails on the way, of which it tells nothing: the file may
// be there then.
func (w *world) tryPut(name string, p []byte) {
	w.t.Helper()
	ctx := w.t.Context()
	wr, err := w.meta.Register(ctx, domain)
	if err != nil {
		return
	}
	u := &write{w: w, writer: wr, bytes: p}
	if u.content, err = w.writeContent(wr, bytes.NewReader(p)); err != nil {
		return
	}
	if err := u.commit(name); err != nil && !errors.Is(err, errKilled) {
		w.t.Fatal(err)
	}
}

// What the backend has deleted is what the ledger says, to the byte, however uploads
// and collections end: each byte is a purge's, was copied, or was nobody's.
func TestLedgerIsWhatWasDeleted(t *testing.T) {
	race.LeaveOut(t)
	rounds := 20
	if os.Getenv("CAIRN_SOAK") != "" {
		rounds = 1000
	}
	var freed int64
	wrap := func(w *world) {
		freed = 0
		w.wrap = func(b backend.Backend) backend.Backend { return weighedBackend{b, &freed} }
	}
	onDatabases(t, wrap, func(t *testing.T, w *world) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		killed := 0
		if w.openDB != nil { // each takes longer
			rounds /= 2
		}
		for n := range rounds {
			for range 1 + rnd.IntN(5) {
				w.disturb(rnd)
			}
			if n%3 == 0 {
				w.steps.at, w.steps.after = w.steps.n+1+rnd.IntN(100), rnd.IntN(2) == 0
				if _, err := w.collector().Run(t.Context(), &collect.Options{Full: rnd.IntN(2) == 0}); err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				} else if err != nil {
					killed++
				}
				w.reopen()
			}
			before, already := w.size(), freed
			r := w.collectAgain(&collect.Options{Full: rnd.IntN(2) == 0, MaxWriterAge: 1})
			if got := w.ledgerSum(); got != freed {
				t.Fatalf("round %d: the ledger has %d bytes, %d were deleted (%d in this round): %+v", n, got, freed, freed-already, r)
			}
			if shrunk := before - w.size(); shrunk > freed-already {
				t.Fatalf("round %d: the backend has shrunk by %d bytes, of which %d were deleted", n, shrunk, freed-already)
			}
		}
		w.check()
		t.Logf("%d bytes were deleted; %d collections were killed", freed, killed)
		if freed == 0 {
			t.Error("nothing has happened")
		}
	})
}

// collectAgain collects as a process does that was begun after a kill: the lease of
// the one before may be waited for.
func (w *world) collectAgain(opts *collect.Options) *collect.DomainReport {
	w.t.Helper()
	for end := time.Now().Add(time.Minute); ; {
		r, err := w.collector().Run(w.t.Context(), opts)
		if !errors.Is(err, manifest.ErrLeased) || time.Now().After(end) {
			must(w.t, err)
			return &r.Domains[0]
		}
		must(w.t, w.meta.ReleaseLease(w.t.Context(), w.steps.lease))
	}
}

// Of a pack that has lost bytes, or is gone, the ledger has what was left of it.
func TestLedgerOfDamagedPacks(t *testing.T) {
	for name, damage := range map[string]func(path string) error{
		"cut short":   func(path string) error { return os.Truncate(path, 30_000) },
		"only a part": func(path string) error { return os.Truncate(path, 7) },
		"empty":       func(path string) error { return os.Truncate(path, 0) },
		"missing":     os.Remove,
	} {
		t.Run(name, func(t *testing.T) {
			var freed int64
			w := &world{t: t, dir: t.TempDir(), packSize: 256 << 10}
			w.wrap = func(b backend.Backend) backend.Backend { return weighedBackend{b, &freed} }
			w.start()
			w.put("gone", random(1, 100<<10))
			id := w.packsOf("gone")
			must(t, w.chunks.SealOpen(t.Context()))
			w.put("kept", random(2, 100<<10))
			w.purge("gone")
			path := filepath.Join(w.dir, "packs", filepath.FromSlash(id.Key()))
			must(t, os.Chmod(path, 0o600))
			must(t, damage(path))
			for range 2 {
				if r := w.collect(&collect.Options{Full: true}); len(r.Problems) > 0 {
					t.Errorf("%+v", r)
				}
			}
			if got := w.ledgerSum(); got != freed {
				t.Errorf("the ledger has %d bytes, %d were deleted", got, freed)
			}
			for p, err := range w.db.Index(domain).AllPacks(t.Context()) {
				must(t, err)
				if p.ID == id {
					t.Errorf("the index still has %+v", p)
				}
			}
			w.check()
		})
	}
}
