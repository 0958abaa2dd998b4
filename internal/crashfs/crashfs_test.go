package crashfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/backendtest"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/internal/crashfs"
)

func TestBackend(t *testing.T) {
	backendtest.Run(t, func(t *testing.T) backend.Backend { return open(t, crashfs.New()) })
}

func open(t *testing.T, fs *crashfs.FS) *diskbackend.Backend {
	t.Helper()
	b, err := diskbackend.Open("packs", &diskbackend.Options{FS: fs.Disk("packs")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

// content returns what the object of that key holds when whole.
func content(key string) []byte {
	p := make([]byte, 20000)
	rand.NewChaCha8([32]byte([]byte(fmt.Sprintf("%-32s", key)))).Read(p)
	return p
}

// An ack says that size bytes of key are durable, and whether that is all.
type ack struct {
	key   string
	size  int
	whole bool
	gone  bool
}

// write stores an object in pieces, a Sync after each, and then Commit if
// whole; or else Abort.
func write(t *testing.T, w backend.Writer, key string, from, pieces int, whole bool, acked func(ack)) {
	all := content(key)
	step := len(all) / 5
	for i := range pieces {
		p := all[from+i*step : from+(i+1)*step]
		must(t, second(w.Write(p[:step/2])))
		must(t, second(w.Write(p[step/2:])))
		must(t, w.Sync())
		acked(ack{key: key, size: from + (i+1)*step})
	}
	if !whole {
		must(t, second(w.Write(all[from+pieces*step:][:step/2])))
		must(t, w.Abort())
		return
	}
	must(t, second(w.Write(all[from+pieces*step:])))
	must(t, w.Commit())
	acked(ack{key: key, size: len(all), whole: true})
}

func second(_ int, err error) error { return err }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestDiskBackendCrash(t *testing.T) {
	crashfs.Run(t, nil, func(fs *crashfs.FS, acked func(ack)) {
		b := open(t, fs)
		for _, c := range []struct {
			key    string
			pieces int
			whole  bool
		}{
			{"aa/whole", 0, true},
			{"aa/synced", 2, true},
			{"bb/deep/er", 1, true},
			{"aa/left", 1, false},
			{"bb/never", 0, false},
		} {
			w, err := b.Create(t.Context(), c.key)
			must(t, err)
			write(t, w, c.key, 0, c.pieces, c.whole, acked)
		}
		w, size, err := b.Append(t.Context(), "aa/left")
		must(t, err)
		acked(ack{key: "aa/left", size: int(size)})
		write(t, w, "aa/left", int(size), 1, true, acked)
		must(t, b.Delete(t.Context(), "aa/whole"))
		acked(ack{key: "aa/whole", gone: true})
	}, func(t *testing.T, clone *crashfs.FS, acked []ack) {
		b := open(t, clone)
		known := map[string]ack{}
		for _, a := range acked {
			known[a.key] = a
		}
		found := map[string]bool{}
		for info, err := range b.List(t.Context(), "") {
			must(t, err)
			found[info.Key] = true
			a, all := known[info.Key], content(info.Key)
			got := make([]byte, info.Size)
			must(t, b.ReadAt(t.Context(), info.Key, got, 0))
			if !bytes.HasPrefix(got, all[:a.size]) {
				t.Errorf("%s: %d bytes that were synced are lost or changed", info.Key, a.size)
			}
			w, _, err := b.Append(t.Context(), info.Key)
			switch sealed := errors.Is(err, fs.ErrExist); {
			case sealed && !bytes.Equal(got, all):
				t.Errorf("%s is sealed and not whole", info.Key)
			case a.whole && !sealed:
				t.Errorf("%s was committed and is not sealed: %v", info.Key, err)
			case !sealed:
				must(t, err)
				must(t, w.Abort())
			}
		}
		for key, a := range known {
			if a.gone && found[key] {
				t.Errorf("%s has come back", key)
			}
			// A Delete under way may have come through.
			if !a.gone && !found[key] && key != "aa/whole" {
				t.Errorf("%s is lost", key)
			}
		}
		for key := range found {
			if key == "bb/never" {
				t.Errorf("%s was never synced and is there", key)
			}
		}
		names, err := clone.Disk("packs").ReadDir(".")
		for _, name := range names {
			if name[0] == '.' {
				t.Errorf("Open left %s, %v", name, err)
			}
		}
	})
}

// A row is written once its object is durable, so it never names a missing one.
func TestSharedWithPebble(t *testing.T) {
	opts := func(fs *crashfs.FS) *pebble.Options {
		return &pebble.Options{FS: fs.VFS(), Logger: quiet{t}}
	}
	crashfs.Run(t, &crashfs.Options{Limit: 25}, func(fs *crashfs.FS, acked func(string)) {
		b := open(t, fs)
		db, err := pebble.Open("meta", opts(fs))
		must(t, err)
		for i := range 6 {
			key := fmt.Sprintf("packs/%d", i)
			w, err := b.Create(t.Context(), key)
			must(t, err)
			must(t, second(w.Write(content(key))))
			must(t, w.Commit())
			must(t, db.Set([]byte(key), nil, pebble.Sync))
			acked(key)
		}
		must(t, db.Close())
	}, func(t *testing.T, clone *crashfs.FS, acked []string) {
		b := open(t, clone)
		db, err := pebble.Open("meta", opts(clone))
		if err != nil && len(acked) == 0 {
			return // Pebble syncs the entries of a new database's files together: a crash may keep any of them
		}
		must(t, err)
		for _, key := range acked {
			_, c, err := db.Get([]byte(key))
			if err != nil {
				t.Fatalf("row of %s: %v", key, err)
			}
			must(t, c.Close())
		}
		rows, err := db.NewIter(nil)
		must(t, err)
		for ok := rows.First(); ok; ok = rows.Next() {
			got := make([]byte, len(content("")))
			must(t, b.ReadAt(t.Context(), string(rows.Key()), got, 0))
			if !bytes.Equal(got, content(string(rows.Key()))) {
				t.Errorf("%s: other bytes", rows.Key())
			}
		}
		must(t, rows.Close())
		must(t, db.Close())
	})
}

type quiet struct{ t *testing.T }

func (quiet) Infof(string, ...any)             {}
func (quiet) Errorf(string, ...any)            {}
func (q quiet) Fatalf(format string, a ...any) { q.t.Fatalf(format, a...) }
