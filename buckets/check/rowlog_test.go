package check

import (
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/manifest"
)

// TestRowLog compares a log that holds few entries in memory with maps.
func TestRowLog(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, most := range []int{1, 7, 100, 10_000} {
		r := rand.New(rand.NewPCG(seed, uint64(most)))
		ids := make([]manifest.FileID, 40)
		for i := range ids {
			ids[i] = manifest.NewFileID()
		}
		revisions := make(map[manifest.FileID]uint64)
		domains := make(map[manifest.FileID]string)
		versions := make(map[manifest.FileID]map[uint64]bool)
		log := &rowLog{most: most}
		for range 1000 {
			id, domain := ids[r.IntN(len(ids)-1)], []string{"a", "b"}[r.IntN(2)] // the last has no record
			if r.IntN(2) == 0 {
				rev := 1 + r.Uint64N(1000)
				if rev == revisions[id] {
					continue // of one revision there is one row
				}
				if rev > revisions[id] {
					revisions[id], domains[id] = rev, domain
				}
				must(t, log.add(domain, []manifest.Record{{File: &manifest.File{ID: id, Revision: rev}}, {Purged: id}}))
				continue
			}
			n := 1 + r.Uint64N(60)
			if versions[id] == nil {
				versions[id] = make(map[uint64]bool)
			}
			versions[id][n] = true
			must(t, log.add(domain, []manifest.Record{{Manifest: &manifest.Manifest{File: id, Version: n}}}))
		}
		if len(log.buf) >= most {
			t.Errorf("%d entries in memory, want under %d", len(log.buf), most)
		}
		slices.Sort(ids)
		c, err := log.newCursor()
		must(t, err)
		for _, id := range ids {
			if r.IntN(5) == 0 {
				continue // a row that the database has not
			}
			got, err := c.find(id)
			must(t, err)
			if got.revision != revisions[id] || got.domain != domains[id] {
				t.Errorf("most %d, file %s: revision %d in %q, want %d in %q", most, id, got.revision, got.domain, revisions[id], domains[id])
			}
			for n := range uint64(62) {
				if got.has(n) != versions[id][n] {
					t.Errorf("most %d, file %s: version %d: %v, want %v of %v", most, id, n, got.has(n), versions[id][n],
						slices.Sorted(maps.Keys(versions[id])))
				}
			}
		}
		c.stop()
		must(t, log.close())
		if _, err := os.Stat(log.dir); log.dir != "" && !os.IsNotExist(err) {
			t.Errorf("runs are left in %s: %v", log.dir, err)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
