package pebblestore_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/internal/race"
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
		DoomPack: func(t *testing.T, _ cas.Index, id cas.PackID, size int64) {
			_, err := last.db.Update(t.Context(), "x", func(tx manifest.Tx) error { return tx.DoomPack(t.Context(), id, size, nil) })
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
	open, reopen := storesOf()
	manifesttest.Run(t, open, reopen)
}

func TestLargeStore(t *testing.T) {
	race.LeaveOut(t)
	open, reopen := storesOf()
	manifesttest.RunLarge(t, open, reopen)
}

// storesOf returns how a suite opens a store, and opens it again.
func storesOf() (open func(t *testing.T) manifest.Store, reopen func(t *testing.T, s manifest.Store) manifest.Store) {
	var last *dbs
	return func(t *testing.T) manifest.Store {
		last = newDBs(t)
		return last.db
	}, func(t *testing.T, _ manifest.Store) manifest.Store { return last.reopen(t) }
}

// A database of another format is refused and left as it is.
func TestFormat(t *testing.T) {
	for _, format := range []string{"\x00", "\x01", "\x02", "\x03", "\x07", "\xff", "", "\x06\x06"} {
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

// testdata/format4 was written by the last program that wrote format 4: a file b/f,
// its chunk and pack, in epoch 1. It is opened, works, and has the present format then.
func TestFormat4Opens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "db")
	if err := os.CopyFS(dir, os.DirFS("testdata/format4")); err != nil {
		t.Fatal(err)
	}
	want := manifest.Scrubbed{Pack: cas.PackID{1}, At: time.UnixMilli(1_700_000_000_000).UTC(), Size: 99}
	for n := range 2 {
		d := open(t, dir)
		f, err := d.FileByPath(t.Context(), "b", "f")
		if err != nil || f.TotalSize != 3 {
			t.Errorf("%+v, %v", f, err)
		}
		chunk := make([]cas.ChunkEntry, 1)
		if err := d.Index("disk").Chunks(t.Context(), []cas.Digest{cas.Sum([]byte("abc"))}, chunk); err != nil || !chunk[0].Usable() {
			t.Errorf("%+v, %v", chunk, err)
		}
		if n, err := d.Epoch(t.Context(), "disk"); err != nil || n != 1 {
			t.Errorf("epoch %d, %v", n, err)
		}
		for s, err := range d.AllScrubbed(t.Context(), "disk") {
			if err != nil || s != want || n == 0 {
				t.Errorf("%+v, %v", s, err)
			}
		}
		if err := errors.Join(d.PutScrubbed(t.Context(), "disk", []manifest.Scrubbed{want}), d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	checkFormat(t, dir)
}

// A database of format 5, which had no links and no hosts, gets them.
func TestFormat5Opens(t *testing.T) {
	dir := t.TempDir()
	if err := open(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	older, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(older.Set([]byte{'v'}, []byte{5}, nil), older.Close()); err != nil {
		t.Fatal(err)
	}
	l := &manifest.Link{ID: manifest.NewLinkID(), Host: "h", Bucket: "b", File: manifest.NewFileID()}
	for n := range 2 {
		d := open(t, dir)
		if got, err := d.Link(t.Context(), l.ID); (err == nil) != (n == 1) {
			t.Errorf("%+v, %v", got, err)
		}
		_, err := d.Update(t.Context(), "x", func(tx manifest.Tx) error { return tx.PutLink(t.Context(), l) })
		if err := errors.Join(err, d.Close()); err != nil {
			t.Fatal(err)
		}
	}
	checkFormat(t, dir)
}

// checkFormat checks that a database has the present format.
func checkFormat(t *testing.T, dir string) {
	t.Helper()
	raw, err := pebble.Open(dir, &pebble.Options{FormatMajorVersion: pebble.FormatNewest, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	v, closer, err := raw.Get([]byte{'v'})
	if err != nil || string(v) != "\x06" {
		t.Errorf("format %x, %v", v, err)
	}
	if err := errors.Join(closer.Close(), raw.Close()); err != nil {
		t.Error(err)
	}
}

func TestLocked(t *testing.T) {
	d := newDBs(t)
	if _, err := pebblestore.Open(d.dir, nil); !errors.Is(err, pebblestore.ErrLocked) {
		t.Errorf("opened twice: %v", err)
	}
}
