package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
)

// damagedKeys are what a database that is to be damaged holds.
const damagedKeys = 3000

// whole makes a database that has tables, a log and all other files, and
// returns its directory.
func whole(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "meta")
	d, err := Open(dir, nil)
	must(t, err)
	write := func(from, to int) {
		for i := from; i < to; i++ {
			must(t, d.lockChanges(t.Context()))
			b := d.db.NewBatch()
			must(t, b.Set(key(i), value(i), nil))
			must(t, d.commitBatch(b, i%100 == 0))
		}
	}
	write(0, damagedKeys/2)
	must(t, d.db.Flush())
	must(t, d.db.Compact(t.Context(), []byte{0}, []byte{255}, false))
	write(damagedKeys/2, damagedKeys)
	must(t, d.putValue(key(damagedKeys), nil))
	must(t, d.Close())
	return dir
}

// A damage is done to a file's bytes.
type damage struct {
	name string
	do   func(p []byte) []byte
}

// damages are those that are tried on every file, at several places.
func damages() (out []damage) {
	for _, at := range []float64{0, 0.01, 0.3, 0.5, 0.8, 0.99, 1} {
		out = append(out,
			damage{fmt.Sprintf("a bit flipped at %v", at), func(p []byte) []byte {
				p[int(at*float64(len(p)-1))] ^= 0x10
				return p
			}},
			damage{fmt.Sprintf("zeros from %v", at), func(p []byte) []byte {
				clear(p[int(at*float64(len(p)-1)):])
				return p
			}},
			damage{fmt.Sprintf("cut at %v", at), func(p []byte) []byte { return p[:int(at*float64(len(p)-1))] }})
	}
	return append(out, damage{"missing", func([]byte) []byte { return nil }})
}

// files are those of a database, by their kinds.
var files = []string{"*.sst", "*.log", "MANIFEST-*", "OPTIONS-*", "marker.manifest.*", "marker.format-version.*"}

// Whatever is damaged, opening and reading end in an error that says so, or in
// what was written. Nothing panics.
func TestDamage(t *testing.T) {
	good := os.DirFS(whole(t))
	for _, pattern := range files {
		for _, dmg := range damages() {
			t.Run(pattern+"/"+dmg.name, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "meta")
				must(t, os.CopyFS(dir, good))
				names, err := filepath.Glob(filepath.Join(dir, pattern))
				if err != nil || len(names) == 0 {
					t.Fatalf("no file %s: %v", pattern, err)
				}
				for _, name := range names {
					p, err := os.ReadFile(name)
					must(t, err)
					if len(p) == 0 {
						p = []byte("x") // a marker tells by its name
					}
					if p = dmg.do(p); p == nil {
						must(t, os.Remove(name))
						continue
					}
					must(t, os.WriteFile(name, p, 0o600))
				}
				tryDamaged(t, dir, pattern == "*.log")
			})
		}
	}
}

// tryDamaged opens and reads a database that may be damaged. Without its log,
// or the end of it, it is one of an earlier moment: nothing in it can tell.
func tryDamaged(t *testing.T, dir string, log bool) {
	t.Helper()
	d, err := Open(dir, &Options{MustExist: true})
	if err != nil {
		checkDamaged(t, err)
		return
	}
	n, told := 0, false
	verified := d.Verify(t.Context())
	if verified != nil {
		checkDamaged(t, verified)
	}
	for e, err := range scanPrefix(t.Context(), d.rows, []byte{'Z'}, func(k, v []byte) ([2]string, error) { return [2]string{string(k), string(v)}, nil }) {
		if err != nil {
			checkDamaged(t, err)
			told = true
			break
		}
		if want := [2]string{string(key(n)), string(value(n))}; e != want && n < damagedKeys {
			t.Errorf("%q follows %d keys", e, n)
		}
		n++
	}
	if n != damagedKeys+1 && !told && !log {
		t.Errorf("%d of %d keys, and no error", n, damagedKeys+1)
	}
	var ids [][]byte
	for i := range damagedKeys {
		ids = append(ids, key(i)[1:])
	}
	for i := 0; i < damagedKeys; i += 8 { // a block of a table holds some sixty
		v, err := d.getValue(d.db, key(i))
		if err == nil && string(v) != string(value(i)) {
			t.Fatalf("key %d is %q", i, v)
		}
		if err != nil && (err != os.ErrNotExist || !log) { // the sentinel itself: there is no such key
			checkDamaged(t, err)
			break
		}
	}
	found := 0
	err = d.findValues([]byte{'Z'}, ids, func(i int, v []byte) error {
		if found++; string(v) != string(value(i)) {
			t.Errorf("key %d is found to be %q", i, v)
		}
		return nil
	})
	if err != nil {
		checkDamaged(t, err)
	} else if found < damagedKeys && !log {
		t.Errorf("%d of %d keys are found, and no error", found, damagedKeys)
	}
	if told && verified == nil {
		t.Error("reading has met damage that Verify has not")
	}
	if err := d.Close(); err != nil && !errors.Is(err, ErrSync) {
		t.Errorf("close: %v", err)
	}
}

