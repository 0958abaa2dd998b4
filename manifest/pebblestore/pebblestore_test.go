package pebblestore_test

import (
	"errors"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/manifesttest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

func open(t *testing.T, dir string) *pebblestore.DB {
	t.Helper()
	d, err := pebblestore.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// dbs keeps open what a test opens, by directory.
type dbs struct {
	dir string
	db  *pebblestore.DB
}

func newDBs(t *testing.T) *dbs {
	d := &dbs{dir: t.TempDir()}
	d.db = open(t, d.dir)
	t.Cleanup(func() {
		if err := d.db.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

func (d *dbs) reopen(t *testing.T) *pebblestore.DB {
	t.Helper()
	if err := d.db.Close(); err != nil {
		t.Fatal(err)
	}
	d.db = open(t, d.dir)
	return d.db
}

func TestIndex(t *testing.T) {
	var last *dbs
	castest.RunIndex(t, func(t *testing.T) cas.Index {
		last = newDBs(t)
		return last.db.Index("x")
	}, func(t *testing.T, _ cas.Index) cas.Index { return last.reopen(t).Index("x") })
}

// Domains share nothing.
func TestDomains(t *testing.T) {
	d := newDBs(t)
	e := cas.ChunkEntry{Digest: cas.Sum(nil), Frame: cas.FrameID{1}}
	if err := d.db.Index("a").Apply(t.Context(), &cas.Change{Chunks: []cas.ChunkEntry{e}, Packs: []cas.PackEntry{{ID: cas.PackID{1}}}}); err != nil {
		t.Fatal(err)
	}
	for range d.db.Index("b").AllChunks(t.Context()) {
		t.Error("a chunk of another domain")
	}
	for range d.db.Index("").AllPacks(t.Context()) {
		t.Error("a pack of another domain")
	}
}

func TestStore(t *testing.T) {
	var last *dbs
	manifesttest.Run(t, func(t *testing.T) manifest.Store {
		last = newDBs(t)
		return last.db
	}, func(t *testing.T, _ manifest.Store) manifest.Store { return last.reopen(t) })
}

func TestLocked(t *testing.T) {
	d := newDBs(t)
	if _, err := pebblestore.Open(d.dir, nil); !errors.Is(err, pebblestore.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}
