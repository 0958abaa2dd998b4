package pgstore_test

import (
	"os"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/manifesttest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func open(t *testing.T, url string) *pgstore.DB {
	t.Helper()
	d, err := pgstore.Open(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

func TestIndex(t *testing.T) {
	var d *pgstore.DB
	var url string
	castest.RunIndex(t, castest.Maker{
		Open: func(t *testing.T) cas.Index {
			url = pgtest.Database(t)
			d = open(t, url)
			return d.Index("x")
		},
		Reopen: func(t *testing.T, _ cas.Index) cas.Index {
			d.Close()
			d = open(t, url)
			return d.Index("x")
		},
		NextEpoch: func(t *testing.T, _ cas.Index) {
			if _, err := d.NextEpoch(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
		},
		TakeLease: func(t *testing.T, _ cas.Index) uint64 {
			l, err := d.TakeLease(t.Context(), "x", 0)
			if err != nil {
				t.Fatal(err)
			}
			return l.Token
		},
		DoomPack: func(t *testing.T, _ cas.Index, id cas.PackID, size int64) {
			_, err := d.Update(t.Context(), "x", func(tx manifest.Tx) error { return tx.DoomPack(t.Context(), id, size, nil) })
			if err != nil {
				t.Fatal(err)
			}
		},
	})
}

func TestStore(t *testing.T) {
	open, reopen := storesOf()
	manifesttest.Run(t, open, reopen)
}

func TestLargeStore(t *testing.T) {
	race.LeaveOut(t)
	open, reopen := storesOf()
	manifesttest.RunLarge(t, open, reopen)
}

// storesOf returns how a suite opens a store, and opens it again.
func storesOf() (first func(t *testing.T) manifest.Store, reopen func(t *testing.T, s manifest.Store) manifest.Store) {
	var d *pgstore.DB
	var url string
	return func(t *testing.T) manifest.Store {
			url = pgtest.Database(t)
			d = open(t, url)
			return d
		}, func(t *testing.T, _ manifest.Store) manifest.Store {
			d.Close()
			d = open(t, url)
			return d
		}
}
