package check

import (
	"bytes"

	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// What a repair writes to packs takes numbers that are higher than the last commit:
// in the same process the database does not count as older than its packs, and all
// goes on.
func TestAfterRepairInOneProcess(t *testing.T) {
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir(), size: 8000}
	f.fill("a", "b")
	g := f.open()
	defer g.close()
	ctx := t.Context()
	c, err := g.db.Update(ctx, "x", func(tx manifest.Tx) error { // a commit whose records are lost
		row, err := tx.FileByPath(ctx, "demo", "a")
		if err == nil {
			row.Folder = "elsewhere"
			err = tx.PutFile(ctx, row)
		}
		return err
	})
	must(t, err)
	must(t, g.db.Written(ctx, c.Seq))
	if r, told := g.check(Options{}); r.OK || len(told) != 1 || find(told, "metadata", "the packs hold revision 1 of the file's row, the database 2") != 1 {
		t.Errorf("check finds %+v", told)
	}
	if r, told := g.check(Options{Repair: true}); !r.OK || len(told) != 1 {
		t.Errorf("a repair finds %+v", told)
	}
	taken, err := g.db.TakeNumber(ctx)
	must(t, err)
	if last, err := g.db.LastNumber(ctx); err != nil || last != taken {
		t.Errorf("the last number is %d after %d was taken, %v", last, taken, err)
	}
	for range 2 {
		if r, told := g.check(Options{}); !r.OK || len(told) > 0 {
			t.Errorf("in the same process, check finds %+v", told)
		}
		g.checkSurvey("in the same process")
	}
	c, err = g.db.Update(ctx, "x", func(tx manifest.Tx) error {
		row, err := tx.FileByPath(ctx, "demo", "elsewhere/a")
		if err == nil {
			err = tx.PutFile(ctx, row)
		}
		return err
	})
	if err != nil || c.Seq <= taken {
		t.Errorf("commit %+v after number %d, %v", c, taken, err)
	}
}

// A segment that a pack has lost comes back from the database, and one that only the
// database has is brought to the packs.
func TestSegmentsAreRestored(t *testing.T) {
	race.LeaveOut(t)
	for _, lost := range []string{"damaged", "not in the packs"} {
		f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir(), size: 4 << 20}
		content := noise(1, 8<<20)
		f.change(func(b *buckets.Bucket) {
			_, err := b.Put(t.Context(), "large", bytes.NewReader(content), nil)
			must(t, err)
		})
		g := f.open()
		ctx := t.Context()
		file, err := g.db.FileByPath(ctx, "demo", "large")
		must(t, err)
		m, err := g.db.Manifest(ctx, file.Current)
		must(t, err)
		if m.Top.IsZero() {
			t.Fatal("the file has no segments")
		}
		e := make([]cas.ChunkEntry, 1)
		must(t, g.db.Index("x").Chunks(ctx, []cas.Digest{m.Top}, e))
		want := "chunk"
		if lost == "damaged" {
			fr := make([]cas.FrameEntry, 1)
			must(t, g.db.Index("x").Frames(ctx, []cas.FrameID{e[0].Frame}, fr))
			f.rewritePack(fr[0].Pack, func(text []byte) []byte { text[fr[0].Offset+int64(fr[0].HeaderLen)+3] ^= 1; return text })
		} else {
			want = "index"
			row, err := g.db.Segments("x").Segments(ctx, []cas.Digest{m.Top})
			must(t, err)
			must(t, g.db.Index("x").Apply(ctx, &cas.Change{Drop: e}))
			must(t, g.db.Segments("x").PutSegments(ctx, []manifest.Segment{{Digest: m.Top, Data: row[0]}}))
		}
		if r, told := g.check(Options{}); r.OK || r.Kinds[want] == 0 {
			t.Errorf("%s: check finds %+v", lost, told)
		}
		if r, told := g.check(Options{Repair: true}); !r.OK || len(told) == 0 {
			t.Errorf("%s: a repair finds %+v", lost, told)
		}
		if r, told := g.check(Options{}); !r.OK || len(told) > 0 {
			t.Errorf("%s: after a repair, check finds %+v", lost, told)
		}
		g.close()
		g = f.open()
		if r := g.verify(map[string][]byte{"large": content}); !r.OK {
			t.Errorf("%s: opened anew, check finds %+v", lost, r)
		}
	}
}

// A removal for good that the packs do not hold would be undone by a database that is
// made anew: check tells, and a repair appends it.
func TestLostRemoval(t *testing.T) {
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir(), size: 8000}
	f.fill("a", "b")
	g := f.open()
	ctx := t.Context()
	gone, err := g.db.FileByPath(ctx, "demo", "a")
	must(t, err)
	c, err := g.db.Update(ctx, "x", func(tx manifest.Tx) error { return tx.Purge(ctx, gone.ID, time.Now()) })
	must(t, err)
	if r, told := g.check(Options{}); !r.OK || len(told) > 0 { // the outbox has it
		t.Errorf("at first, check finds %+v", told)
	}
	must(t, g.db.Written(ctx, c.Seq))
	if r, told := g.check(Options{}); r.OK || len(told) != 1 || find(told, "metadata", "do not hold that the file was removed") != 1 || told[0].FileID != string(gone.ID) {
		t.Errorf("check finds %+v", told)
	}
	if r, told := g.check(Options{Repair: true}); !r.OK || len(told) != 1 {
		t.Errorf("a repair finds %+v", told)
	}
	if r, told := g.check(Options{}); !r.OK || len(told) > 0 {
		t.Errorf("after a repair, check finds %+v", told)
	}
	g.close()
	f.dir = t.TempDir() // a database made anew
	g = f.open()
	s := g.store()
	must(t, s.Rebuild(ctx))
	if r := g.verify(map[string][]byte{"b": noise(1, 9000)}); !r.OK {
		t.Errorf("after a rebuild, check finds %+v", r)
	}
}
