package check

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest/pebblestore"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

// runEntries is how many entries logs and sets keep in memory in a test.
const runEntries = 200

// What a check holds does not grow with the files, their chunks, owners and what is
// damaged.
func TestCheckMemory(t *testing.T) {
	race.LeaveOut(t)
	for name, open := range map[string]func(t *testing.T) servedDB{
		"pebble": func(t *testing.T) servedDB {
			db, err := pebblestore.Open(t.TempDir(), &pebblestore.Options{CacheBytes: 1 << 20})
			must(t, err)
			t.Cleanup(func() { must(t, db.Close()) })
			return db
		},
		"postgres": func(t *testing.T) servedDB {
			db, err := pgstore.Open(t.Context(), pgtest.Database(t), nil)
			must(t, err)
			t.Cleanup(func() { must(t, db.Close()) })
			return db
		},
	} {
		t.Run(name, func(t *testing.T) {
			few, many := heldByCheck(t, open(t), 120), heldByCheck(t, open(t), 1200)
			t.Logf("a check of 120 files holds %d bytes, one of 1,200 %d", few, many)
			// Sorted runs take 64 KiB each while they are read, and PostgreSQL's rows come in
			// pages of 512. All rows take more than 5 MB.
			most := few + 1200/runEntries*64<<10 + 512<<10
			if name == "postgres" {
				most += 512 * 5000
			}
			if many > most {
				t.Errorf("a check of 120 files holds %d bytes, one of 1,200 %d, want at most %d", few, many, most)
			}
		})
	}
}

// heldByCheck stores files and returns how many bytes a check of them holds at most.
func heldByCheck(t *testing.T, db servedDB, files int) uint64 {
	t.Helper()
	ctx := t.Context()
	store, err := db.StoreID(ctx)
	must(t, err)
	domain, err := db.DomainID(ctx, "x")
	must(t, err)
	packs, err := diskbackend.Open(t.TempDir(), nil)
	must(t, err)
	chunks, err := cas.Open(ctx, packs, db.Index("x"), &cas.Options{Store: store, Domain: domain})
	must(t, err)
	s, err := buckets.New(ctx, db, map[string]*cas.Store{"x": chunks}, map[string]buckets.Policy{"demo": {Domain: "x"}}, nil)
	must(t, err)
	b, err := s.Bucket("demo")
	must(t, err)
	var g errgroup.Group
	g.SetLimit(16)
	for i := range files {
		g.Go(func() error {
			_, err := b.Put(ctx, fmt.Sprint(i), strings.NewReader(fmt.Sprint("content ", i)),
				&buckets.PutOptions{Metadata: map[string]any{"text": strings.Repeat("x", 4000)}})
			return err
		})
	}
	must(t, g.Wait())
	c := &Store{Meta: db, Domains: []*Domain{{Name: "x", Chunks: chunks}}}
	held := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	check := func(progress func(Progress)) {
		t.Helper()
		r, err := c.Check(ctx, &Options{entries: runEntries, Progress: progress, TempDir: t.TempDir()})
		must(t, err)
		if !r.OK || r.Files != int64(files) {
			t.Fatalf("check finds %+v", r)
		}
	}
	check(nil) // so that caches are full
	before, most, calls := held(), uint64(0), 0
	check(func(Progress) {
		if calls++; calls%(files/20) == 0 {
			most = max(most, held())
		}
	})
	if calls < files {
		t.Fatalf("%d calls of progress for %d files", calls, files)
	}
	must(t, s.Close())
	return most - min(most, before)
}
