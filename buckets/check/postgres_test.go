package check

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"reflect"
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func noise(seed uint64, n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(p)
	return p
}

// dump is all rows of a store by manifest ID.
func dump(t *testing.T, s *buckets.Store) map[string]buckets.Row {
	t.Helper()
	rows := make(map[string]buckets.Row)
	for r, err := range s.Dump(t.Context()) {
		must(t, err)
		rows[r.ID] = r
	}
	return rows
}

// A store on PostgreSQL is checked while it is open, and its database comes
// back from the packs.
func TestPostgres(t *testing.T) {
	t.Parallel()
	ctx, packs := t.Context(), membackend.New(nil)
	open := func(chunkOptions cas.Options) (*pgstore.DB, *buckets.Store, *Store) {
		t.Helper()
		db, err := pgstore.Open(ctx, pgtest.Database(t), nil)
		must(t, err)
		t.Cleanup(func() { db.Close() })
		if chunkOptions.Store == [16]byte{} {
			chunkOptions.Store, err = db.StoreID(ctx)
			must(t, err)
			chunkOptions.Domain, err = db.DomainID(ctx, "x")
			must(t, err)
		}
		chunks, err := cas.Open(ctx, packs, db.Index("x"), &chunkOptions)
		must(t, err)
		checked := &Store{Meta: db, Domains: []*Domain{{Name: "x", Chunks: chunks}}}
		if chunkOptions.Exclusive {
			must(t, checked.Rebuild(ctx))
		}
		s, err := buckets.New(ctx, db, map[string]*cas.Store{"x": chunks}, map[string]buckets.Policy{"demo": {Domain: "x"}}, nil)
		must(t, err)
		t.Cleanup(func() { s.Close() })
		return db, s, checked
	}
	db, s, checked := open(cas.Options{PackSize: 1 << 20})
	b, err := s.Bucket("demo")
	must(t, err)
	contents := make(map[string][]byte)
	for i := range 12 {
		p := noise(uint64(i), 20<<10<<(i%5))
		f, err := b.Put(ctx, fmt.Sprint(i), bytes.NewReader(p), nil)
		must(t, err)
		switch contents[f.ID] = p; i % 4 {
		case 1:
			must(t, b.Purge(ctx, f.ID, nil))
			delete(contents, f.ID)
		case 2:
			_, err = b.Replace(ctx, f.ID, bytes.NewReader(p[:len(p)/2]), nil)
			must(t, err)
			contents[f.ID] = p[:len(p)/2]
		}
	}
	check := func(s *Store) {
		t.Helper()
		r, err := s.Check(ctx, nil)
		must(t, err)
		if !r.OK || len(r.Problems) > 0 || r.Files != int64(len(contents)) || r.Packs < 2 {
			t.Errorf("check finds %+v", r)
		}
	}
	check(checked)
	rows := dump(t, s)
	store, err := db.StoreID(ctx)
	must(t, err)
	domain, err := db.DomainID(ctx, "x")
	must(t, err)
	must(t, s.Close())

	_, s, checked = open(cas.Options{Store: store, Domain: domain, Exclusive: true})
	check(checked)
	if got := dump(t, s); !reflect.DeepEqual(got, rows) {
		t.Errorf("rebuilt:\n got %v\nwant %v", maps.Collect(maps.All(got)), rows)
	}
	b, err = s.Bucket("demo")
	must(t, err)
	for id, want := range contents {
		if got, err := readAll(ctx, b, id); err != nil || !bytes.Equal(got, want) {
			t.Errorf("file %s: %d bytes, want %d, %v", id, len(got), len(want), err)
		}
	}
}
