package collect_test

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// rows are all rows, by the IDs of files and versions.
func (w *world) rows() map[string]any {
	w.t.Helper()
	out := make(map[string]any)
	for row, err := range w.db.AllRows(w.t.Context(), bucket) {
		must(w.t, err)
		out[string(row.File.ID)] = row.File
		if row.Manifest != nil {
			out[string(row.Manifest.ID)] = row.Manifest
		}
	}
	return out
}

// rebuild returns a copy of a world, which must be closed, whose database is made
// anew from the packs alone. It is open.
func (w *world) rebuild() *world {
	w.t.Helper()
	c := w.copyWorld()
	must(w.t, os.RemoveAll(filepath.Join(c.dir, "meta")))
	c.open()
	s := &check.Store{Meta: c.db, Domains: []*check.Domain{{Name: domain, Chunks: c.chunks}}}
	must(w.t, s.Rebuild(w.t.Context()))
	c.reopen()
	return c
}

// describe gives a file more metadata than one slot of records holds together with
// that of two others. It does not compress.
func (w *world) describe(name string, seed uint64) {
	w.t.Helper()
	ctx := w.t.Context()
	must(w.t, w.update(ctx, domain, func(tx manifest.Tx) error {
		f, err := tx.File(ctx, w.versions[name].File)
		if err != nil {
			return err
		}
		f.Metadata = fmt.Appendf(nil, `{"x":%q}`, hex.EncodeToString(random(seed, 200<<10)))
		f.UpdatedAt = f.UpdatedAt.Add(time.Second)
		return tx.PutFile(ctx, f)
	}))
}

// described is a littered store whose rows take several slots of a checkpoint, some
// of which an earlier checkpoint holds in an older state.
func described(t *testing.T) *world {
	t.Helper()
	w := littered(t)
	w.open()
	for i, name := range []string{"file0", "file3", "file5"} {
		w.describe(name, uint64(50+i))
	}
	if r := w.collect(&collect.Options{Full: true}); r.Checkpoint == 0 {
		t.Fatalf("there is no checkpoint: %+v", r)
	}
	w.describe("file0", 60)
	w.put("later", random(40, 50<<10))
	w.purge("file3")
	w.close()
	return w
}

// checkpointSteps returns the first and the last call of the checkpoint that a
// cycle writes, and of what follows from it, counted from the cycle's begin.
func (w *world) checkpointSteps() (first, last int) {
	w.t.Helper()
	c := w.copyWorld()
	c.open()
	defer c.close()
	begin := c.steps.n
	c.steps.hook = func(what string) {
		switch n := c.steps.n - begin; {
		case what == "take a number" && first == 0:
			first = n - 2 // the last commit and the homes are read before
		case what == "set the checkpoint", what == "drop marks":
			last = n + 2
		}
	}
	before, err := c.db.Checkpoint(w.t.Context(), domain)
	must(w.t, err)
	if r := c.collect(&collect.Options{Full: true}); r.Checkpoint <= before || first <= 0 || last <= first {
		w.t.Fatalf("a checkpoint of base %d, after %d, by calls %d to %d", r.Checkpoint, before, first, last)
	}
	return first, last
}

// A collector may be killed at any call while it writes a checkpoint: the packs
// alone have the same rows as the database, nothing that was purged comes back, and
// the next cycle writes the checkpoint, after which they still do.
func TestKilledDuringCheckpoint(t *testing.T) {
	race.LeaveOut(t)
	w := described(t)
	first, last := w.checkpointSteps()
	stride := 33
	if os.Getenv("CAIRN_SOAK") != "" {
		stride = 1
	}
	skip := rand.IntN(stride)
	t.Logf("calls %d to %d, without the first %d", first, last, skip)
	for at := first + skip; at <= last; at += stride {
		for _, after := range []bool{false, true} {
			c := w.copyWorld()
			c.open()
			c.steps.at, c.steps.after = c.steps.n+at, after
			_, err := c.collector().Run(t.Context(), &collect.Options{Full: true})
			if !errors.Is(err, errKilled) {
				t.Fatalf("at %d: %v", at, err)
			}
			c.checkRebuilt(fmt.Sprintf("%v (made %v)", c.steps.killed, after))
		}
	}
}

// checkRebuilt compares a world, whose collector was killed, with one that is made
// anew from its packs, before and after both have collected. It closes w.
func (w *world) checkRebuilt(what string) {
	w.t.Helper()
	w.reopen()
	want := w.rows()
	w.close()
	for name, c := range map[string]*world{"the same store": w, "rebuilt": w.rebuild()} {
		if c == w {
			c.open()
		}
		c.compareRows(what+", "+name, want)
		before, err := c.db.Checkpoint(w.t.Context(), domain)
		must(w.t, err)
		r := c.collect(&collect.Options{Full: true})
		if r.Checkpoint == 0 || r.Checkpoint < before || len(r.Problems) > 0 {
			w.t.Errorf("%s, %s: the next cycle: %+v", what, name, r)
		}
		c.compareRows(what+", "+name+", collected", want)
		c.close()
		again := c.rebuild()
		again.compareRows(what+", "+name+", collected, rebuilt", want)
		again.close()
	}
}

// compareRows checks that the rows are those that are wanted, that they are those
// of the world's files, and that these can be read.
func (w *world) compareRows(what string, want map[string]any) {
	w.t.Helper()
	got := w.rows()
	for id, row := range got {
		if !reflect.DeepEqual(row, want[id]) {
			w.t.Errorf("%s: row %s is not as it was: %+v", what, id, want[id])
		}
	}
	for id := range want {
		if got[id] == nil {
			w.t.Errorf("%s: row %s lacks", what, id)
		}
	}
	if len(got) != 2*len(w.files) {
		w.t.Errorf("%s: %d rows of %d files", what, len(got), len(w.files))
	}
	w.check()
}
