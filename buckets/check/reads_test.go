package check

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A counter counts what is read of the packs that count chooses.
type counter struct {
	backend.Backend
	count    func(key string) bool
	n, bytes atomic.Int64
}

func (c *counter) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	if c.count != nil && c.count(key) {
		c.n.Add(1)
		c.bytes.Add(int64(len(p)))
	}
	return c.Backend.ReadAt(ctx, key, p, off)
}

// filled makes a store in b, and returns the bytes of its packs and the key of
// the one that is not sealed.
func filled(t *testing.T, b backend.Backend, remote bool, files int, size int64) (total int64, unsealed string) {
	t.Helper()
	db, err := pebblestore.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	chunks, err := cas.Open(t.Context(), b, db.Index("x"), &cas.Options{Remote: remote, Store: [16]byte{1}, Domain: [16]byte{2}})
	if err != nil {
		t.Fatal(err)
	}
	s, err := buckets.New(t.Context(), db, map[string]*cas.Store{"x": chunks}, map[string]buckets.Policy{"demo": {Domain: "x"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bucket, err := s.Bucket("demo")
	if err != nil {
		t.Fatal(err)
	}
	r := rand.NewChaCha8([32]byte{1})
	for i := range files {
		if _, err := bucket.Put(t.Context(), fmt.Sprint(i), io.LimitReader(r, size), nil); err != nil {
			t.Fatal(err)
		}
	}
	for p, err := range db.Index("x").AllPacks(t.Context()) {
		if err != nil {
			t.Fatal(err)
		}
		if p.Sealed {
			total += p.Size
		} else {
			unsealed = p.ID.Key()
		}
	}
	return total, unsealed
}

// rebuilt makes a database from b alone.
func rebuilt(t *testing.T, b backend.Backend, remote bool) *pebblestore.DB {
	t.Helper()
	db, err := pebblestore.Open(t.TempDir(), nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	chunks, err := cas.Open(t.Context(), b, db.Index("x"), &cas.Options{Remote: remote})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { chunks.Close() })
	s := &Store{Meta: db, Domains: []*Domain{{Name: "x", Chunks: chunks}}}
	if err := s.Rebuild(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// A rebuild reads footers, records and segments, of no pack that is sealed
// more than 2 %.
func TestRebuildReads(t *testing.T) {
	for _, c := range []struct {
		remote bool
		files  int
		size   int64
	}{{true, 4, 32 << 20}, {false, 4, 32 << 20}, {true, 100, 1 << 20}, {false, 100, 1 << 20}} {
		t.Run(fmt.Sprintf("remote %v, %d files", c.remote, c.files), func(t *testing.T) {
			t.Parallel()
			b := &counter{Backend: membackend.New(&membackend.Options{WholeOnly: c.remote})}
			total, unsealed := filled(t, b, c.remote, c.files, c.size)
			b.count = func(key string) bool { return strings.HasPrefix(key, "packs/") && key != unsealed }
			db := rebuilt(t, b, c.remote)
			t.Logf("sealed packs hold %d bytes, the rebuild reads %d of them (%.3f %%) by %d requests", total, b.bytes.Load(),
				100*float64(b.bytes.Load())/float64(total), b.n.Load())
			if total == 0 || b.bytes.Load()*50 > total {
				t.Errorf("the rebuild reads %d of %d bytes", b.bytes.Load(), total)
			}
			n := 0
			for _, err := range db.AllFiles(t.Context()) {
				if n++; err != nil {
					t.Fatal(err)
				}
			}
			if store, err := db.StoreID(t.Context()); n != c.files || err != nil || store != [16]byte{1} {
				t.Errorf("%d files, store %x, %v", n, store, err)
			}
		})
	}
}
