package check

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// check checks a store, and returns the report with all that was told meanwhile.
func (f *fixture) check(opts Options) (*Report, []Problem) {
	f.t.Helper()
	var told []Problem
	opts.Found = func(p *Problem) { told = append(told, *p) }
	r, err := f.store().Check(f.t.Context(), &opts)
	must(f.t, err)
	kinds := int64(0)
	for _, n := range r.Kinds {
		kinds += n
	}
	if n := int64(len(told)); n != r.ProblemCount+r.DamagedCount || n != kinds {
		f.t.Errorf("%d problems were told, the report counts %d and %d, by kinds %v", n, r.ProblemCount, r.DamagedCount, r.Kinds)
	}
	return r, told
}

// find returns how many of some problems are of a kind, with words in their detail.
func find(ps []Problem, kind, words string) (n int) {
	for _, p := range ps {
		if p.Kind == kind && strings.Contains(p.Detail, words) {
			n++
		}
	}
	return n
}

// fill puts files of one pack each, and returns the pack of the first.
func (f *fixture) fill(names ...string) cas.PackID {
	f.t.Helper()
	f.change(func(b *buckets.Bucket) {
		for i, name := range names {
			_, err := b.Put(f.t.Context(), name, bytes.NewReader(noise(uint64(i), 9000)), nil)
			must(f.t, err)
		}
	})
	g := f.open()
	defer g.close()
	return g.packOf(noise(0, 9000))
}

// A doom that no record tells of is found and recorded by a repair, and so is a
// doomed pack in which something lies.
func TestCheckFindsDooms(t *testing.T) {
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir(), size: 8000}
	id := f.fill("a", "b", "c")
	f.change(func(b *buckets.Bucket) {
		gone, err := b.StatPath(t.Context(), "a")
		must(t, err)
		must(t, b.Purge(t.Context(), gone.ID, nil))
	})
	g := f.open()
	defer g.close()
	g.writeCheckpoint(1, true, "b", "c")
	g.doomUnrecorded(id)
	if r, told := g.check(Options{}); r.OK || find(told, "collection", "no record in the packs says so") != 1 || len(told) != 1 {
		t.Errorf("check finds %+v", told)
	}
	if r, told := g.check(Options{Repair: true}); !r.OK || len(told) != 1 || !told[0].Repaired {
		t.Errorf("a repair finds %+v", told)
	}
	if r, told := g.check(Options{}); !r.OK {
		t.Errorf("after a repair, check finds %+v", told)
	}
	other := g.packOf(noise(1, 9000))
	_, err := g.db.Update(t.Context(), "", func(tx manifest.Tx) error { return tx.RestoreDooms(t.Context(), "x", []cas.PackID{other}) })
	must(t, err)
	if r, told := g.check(Options{}); r.OK || find(told, "collection", "the index has a frame at") != 1 {
		t.Errorf("check finds %+v", told)
	}
}

// The entries of a pack that is being deleted add up to its size at most. What waits
// for the ledger may be more than is dead.
func TestCheckFindsLedger(t *testing.T) {
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir(), size: 8000}
	id := f.fill("a", "b")
	f.change(func(b *buckets.Bucket) {
		gone, err := b.StatPath(t.Context(), "a")
		must(t, err)
		must(t, b.Purge(t.Context(), gone.ID, nil))
	})
	g := f.open()
	defer g.close()
	g.writeCheckpoint(1, true, "b")
	g.doom(id)
	p := g.entryOf(id)
	must(t, g.db.AddCharges(t.Context(), "x", []manifest.Charge{{Pack: id, Bytes: p.Size + 1}}))
	enter := func(n int64) {
		es := []manifest.Freed{{At: time.UnixMilli(1), Domain: "x", Charge: manifest.Charge{Pack: id, Bytes: n}}}
		must(t, g.db.AddFreed(t.Context(), "x", es, nil))
	}
	enter(p.Size - 1) // a collection ended between two transactions
	if r, told := g.check(Options{}); !r.OK {
		t.Errorf("check finds %+v", told)
	}
	enter(2)
	if r, told := g.check(Options{}); r.OK || find(told, "collection", fmt.Sprintf("the ledger has %d bytes of the pack, which had %d", p.Size+1, p.Size)) != 1 {
		t.Errorf("check finds %+v", told)
	}
}

// Sums that are not those of the rows are found, by bucket and by owner, and made
// anew by a repair.
func TestCheckFindsSums(t *testing.T) {
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
	f.fill("a", "b")
	g := f.open()
	var file *manifest.File
	for row, err := range g.db.AllFiles(t.Context()) {
		must(t, err)
		file = row
	}
	file.Revision++
	file.Owner, file.Tags = "somebody", []string{"new"}
	last, err := g.db.LastCommit(t.Context())
	must(t, err)
	must(t, g.db.Restore(t.Context(), last+1, []manifest.Record{{File: file}}))
	must(t, g.db.Restore(t.Context(), last+1, nil))
	r, told := g.check(Options{})
	if r.OK || find(told, "index", `bucket "demo": names or usage do not agree`) != 1 ||
		find(told, "index", "usage of owner") != 2 || find(told, "metadata", "the packs hold revision") != 1 || len(told) != 4 {
		t.Errorf("check finds %+v", told)
	}
	if r, told := g.check(Options{Repair: true}); !r.OK || len(told) != 4 {
		t.Errorf("a repair finds %+v", told)
	}
	g.close()
	g = f.open()
	defer g.close()
	if r, told := g.check(Options{}); !r.OK {
		t.Errorf("after a repair, check finds %+v", told)
	}
}

// A report names the first of many problems, and counts them all. Every hurt file is
// told, by its path.
func TestManyProblems(t *testing.T) {
	race.LeaveOut(t)
	const files = 1100
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
	f.change(func(b *buckets.Bucket) {
		for i := range files {
			_, err := b.Put(t.Context(), fmt.Sprint(i), strings.NewReader(fmt.Sprintf("content of file %d", i)), nil)
			must(t, err)
		}
	})
	g := f.open()
	defer g.close()
	for p, err := range g.chunks.Packs(t.Context()) {
		must(t, err)
		must(t, f.b.Delete(t.Context(), p.ID.Key()))
	}
	r, told := g.check(Options{})
	hurt := make(map[string]bool)
	for _, p := range told {
		if p.Kind == "manifest" {
			hurt[p.Path] = true
		}
	}
	if r.OK || len(r.Problems) != maxReported || len(r.Damaged) != maxReported || r.DamagedCount != files || len(hurt) != files || find(told, "chunk", "") != files {
		t.Errorf("%d problems of %d, %d damaged of %d, %d files told; kinds %v", len(r.Problems), r.ProblemCount, len(r.Damaged), r.DamagedCount, len(hurt), r.Kinds)
	}
}
