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
		gone := make(map[manifest.FileID]bool)
		log := &rowLog{most: most}
		bases := map[string]uint64{"b": 5}
		for range 1000 {
			if r.IntN(10) == 0 { // a checkpoint covers it
				id := ids[r.IntN(len(ids))]
				must(t, log.add("b", 1+r.Uint64N(5), false, []manifest.Record{{File: &manifest.File{ID: id, Revision: 2000}}, {Purged: id},
					{Manifest: &manifest.Manifest{File: id, Version: 61}}}))
			}
			if r.IntN(10) == 0 { // another checkpoint had it
				id := ids[r.IntN(len(ids))]
				must(t, log.add("b", 3+r.Uint64N(2), true, []manifest.Record{{File: &manifest.File{ID: id, Revision: 2000}}, {Purged: id}}))
			}
			seq, inCheckpoint := 6+r.Uint64N(9), false
			if id := ids[r.IntN(len(ids)-1)]; r.IntN(50) == 0 {
				gone[id] = true
				must(t, log.add("a", seq, false, []manifest.Record{{Purged: id}}))
			}
			id, domain := ids[r.IntN(len(ids)-1)], []string{"a", "b"}[r.IntN(2)] // the last has no record
			if r.IntN(5) == 0 {
				seq, inCheckpoint = bases[domain], true
			}
			if r.IntN(2) == 0 {
				rev := 1 + r.Uint64N(1000)
				if rev == revisions[id] {
					continue // of one revision there is one row
				}
				if rev > revisions[id] {
					revisions[id], domains[id] = rev, domain
				}
				must(t, log.add(domain, seq, inCheckpoint, []manifest.Record{{File: &manifest.File{ID: id, Revision: rev}}, {Dropped: "m"}}))
				continue
			}
			n := 1 + r.Uint64N(60)
			if versions[id] == nil {
				versions[id] = make(map[uint64]bool)
			}
			versions[id][n] = true
			must(t, log.add(domain, seq, inCheckpoint, []manifest.Record{{Manifest: &manifest.Manifest{File: id, Version: n}}}))
		}
		if len(log.buf) >= most {
			t.Errorf("%d entries in memory, want under %d", len(log.buf), most)
		}
		slices.Sort(ids[:len(ids)-1])
		c, err := log.newCursor(bases)
		must(t, err)
		var others, wantOthers []manifest.FileID
		for _, id := range ids[:len(ids)-1] {
			known := revisions[id] > 0 || gone[id] || len(versions[id]) > 0
			if r.IntN(5) == 0 { // a row that the database has not
				if known {
					wantOthers = append(wantOthers, id)
				}
				continue
			}
			got, err := c.find(id, func(f *fileRecords) { others = append(others, f.file) })
			must(t, err)
			if got.purged != gone[id] {
				t.Errorf("most %d, file %s: purged %v, want %v", most, id, got.purged, gone[id])
			}
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
		for c.ok {
			f, err := c.take()
			must(t, err)
			others = append(others, f.file)
		}
		if !slices.Equal(others, wantOthers) {
			t.Errorf("most %d: files %s are only in packs, want %s", most, others, wantOthers)
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
