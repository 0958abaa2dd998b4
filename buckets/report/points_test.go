package report_test

import (
	"context"
	"reflect"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// recountPoint sums up what all domains hold.
func (w *world) recountPoint(day time.Time) manifest.Point {
	w.t.Helper()
	ctx, p := w.t.Context(), manifest.Point{Day: day}
	for row, err := range w.db.AllRows(ctx, "") {
		must(w.t, err)
		if row.Manifest.ID == row.File.Current {
			p.Files++
		}
		p.Versions, p.LogicalBytes, p.References = p.Versions+1, p.LogicalBytes+row.Manifest.Size, p.References+row.Manifest.Chunks
	}
	for _, domain := range domains {
		segments := make(map[cas.FrameID]bool)
		for f, err := range w.chunks[domain].Index().AllFrames(ctx) {
			must(w.t, err)
			segments[f.ID] = f.Kind == cas.KindSegment
			p.LiveBytes += f.LiveStored()
		}
		for e, err := range w.chunks[domain].Index().AllChunks(ctx) {
			must(w.t, err)
			if !segments[e.Frame] {
				p.Chunks, p.UniqueBytes = p.Chunks+1, p.UniqueBytes+int64(e.Length)
			}
		}
		for k, err := range w.chunks[domain].Index().AllPacks(ctx) {
			must(w.t, err)
			p.PackBytes, p.RecordBytes = p.PackBytes+k.Size, p.RecordBytes+k.Records
		}
	}
	for f, err := range w.db.Ledger(ctx) {
		must(w.t, err)
		if !f.Copied && f.At.UTC().Truncate(24*time.Hour).Equal(day) {
			p.FreedBytes += f.Bytes
		}
	}
	return p
}

// A day has one point, that of the last note; those older than ten years go, whatever
// the clock says in between.
func TestPoints(t *testing.T) {
	race.LeaveOut(t)
	for _, w := range []*world{newPebbleWorld(t, 1), newPostgresWorld(t, 2)} {
		now := time.Now().UTC()
		s := &report.Store{Meta: w.db, Chunks: w.chunks, Now: func() time.Time { return now }}
		note := func(removal time.Time) manifest.Point {
			t.Helper()
			day := now.Truncate(24 * time.Hour)
			p := w.recountPoint(day)
			w.untilQuiet(func() (same bool) {
				must(t, report.NotePoints(t.Context(), s, removal))
				last := p
				p = w.recountPoint(day)
				return p == last
			})
			return p
		}
		want := func(what string, want ...manifest.Point) {
			t.Helper()
			got, err := report.ListPoints(t.Context(), s)
			must(t, err)
			if !reflect.DeepEqual(got, want) {
				t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
			}
		}
		want("none")
		for range 40 {
			w.step()
		}
		first := note(now)
		want("one", first)
		for range 10 {
			w.step()
		}
		first = note(now)
		want("replaced", first)
		now = now.AddDate(0, 0, 1)
		w.step()
		second := note(now)
		want("the next day", first, second)
		now = now.AddDate(0, 0, -1)
		want("the clock goes back", first)
		w.step()
		first = note(now)
		want("the clock went back", first)
		before := now
		now = now.AddDate(20, 0, 0)
		far := note(before) // a clock that is not believed
		want("the clock jumps", first, second, far)
		far = note(time.Time{})
		want("no time is known", first, second, far)
		now = before.AddDate(10, 0, 1)
		last := note(now)
		want("ten years and a day later", second, last)
	}
}

// A store that runs notes what it holds, and a report shows it.
func TestRunNotesPoints(t *testing.T) {
	w := newPebbleWorld(t, 3)
	for range 10 {
		w.step()
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.store.Run(ctx) }()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		n := 0
		for _, err := range w.db.Points(t.Context(), time.Time{}) {
			must(t, err)
			n++
		}
		if n == len(domains) {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d points", n)
		}
	}
	stop()
	must(t, <-ended)
	r, err := w.store.ReportDedup(t.Context(), nil)
	must(t, err)
	if len(r.Points) != 1 || r.Points[0].LogicalBytes != r.LogicalBytes || r.Points[0].Versions != r.Versions {
		t.Errorf("points %+v of %+v", r.Points, r.DedupSums)
	}
}
