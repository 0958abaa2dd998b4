package main

import (
	"bytes"
	"math/rand/v2"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/api"
	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

// servedOn returns a shell on a server of bucket demo, whose metadata is in a database
// of this kind, and whose packs lie below dir. The bucket lies in the first of its
// backends.
func servedOn(t *testing.T, kind, dir string, backends ...string) (*shell, *buckets.Store) {
	t.Helper()
	ctx := t.Context()
	var db interface {
		manifest.Store
		Index(domain string) cas.Index
		Close() error
	}
	var err error
	if kind == "postgres" {
		db, err = pgstore.Open(ctx, pgtest.Database(t), nil)
	} else {
		db, err = pebblestore.Open(filepath.Join(dir, "meta"), nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	id, err := db.StoreID(ctx)
	if err != nil {
		t.Fatal(err)
	}
	chunks := make(map[string]*cas.Store)
	for _, name := range backends {
		packs, err := diskbackend.Open(filepath.Join(dir, "packs-"+name), &diskbackend.Options{Reserve: -1})
		if err != nil {
			t.Fatal(err)
		}
		domain, err := db.DomainID(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		if chunks[name], err = cas.Open(ctx, packs, db.Index(name), &cas.Options{Exclusive: true, Store: id, Domain: domain}); err != nil {
			t.Fatal(err)
		}
	}
	store, err := buckets.New(ctx, db, chunks, map[string]buckets.Policy{"demo": {Domain: backends[0], Compression: cas.Compression{Codec: cas.Zstd}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(api.New(store, &api.Options{Dev: true}))
	t.Cleanup(func() { srv.Close(); store.Close() })
	return &shell{t, []string{"--server", srv.URL}}, store
}

// What operators ask of a server whose metadata is in PostgreSQL is answered as by
// any other.
func TestServedOnPostgres(t *testing.T) {
	race.LeaveOut(t)
	for name, test := range map[string]func(t *testing.T, s *shell, dir string){
		"preview and explain": func(t *testing.T, s *shell, _ string) { testPreviewAndExplain(t, s) },
		"report gc":           func(t *testing.T, s *shell, _ string) { testReportGarbage(t, s) },
		"scrub": func(t *testing.T, s *shell, dir string) {
			content := make([]byte, 1<<20)
			rand.NewChaCha8([32]byte{1}).Read(content)
			testScrub(t, s, dir, content)
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s, _ := servedOn(t, "postgres", dir, "local")
			test(t, s, dir)
		})
	}
}

// While a bucket is moved a chunk is kept by its versions where it was, and by the
// move where it goes; a preview counts both copies. When the move has ended, and what
// it left behind is collected, there is one again.
func TestMoveIsExplained(t *testing.T) {
	for _, kind := range []string{"pebble", "postgres"} {
		t.Run(kind, func(t *testing.T) {
			s, store := servedOn(t, kind, t.TempDir(), "local", "far")
			content := make([]byte, 3<<20)
			rand.NewChaCha8([32]byte{4}).Read(content)
			b, err := store.Bucket("demo")
			if err != nil {
				t.Fatal(err)
			}
			f, err := b.Put(t.Context(), "moved", bytes.NewReader(content), nil)
			if err != nil {
				t.Fatal(err)
			}
			split, err := chunker.Profile("balanced")
			if err != nil {
				t.Fatal(err)
			}
			digest := cas.Sum(content[:split.Split(content)]).String()
			look := func() (x client.Explained, p client.RemovalPreview) {
				t.Helper()
				s.decodeJSON(&x, "gc", "explain", digest)
				s.decodeJSON(&p, "gc", "preview", "--delete", "demo/"+f.ID)
				return x, p
			}
			places := func(x client.Explained) (names []string) {
				for _, p := range x.Places {
					names = append(names, p.Backend)
				}
				return names
			}
			x, alone := look()
			if !slices.Equal(x.Because, []string{"version"}) || !slices.Equal(places(x), []string{"local"}) {
				t.Errorf("before: %+v", x)
			}
			seen := false
			_, err = store.Migrate(t.Context(), "demo", "far", func(buckets.Migrated) {
				x, p := look()
				if len(x.Places) < 2 {
					return // it is not copied yet
				}
				seen = true
				if !slices.Contains(x.Because, "version") || !slices.Contains(x.Because, "move") || x.HolderCount != 2 || !slices.Equal(places(x), []string{"far", "local"}) {
					t.Errorf("during the move: %+v", x)
				}
				if p.FreedBytes+p.PendingBytes <= alone.FreedBytes+alone.PendingBytes || len(p.Backends) != 2 || p.Files != 1 || p.LogicalBytes != int64(len(content)) {
					t.Errorf("during the move: %+v, before %+v", p, alone)
				}
				if out, _ := s.run(0, "", "gc", "explain", digest); !strings.Contains(out, "a bucket that needs it is being moved there") {
					t.Errorf("explained: %s", out)
				}
			})
			if err != nil || !seen {
				t.Fatalf("moved: %v, the copy was seen: %t", err, seen)
			}
			s.run(0, "", "gc", "--full")
			x, after := look()
			if !slices.Equal(x.Because, []string{"version"}) || !slices.Equal(places(x), []string{"far"}) {
				t.Errorf("after: %+v", x)
			}
			s.run(0, "", "rm", "--permanent", "demo/moved")
			var r client.Collected
			s.decodeJSON(&r, "gc", "--full")
			freed := int64(0)
			for _, b := range r.Backends {
				for _, e := range b.Freed {
					if e.FileID == f.ID {
						freed += e.Bytes
					}
				}
			}
			if freed != after.FreedBytes+after.PendingBytes {
				t.Errorf("the file has freed %d bytes, the preview said %+v", freed, after)
			}
		})
	}
}
