package links_test

import (
	"io"
	"os"
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

// stores are the ways to open the store of a fixture, by the database that it has.
func stores() map[string]func(f *fixture) (*buckets.Store, error) {
	return map[string]func(f *fixture) (*buckets.Store, error){"Pebble": openLocal, "PostgreSQL": openPostgres}
}

// openPostgres opens a store on a database of its own, with packs in memory.
func openPostgres(f *fixture) (*buckets.Store, error) {
	db, err := pgstore.Open(f.Context(), pgtest.Database(f), nil)
	if err != nil {
		return nil, err
	}
	chunks, err := cas.Open(f.Context(), membackend.New(nil), db.Index("local"), nil)
	if err != nil {
		return nil, err
	}
	return buckets.New(f.Context(), db, map[string]*cas.Store{"local": chunks}, f.opts.Buckets, &buckets.Options{Now: f.opts.Now, Closers: []io.Closer{db}})
}
