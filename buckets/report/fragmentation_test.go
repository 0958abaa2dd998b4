package report_test

import (
	"bytes"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// recountRanges counts the ranges of a content from where each chunk lies.
func (w *world) recountRanges(m *manifest.Manifest, domain string) (n int64) {
	w.t.Helper()
	ctx, index := w.t.Context(), w.chunks[domain].Index()
	var last cas.FrameEntry
	met := make(map[cas.FrameID]bool) // no content is larger than the cache
	for _, p := range w.cutVersion(m, domain) {
		e, f := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
		must(w.t, index.Chunks(ctx, []cas.Digest{cas.Sum(p)}, e))
		must(w.t, index.Frames(ctx, []cas.FrameID{e[0].Frame}, f))
		if met[f[0].ID] {
			continue
		}
		if f[0].Pack != last.Pack || f[0].Offset != last.Offset+int64(last.HeaderLen)+int64(last.StoredLen) {
			n++
		}
		last, met[f[0].ID] = f[0], true
	}
	return n
}

// checkFragmentation compares the report with a recount.
func (w *world) checkFragmentation(when string) {
	w.t.Helper()
	got, err := w.store.ReportFragmentation(w.t.Context(), &report.Options{Top: report.MaxTop})
	must(w.t, err)
	var all report.FragmentSums
	classes := make(map[int64]report.FragmentClass)
	buckets := make(map[string]*report.FragmentSums)
	for row, err := range w.db.AllRows(w.t.Context(), "") {
		must(w.t, err)
		f, m := row.File, row.Manifest
		if m.ID != f.Current || f.State == manifest.Trashed {
			continue
		}
		ranges := w.recountRanges(m, policies[f.Bucket].Domain)
		if buckets[f.Bucket] == nil {
			buckets[f.Bucket] = &report.FragmentSums{}
		}
		for _, s := range []*report.FragmentSums{&all, buckets[f.Bucket]} {
			s.Files, s.Bytes, s.Ranges = s.Files+1, s.Bytes+m.Size, s.Ranges+ranges
		}
		most := int64(1)
		for float64(most)*float64(max(m.Size, 1<<20)) < float64(ranges)*(1<<20) {
			most *= 2
		}
		c := classes[most]
		classes[most] = report.FragmentClass{Most: most, Files: c.Files + 1, Bytes: c.Bytes + m.Size}
	}
	all.Requests, all.ReadCost.Bytes = got.Requests, got.ReadCost.Bytes // which package cas tests
	if got.FragmentSums != all || got.Unread != 0 || len(got.Worst) != int(all.Files) {
		w.t.Fatalf("%s: %d files\n got %+v\nwant %+v", when, len(got.Worst), got.FragmentSums, all)
	}
	var sum report.FragmentSums
	for _, b := range got.Buckets {
		want := buckets[b.Bucket]
		if want == nil {
			want = &report.FragmentSums{}
		}
		if b.Files != want.Files || b.FragmentSums.Bytes != want.Bytes || b.Ranges != want.Ranges {
			w.t.Fatalf("%s: bucket %+v, want %+v", when, b, want)
		}
		sum.Requests, sum.ReadCost.Bytes = sum.Requests+b.Requests, sum.ReadCost.Bytes+b.ReadCost.Bytes
	}
	if sum.Requests != got.Requests || sum.ReadCost.Bytes != got.ReadCost.Bytes || all.Bytes > 0 && (got.Requests == 0 || got.ReadCost.Bytes == 0) {
		w.t.Fatalf("%s: %+v in all, %+v in buckets", when, got.FragmentSums, sum)
	}
	for i, c := range got.Classes {
		want := classes[c.Most]
		if want.Most = 1 << i; c != want {
			w.t.Fatalf("%s: class %+v, want %+v", when, c, want)
		}
		delete(classes, c.Most)
	}
	if len(classes) > 0 {
		w.t.Fatalf("%s: classes %+v are missing", when, classes)
	}
	for i := range got.Worst[:max(len(got.Worst)-1, 0)] {
		if got.Worst[i].PerMiB() < got.Worst[i+1].PerMiB() {
			w.t.Fatalf("%s: %+v stands before %+v", when, got.Worst[i], got.Worst[i+1])
		}
	}
}

// Ranges are those that a look at each chunk of each file finds.
func TestFragmentation(t *testing.T) {
	race.LeaveOut(t)
	for _, w := range []*world{newPebbleWorld(t, 1), newPebbleWorld(t, 2), newPostgresWorld(t, 3)} {
		w.checkFragmentation("empty")
		for i := range 36 {
			if w.step(); i%12 == 11 {
				w.checkFragmentation("changed")
			}
		}
	}
}

// A file that is made of pieces of others is read in many ranges, and is named first.
// To rewrite the packs puts it in order.
func TestScatteredFile(t *testing.T) {
	race.LeaveOut(t)
	w := newPebbleWorld(t, 1)
	ctx := t.Context()
	b, err := w.store.Bucket("a")
	must(t, err)
	var parts [][]byte
	for i := range 16 {
		parts = append(parts, w.noise(300<<10))
		_, err := b.Put(ctx, "part"+string(rune('a'+i)), bytes.NewReader(parts[i]), nil)
		must(t, err)
	}
	var whole []byte
	for i := range 32 {
		p := parts[i*5%16]
		whole = append(whole, p[i/16*150<<10:][:150<<10]...)
	}
	f, err := b.Put(ctx, "scattered", bytes.NewReader(whole), nil)
	must(t, err)
	look := func() *report.Fragmentation {
		r, err := w.store.ReportFragmentation(ctx, nil)
		must(t, err)
		return r
	}
	before := look()
	worst := before.Worst[0]
	if string(worst.File) != f.ID || worst.Path != "scattered" || worst.Ranges < 16 {
		t.Errorf("the worst is %+v", worst)
	}
	for l, err := range w.db.List(ctx, "a", nil) {
		must(t, err)
		if string(l.File.ID) != f.ID {
			must(t, b.Purge(ctx, string(l.File.ID), nil))
		}
	}
	_, err = w.store.Collect(ctx, &collect.Options{Full: true})
	must(t, err)
	if after := look().Worst[0]; string(after.File) != f.ID || after.Ranges >= worst.Ranges || after.Requests > worst.Requests/2 {
		t.Errorf("in order it is %+v, it was %+v", after, worst)
	}

	// A chunk that is not stored makes the file unread.
	index := w.chunks["x"].Index()
	for e, err := range index.AllChunks(ctx) {
		must(t, err)
		must(t, index.Apply(ctx, &cas.Change{Drop: []cas.ChunkEntry{e}}))
	}
	if r := look(); r.Unread != 1 || r.Files != 0 || len(r.Worst) > 0 {
		t.Errorf("of what is lost: %+v", r)
	}
}
