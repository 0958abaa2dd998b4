package pebblestore_test

import (
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2"

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
	castest.RunIndex(t, castest.Maker{
		Open: func(t *testing.T) cas.Index {
			last = newDBs(t)
			return last.db.Index("x")
		},
		Reopen: func(t *testing.T, _ cas.Index) cas.Index { return last.reopen(t).Index("x") },
		NextEpoch: func(t *testing.T, _ cas.Index) {
			if _, err := last.db.NextEpoch(t.Context(), "x"); err != nil {
				t.Fatal(err)
			}
		},
		TakeLease: func(t *testing.T, _ cas.Index) uint64 {
			l, err := last.db.TakeLease(t.Context(), "x", 0)
			if err != nil {
				t.Fatal(err)
			}
			return l.Token
		},
		DoomPack: func(t *testing.T, _ cas.Index, id cas.PackID) {
			_, err := last.db.Update(t.Context(), "x", func(tx manifest.Tx) error { return tx.DoomPack(t.Context(), id, nil) })
			if err != nil {
				t.Fatal(err)
			}
		},
	})
}

// Domains share nothing.
func TestDomains(t *testing.T) {
	d := newDBs(t)
	e := cas.ChunkEntry{Digest: cas.Sum(nil), Frame: cas.FrameID{1}}
	if err := d.db.Index("a").Apply(t.Context(), &cas.Change{Frames: []cas.FrameEntry{{ID: e.Frame}}, Chunks: []cas.ChunkEntry{e}, Packs: []cas.PackEntry{{ID: cas.PackID{1}}}}); err != nil {
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

// A database of another format is refused and left as it is.
func TestFormat(t *testing.T) {
	for _, format := range []string{"\x00", "\x01", "\x02", "\x03", "\x05", "\xff", "", "\x04\x04"} {
		dir := t.TempDir()
		if err := open(t, dir).Close(); err != nil {
			t.Fatal(err)
		}
		other, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest})
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(other.Set([]byte{'v'}, []byte(format), nil), other.Close()); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := pebblestore.Open(dir, nil); !errors.Is(err, pebblestore.ErrFormat) {
				t.Errorf("format %q: %v", format, err)
			}
		}
	}
}

func TestLocked(t *testing.T) {
	d := newDBs(t)
	if _, err := pebblestore.Open(d.dir, nil); !errors.Is(err, pebblestore.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}
