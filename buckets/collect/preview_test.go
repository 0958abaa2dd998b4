package collect_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

func (w *world) collectStore() *collect.Store {
	return &collect.Store{Meta: w.meta, Chunks: map[string]*cas.Store{domain: w.chunks}, Update: w.update, Settle: w.settle}
}

// preview returns what a removal would give back.
func (w *world) preview(r *collect.Removal) *collect.Preview {
	w.t.Helper()
	p, err := collect.PreviewRemoval(w.t.Context(), w.collectStore(), r, nil)
	must(w.t, err)
	return p
}

// addVersion makes a content the current version of a file.
func (w *world) addVersion(name string, p []byte) {
	w.t.Helper()
	ctx, u := w.t.Context(), w.store(p)
	f, err := w.meta.File(ctx, w.versions[name].File)
	must(w.t, err)
	m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, Version: f.LastVersion + 1, Content: *u.content, CreatedAt: time.Now().UTC().Truncate(time.Millisecond)}
	f.Versions, f.LastVersion, f.Current = f.Versions+1, m.Version, m.ID
	f.TotalSize, f.TotalChunks = f.TotalSize+m.Size, f.TotalChunks+m.Chunks
	must(w.t, w.update(ctx, domain, func(tx manifest.Tx) error {
		if err := tx.PutManifest(ctx, m); err != nil {
			return err
		}
		return tx.PutFile(ctx, f)
	}))
	w.files[name], w.versions[name] = p, m
	u.end()
}

// allVersions returns the versions of a file, newest first.
func (w *world) allVersions(id manifest.FileID) (out []*manifest.Manifest) {
	w.t.Helper()
	for m, err := range w.meta.Versions(w.t.Context(), id) {
		must(w.t, err)
		out = append(out, m)
	}
	return out
}

// dropVersion removes a version that is not current.
func (w *world) dropVersion(m *manifest.Manifest) {
	w.t.Helper()
	ctx := w.t.Context()
	must(w.t, w.update(ctx, domain, func(tx manifest.Tx) error {
		f, err := tx.File(ctx, m.File)
		if err != nil {
			return err
		}
		f.Versions, f.TotalSize, f.TotalChunks = f.Versions-1, f.TotalSize-m.Size, f.TotalChunks-m.Chunks
		if err := tx.DropManifests(ctx, []manifest.VersionID{m.ID}, time.Now()); err != nil {
			return err
		}
		return tx.PutFile(ctx, f)
	}))
}

// needs returns the chunks and segments that versions need.
func (w *world) needs(of func(f *manifest.File, m *manifest.Manifest) bool) map[cas.Digest]bool {
	w.t.Helper()
	out := make(map[cas.Digest]bool)
	for row, err := range w.meta.AllRows(w.t.Context(), "") {
		must(w.t, err)
		if !of(row.File, row.Manifest) {
			continue
		}
		must(w.t, row.Manifest.Walk(w.t.Context(), w.meta.Segments(domain), func(s manifest.Segment) error {
			out[s.Digest] = true
			return nil
		}, func(refs []cas.Ref) error {
			for _, r := range refs {
				out[r.Digest] = true
			}
			return nil
		}))
	}
	return out
}

// recount finds out what a removal gives back from nothing but all entries.
func (w *world) recount(gone func(f *manifest.File, m *manifest.Manifest) bool) (freed, pending int64) {
	w.t.Helper()
	ctx, ix := w.t.Context(), w.db.Index(domain)
	mine := w.needs(gone)
	kept := w.needs(func(f *manifest.File, m *manifest.Manifest) bool { return !gone(f, m) })
	dying := make(map[cas.FrameID]uint32)
	for e, err := range ix.AllChunks(ctx) {
		must(w.t, err)
		if mine[e.Digest] && !kept[e.Digest] {
			dying[e.Frame] += e.Length
		}
	}
	for f, err := range ix.AllFrames(ctx) {
		must(w.t, err)
		after := f
		after.LiveBytes -= dying[f.ID]
		switch fall := f.LiveStored() - after.LiveStored(); {
		case after.LiveBytes == 0:
			freed += fall
		default:
			pending += fall
		}
	}
	return freed, pending
}

// entered returns what the ledger, and what waits to be entered, says of files since
// a time.
func (w *world) entered(ids map[manifest.FileID]bool, since time.Time) (n int64) {
	w.t.Helper()
	for f, err := range w.meta.Ledger(w.t.Context()) {
		must(w.t, err)
		if ids[f.Cause.File] && !f.At.Before(since) {
			n += f.Bytes
		}
	}
	for c, err := range w.meta.AllCharges(w.t.Context(), domain) {
		must(w.t, err)
		if ids[c.Cause.File] {
			n += c.Bytes
		}
	}
	return n
}