func value(i int) []byte { return fmt.Appendf(nil, "value %d of some length, so that blocks fill", i) }

func checkDamaged(t *testing.T, err error) {
	t.Helper()
	if !errors.Is(err, ErrDamaged) {
		t.Errorf("%v, want %v", err, ErrDamaged)
	}
	if s := err.Error(); strings.Contains(s, "goroutine") || len(s) > 1000 {
		t.Errorf("what is wrong cannot be read: %s", s)
	}
}

// A value that no program wrote is an error that names the entry.
func TestDamagedEntries(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "meta"), nil)
	must(t, err)
	defer d.Close()
	ix, ctx := d.Index("x"), t.Context()
	digest, frame, pack := cas.Sum(nil), cas.FrameID{1}, cas.PackID{2}
	f := cas.FrameEntry{ID: frame, Pack: pack, Offset: 300, Slots: 1, Key: 400, Live: 300, LiveBytes: 400, Sources: []cas.Source{{Digest: digest, Offset: 1, Length: 2}}}
	values := map[string][]byte{
		string(chunkKey("x", digest)):          appendChunk(nil, &cas.ChunkEntry{Digest: digest, Frame: frame, Length: 300, Stamp: 7}),
		string(frameKey("x", frame)):           appendFrame(nil, &f),
		string(packKey("x", pack)):             appendPack(nil, &cas.PackEntry{ID: pack, Size: 1 << 30, Serial: 9, Records: 300, Live: 400}),
		string(domainKey(keyDomain, "x", nil)): (&counters{300, 400, 500, 600, 700}).append(nil),
	}
	names := map[byte]string{keyChunk: digest.String(), keyFrame: frame.String(), keyPack: pack.String(), keyDomain: `"x"`}
	read := func(letter byte) error {
		var err error
		switch letter {
		case keyChunk:
			err = ix.Chunks(ctx, []cas.Digest{digest}, make([]cas.ChunkEntry, 1))
			for _, e := range ix.AllChunks(ctx) {
				err = errors.Join(err, e)
			}
		case keyFrame:
			err = ix.Frames(ctx, []cas.FrameID{frame}, make([]cas.FrameEntry, 1))
			for _, e := range ix.AllFrames(ctx) {
				err = errors.Join(err, e)
			}
		case keyPack:
			for _, e := range ix.AllPacks(ctx) {
				err = errors.Join(err, e)
			}
		case keyDomain:
			_, err = ix.Removals(ctx)
			_, err2 := ix.Epoch(ctx)
			err = errors.Join(err, err2)
		}
		return err
	}
	for k, v := range values {
		must(t, d.db.Set([]byte(k), v, pebble.NoSync))
		if err := read(k[0]); err != nil {
			t.Errorf("%c: %v", k[0], err)
		}
		for n := range len(v) {
			must(t, d.db.Set([]byte(k), v[:n], pebble.NoSync))
			// A frame may end after any of its sources.
			if err := read(k[0]); (err == nil || !strings.Contains(err.Error(), names[k[0]])) && !(k[0] == keyFrame && n == len(v)-34) {
				t.Errorf("%c cut at %d: %v", k[0], n, err)
			}
		}
		for name, bad := range map[string][]byte{"longer": append(append([]byte{}, v...), 0), "version": append([]byte{entryVersion + 1}, v[1:]...)} {
			must(t, d.db.Set([]byte(k), bad, pebble.NoSync))
			if err := read(k[0]); err == nil || !strings.Contains(err.Error(), names[k[0]]) {
				t.Errorf("%c %s: %v", k[0], name, err)
			}
		}
		must(t, d.db.Delete([]byte(k), pebble.NoSync))
	}
}
