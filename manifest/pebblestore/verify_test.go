package pebblestore

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// Verify finds any flipped bit of a table, whatever it is of, and nothing in a
// database that is whole, also while it changes.
func TestVerify(t *testing.T) {
	race.LeaveOut(t)
	dir := whole(t)
	d, err := Open(dir, &Options{MustExist: true})
	must(t, err)
	for i := range 20 {
		must(t, d.lockChanges(t.Context()))
		b := d.db.NewBatch()
		must(t, b.Set(key(i), value(i), nil))
		must(t, d.commitBatch(b, false))
		if i%5 == 0 {
			_, err := d.db.AsyncFlush()
			must(t, err)
		}
		must(t, d.Verify(t.Context()))
	}
	must(t, d.Close())

	tables, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	must(t, err)
	good := os.DirFS(dir)
	tried := 0
	for _, name := range tables {
		p, err := os.ReadFile(name)
		must(t, err)
		for at := len(p) % 211; at < len(p); at += 1 + len(p)/25 {
			tried++
			damaged := filepath.Join(t.TempDir(), "meta")
			must(t, os.CopyFS(damaged, good))
			q := append([]byte{}, p...)
			q[at] ^= 4
			must(t, os.WriteFile(filepath.Join(damaged, filepath.Base(name)), q, 0o600))
			d, err := Open(damaged, &Options{MustExist: true})
			if err == nil {
				err = d.Verify(t.Context())
				d.Close() // it may fail
			}
			if err == nil {
				t.Errorf("a bit at %d of %d of %s is flipped, and nothing finds it", at, len(p), filepath.Base(name))
			} else {
				checkDamaged(t, err)
			}
		}
	}
	if tried < 20 {
		t.Errorf("only %d bits were flipped", tried)
	}
}