// A case of TestPreviewRandom is one removal from a store that much has happened to.
// What the preview says is what a recount finds, and what the ledger has of the files
// when they were removed and a collection has ended, to the byte.
func TestPreviewRandom(t *testing.T) {
	race.LeaveOut(t)
	cases := 60
	if os.Getenv("CAIRN_SOAK") != "" {
		cases = 1000
	}
	if testing.Short() {
		cases = 10
	}
	onDatabases(t, nil, func(t *testing.T, w *world) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		whole, partly, none := 0, 0, 0
		if w.openDB != nil { // each takes longer
			cases /= 5
		}
		for n := range cases {
			w.mixUp(rnd)
			took := w.clearLedger()
			gone, ids, removal := w.chooseRemoval(rnd)
			if removal == nil {
				continue
			}
			p := w.preview(removal)
			freed, pending := w.recount(gone)
			if p.FreedBytes != freed || p.PendingBytes != pending {
				t.Fatalf("case %d: preview %+v, recount %d freed and %d pending", n, p.PreviewSums, freed, pending)
			}
			switch {
			case pending > 0:
				partly++
			case freed > 0:
				whole++
			default:
				none++
			}
			waits := w.entered(ids, time.Now().Add(time.Hour)) // of removals before
			w.remove(removal)
			w.collect(&collect.Options{Full: true})
			if got := w.entered(ids, took) - waits; got != freed+pending {
				t.Fatalf("case %d: the ledger has %d bytes of the files, the preview said %d and %d", n, got, freed, pending)
			}
			if n%20 == 0 {
				w.check()
			}
		}
		w.check()
		t.Logf("%d cases free whole frames only, %d parts too, %d nothing", whole, partly, none)
	})
}

// clearLedger makes sure that nothing waits, and returns a time after which all
// entries are new.
func (w *world) clearLedger() time.Time {
	w.t.Helper()
	w.collect(&collect.Options{Full: true})
	time.Sleep(2 * time.Millisecond)
	return time.Now().Truncate(time.Millisecond)
}

// mixUp stores some files, copies and versions, whose blocks come from a few.
func (w *world) mixUp(rnd *rand.Rand) {
	w.t.Helper()
	content := func() (p []byte) {
		for range 1 + rnd.IntN(4) {
			k := rnd.Uint64N(40)
			p = append(p, random(1000+k, 2000+int(k%7)*9000)...)
		}
		if rnd.IntN(3) == 0 {
			p = append(p, random(rnd.Uint64(), rnd.IntN(700<<10))...)
		}
		return p
	}
	for range 1 + rnd.IntN(4) {
		names := make([]string, 0, len(w.files))
		for name := range w.files {
			names = append(names, name)
		}
		slices.Sort(names)
		switch k := rnd.IntN(4); {
		case k == 0 && len(names) > 0:
			w.addVersion(names[rnd.IntN(len(names))], content())
		case k == 1 && len(names) > 0:
			w.put(fmt.Sprint("copy", rnd.Uint64()), w.files[names[rnd.IntN(len(names))]])
		default:
			w.put(fmt.Sprint("file", rnd.Uint64()), content())
		}
	}
}

// chooseRemoval chooses files, or a version that is not current.
func (w *world) chooseRemoval(rnd *rand.Rand) (gone func(f *manifest.File, m *manifest.Manifest) bool, ids map[manifest.FileID]bool, r *collect.Removal) {
	w.t.Helper()
	var files []manifest.FileID
	for f, err := range w.meta.AllFiles(w.t.Context()) {
		must(w.t, err)
		files = append(files, f.ID)
	}
	rnd.Shuffle(len(files), func(i, j int) { files[i], files[j] = files[j], files[i] })
	ids = make(map[manifest.FileID]bool)
	if rnd.IntN(3) == 0 {
		for _, id := range files {
			if vs := w.allVersions(id); len(vs) > 1 {
				ids[id] = true
				old := vs[1+rnd.IntN(len(vs)-1)].ID
				return func(_ *manifest.File, m *manifest.Manifest) bool { return m.ID == old }, ids, &collect.Removal{Versions: []manifest.VersionID{old}}
			}
		}
	}
	n := min(len(files), 1+rnd.IntN(3))
	r = &collect.Removal{Files: files[:n]}
	for _, id := range r.Files {
		ids[id] = true
	}
	return func(f *manifest.File, _ *manifest.Manifest) bool { return ids[f.ID] }, ids, r
}

func (w *world) remove(r *collect.Removal) {
	w.t.Helper()
	for name, m := range w.versions {
		if slices.Contains(r.Files, m.File) {
			w.purge(name)
		}
	}
	for _, id := range r.Versions {
		m, err := w.meta.Manifest(w.t.Context(), id)
		must(w.t, err)
		w.dropVersion(m)
	}
}

