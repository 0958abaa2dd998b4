package pebblestore_test

import (
	"errors"
	"testing"
	"time"

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

// A database of before there were sums by owner gets them when it is opened.
func TestFormat1(t *testing.T) {
	dir := t.TempDir()
	d := open(t, dir)
	now := time.Unix(1, 0).UTC()
	m := &manifest.Manifest{ID: manifest.NewVersionID(), File: manifest.NewFileID(), Version: 1, CreatedAt: now,
		Content: manifest.Content{Size: 7, Chunker: "c", Chunks: 1, Inline: []cas.Ref{{Digest: cas.Sum(nil), Length: 7}}}}
	f := &manifest.File{ID: m.File, Bucket: "b", Name: "n", Owner: "ann", Current: m.ID, Versions: 1, TotalSize: 7,
		TotalChunks: 1, LastVersion: 1, CreatedAt: now, UpdatedAt: now}
	_, err := d.Update(t.Context(), func(tx manifest.Tx) error {
		if err := tx.PutManifest(t.Context(), m); err != nil {
			return err
		}
		return tx.PutFile(t.Context(), "x", f)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
	old, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(old.DeleteRange([]byte{'W'}, []byte{'X'}, nil), old.Set([]byte{'v'}, []byte{1}, nil), old.Close()); err != nil {
		t.Fatal(err)
	}
	d = open(t, dir)
	defer d.Close()
	if u, err := d.OwnerUsage(t.Context(), "b", "ann"); err != nil || u.Bytes != 7 || u.Files != 1 {
		t.Errorf("usage of the owner after the upgrade: %+v, %v", u, err)
	}
}

func TestLocked(t *testing.T) {
	d := newDBs(t)
	if _, err := pebblestore.Open(d.dir, nil); !errors.Is(err, pebblestore.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}