// What a removal selects by prefix and time is what the rows say, and a preview
// changes nothing.
func TestPreviewSelects(t *testing.T) {
	w := newWorld(t)
	w.put("a/1", random(1, 100<<10))
	w.put("a/2", random(2, 100<<10))
	w.put("b", random(3, 100<<10))
	w.addVersion("a/1", random(4, 100<<10))
	time.Sleep(2 * time.Millisecond)
	cut := time.Now()
	w.addVersion("b", random(5, 100<<10))
	w.addVersion("a/1", random(6, 100<<10))
	must(t, w.chunks.SealOpen(t.Context())) // a pack that is being sealed grows
	epoch, size := w.epoch(), w.size()
	for _, c := range []struct {
		r               *collect.Removal
		files, versions int64
	}{
		{&collect.Removal{}, 0, 0},
		{&collect.Removal{Bucket: bucket}, 3, 6},
		{&collect.Removal{Bucket: bucket, Prefix: "a/"}, 2, 4},
		{&collect.Removal{Bucket: bucket, Prefix: "c"}, 0, 0},
		{&collect.Removal{Bucket: "other"}, 0, 0},
		{&collect.Removal{Before: cut}, 0, 3},
		{&collect.Removal{Bucket: bucket, Prefix: "a/", Before: cut}, 0, 2},
		{&collect.Removal{Files: []manifest.FileID{w.versions["b"].File}, Bucket: bucket, Prefix: "a/2"}, 2, 3},
	} {
		p := w.preview(c.r)
		if p.Files != c.files || p.Versions != c.versions || p.LogicalBytes != c.versions*100<<10 {
			t.Errorf("%+v: %+v", c.r, p)
		}
		if least := c.versions * 100 << 10; p.FreedBytes+p.PendingBytes < least || p.FreedBytes+p.PendingBytes > least+least/50+4096*c.versions || p.SharedBytes > 0 {
			t.Errorf("%+v: %+v", c.r, p.PreviewSums)
		}
	}
	if w.epoch() != epoch || w.size() != size || w.graves() > 0 {
		t.Error("a preview has changed something")
	}
}

// What others need too is shared, and what a writer may count on waits.
func TestPreviewShares(t *testing.T) {
	w := newWorld(t)
	both, own := random(1, 200<<10), random(2, 200<<10)
	w.put("kept", both)
	w.put("gone", append(both[:len(both):len(both)], own...))
	removal := &collect.Removal{Files: []manifest.FileID{w.versions["gone"].File}}
	p := w.preview(removal)
	if p.SharedBytes < 150<<10 || p.SharedBytes > 210<<10 || p.FreedBytes+p.PendingBytes < 190<<10 || p.WaitingBytes > 0 {
		t.Errorf("%+v", p.PreviewSums)
	}
	u := w.store(own)
	if p := w.preview(removal); p.WaitingBytes < 90<<10 || p.WaitingBytes > p.FreedBytes+p.PendingBytes {
		t.Errorf("while somebody uploads the same: %+v", p.PreviewSums)
	}
	u.end()
}

// A chunk that something else is made from stays when its file goes.
func TestPreviewSources(t *testing.T) {
	w := newWorld(t)
	a, b := random(1, 3000), random(2, 3000)
	w.put("a", a)
	w.put("b", b)
	w.putToy("made", a, b)
	files := func(names ...string) (r collect.Removal) {
		for _, name := range names {
			r.Files = append(r.Files, w.versions[name].File)
		}
		return r
	}
	r := files("a", "b")
	if p := w.preview(&r); p.FreedBytes+p.PendingBytes > 0 || p.SharedBytes < 6000 {
		t.Errorf("sources alone: %+v", p.PreviewSums)
	}
	r = files("a", "b", "made")
	if p := w.preview(&r); p.FreedBytes < 6000 || p.SharedBytes > 0 {
		t.Errorf("sources and what is made from them: %+v", p.PreviewSums)
	}
}

// A dry run foresees which packs die whole, and what is charged.
func TestDryRunIsExact(t *testing.T) {
	w := newWorld(t)
	for i := range 6 {
		w.put(fmt.Sprint(i), random(uint64(i), 150<<10+i*7777))
		must(t, w.chunks.SealOpen(t.Context()))
	}
	w.purge("1", "2", "4")
	must(t, w.chunks.SealOpen(t.Context()))
	planned := w.collect(&collect.Options{DryRun: true})
	done := w.collect(nil)
	if planned.DroppedStored != done.DroppedStored {
		t.Errorf("planned to drop %d bytes, dropped %d", planned.DroppedStored, done.DroppedStored)
	}
	if n := planned.DeletedPacks - planned.RewrittenPacks; n < 3 {
		t.Errorf("%d packs are planned to be deleted as they are, of 3 that die whole", n)
	}
}
