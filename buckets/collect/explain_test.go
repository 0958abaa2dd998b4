package collect_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

// firstChunk returns the digest of the first chunk of a file.
func (w *world) firstChunk(name string) cas.Digest {
	w.t.Helper()
	for r := range w.refs(name) {
		return r.Digest
	}
	w.t.Fatalf("%s has no chunk", name)
	return cas.Digest{}
}

func (w *world) explainChunk(d cas.Digest) *collect.Explanation {
	w.t.Helper()
	x, err := collect.ExplainChunk(w.t.Context(), w.collectStore(), d)
	must(w.t, err)
	return x
}

// What needs a chunk is named, be it a version, trash or a writer; and the last that
// did, when nothing does.
func TestExplainChunk(t *testing.T) {
	onDatabases(t, nil, func(t *testing.T, w *world) {
		ctx, p := t.Context(), random(1, 1<<20)
		w.put("a", p)
		w.put("b", append(p[:len(p):len(p)], "more"...))
		w.put("other", random(2, 1<<20))
		d := w.firstChunk("a")
		x := w.explainChunk(d)
		if x.Kind != "chunk" || !slices.Equal(x.Because, []collect.Reason{collect.ForVersion}) || x.HolderCount != 2 || len(x.Places) != 1 || x.Unread > 0 {
			t.Errorf("of two files: %+v", x)
		}
		var paths []string
		for _, h := range x.Holders {
			paths = append(paths, h.Bucket+"/"+h.Path)
		}
		if slices.Sort(paths); !slices.Equal(paths, []string{bucket + "/a", bucket + "/b"}) {
			t.Errorf("holders: %q", paths)
		}
		if top := w.versions["a"].Top; !top.IsZero() {
			if x := w.explainChunk(top); x.Kind != "segment" || !x.Kept() {
				t.Errorf("a segment: %+v", x)
			}
		}
		w.purge("b")
		must(t, w.update(ctx, domain, func(tx manifest.Tx) error {
			f, err := tx.File(ctx, w.versions["a"].File)
			if err != nil {
				return err
			}
			f.State, f.DeletedAt = manifest.Trashed, f.CreatedAt
			return tx.PutFile(ctx, f)
		}))
		if x := w.explainChunk(d); !slices.Equal(x.Because, []collect.Reason{collect.ForTrash}) || x.HolderCount != 1 {
			t.Errorf("in the trash: %+v", x)
		}
		w.purge("a")
		if x := w.explainChunk(d); x.Kept() || x.Removed == nil || x.Removed.Path != "a" {
			t.Errorf("when nothing needs it: %+v", x)
		}
		u := w.store(p)
		if x := w.explainChunk(d); !slices.Equal(x.Because, []collect.Reason{collect.ForWriter}) || len(x.Writers) != 1 {
			t.Errorf("while somebody uploads it: %+v", x)
		}
		u.end()
		w.collect(nil)
		if _, err := collect.ExplainChunk(ctx, w.collectStore(), d); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("when it was collected: %v", err)
		}
	})
}

// Of many holders some are named.
func TestExplainIsBounded(t *testing.T) {
	w := newWorld(t)
	p := random(1, 3000)
	for i := range 103 {
		w.put(fmt.Sprint(i), p)
	}
	if x := w.explainChunk(cas.Sum(p)); x.HolderCount != 103 || len(x.Holders) != 100 {
		t.Errorf("%d holders, %d of them named", x.HolderCount, len(x.Holders))
	}
}

func TestExplainSource(t *testing.T) {
	w := newWorld(t)
	a, b := random(1, 3000), random(2, 3000)
	w.put("a", a)
	w.put("b", b)
	w.putToy("made", a, b)
	w.purge("a")
	x := w.explainChunk(cas.Sum(a))
	if !slices.Equal(x.Because, []collect.Reason{collect.ForSource}) || x.Sources != 1 {
		t.Errorf("%+v", x)
	}
}

// A pack is explained while it is there and when it is gone; so is a file.
func TestExplainPackAndFile(t *testing.T) {
	onDatabases(t, nil, func(t *testing.T, w *world) {
		ctx, s := t.Context(), w.collectStore()
		w.put("a", random(1, 500<<10))
		w.put("b", random(2, 500<<10))
		file, pack := w.versions["a"].File, w.packsOf("a")
		x, err := collect.ExplainPack(ctx, s, pack)
		must(t, err)
		if x.Pack == nil || x.Pack.Frames == 0 || !slices.Contains(x.Because, collect.ForVersion) || x.HolderCount == 0 {
			t.Errorf("pack: %+v", x)
		}
		version := w.versions["a"].ID
		if v, err := collect.ExplainFile(ctx, s, "", version, nil); err != nil || v.Kind != "version" || v.HolderCount != 1 || !v.Kept() {
			t.Errorf("version: %+v, %v", v, err)
		}
		x, err = collect.ExplainFile(ctx, s, file, "", nil)
		must(t, err)
		if !slices.Equal(x.Because, []collect.Reason{collect.ForRow}) || x.HolderCount != 1 || x.Returns.FreedBytes+x.Returns.PendingBytes < 480<<10 {
			t.Errorf("file: %+v", x)
		}
		w.purge("a")
		x, err = collect.ExplainFile(ctx, s, file, "", nil)
		must(t, err)
		if x.Kept() || x.Removed == nil || x.Removed.Path != "a" || len(x.Freed) > 0 {
			t.Errorf("file that was removed: %+v", x)
		}
		if v, err := collect.ExplainFile(ctx, s, "", version, nil); err != nil || v.Kept() || v.Removed == nil {
			t.Errorf("version that was removed: %+v, %v", v, err)
		}
		w.collect(&collect.Options{Full: true})
		x, err = collect.ExplainFile(ctx, s, file, "", nil)
		must(t, err)
		if x.Kept() || len(x.Freed) == 0 {
			t.Errorf("file whose bytes are freed: %+v", x)
		}
		x, err = collect.ExplainPack(ctx, s, pack)
		must(t, err)
		if x.Pack != nil || x.Kept() || len(x.Freed) == 0 {
			t.Errorf("pack that is gone: %+v", x)
		}
		if _, err := collect.ExplainPack(ctx, s, cas.PackID{1}); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a pack that never was: %v", err)
		}
		if _, err := collect.ExplainFile(ctx, s, manifest.NewFileID(), "", nil); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a file that never was: %v", err)
		}
	})
}

// The holders of some chunks and segments are what a look at each version finds.
func TestFindHolders(t *testing.T) {
	race.LeaveOut(t)
	onDatabases(t, nil, func(t *testing.T, w *world) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		rnd := rand.New(rand.NewPCG(seed, 0))
		for range 8 {
			w.mixUp(rnd)
		}
		// Trees of some height, which share parts.
		long := random(3, 8<<20)
		w.put("long", long)
		w.put("part", long[:3<<20])
		w.put("longer", append(long[:len(long):len(long)], random(4, 1<<20)...))
		of := make(map[manifest.VersionID]map[cas.Digest]bool)
		var all []cas.Digest
		for row, err := range w.meta.AllRows(t.Context(), "") {
			must(t, err)
			of[row.Manifest.ID] = w.needs(func(_ *manifest.File, m *manifest.Manifest) bool { return m.ID == row.Manifest.ID })
			all = slices.AppendSeq(all, maps.Keys(of[row.Manifest.ID]))
		}
		for range 30 {
			wanted := make(map[cas.Digest]bool)
			for range 1 + rnd.IntN(3) {
				wanted[all[rnd.IntN(len(all))]] = true
			}
			want, got := make(map[manifest.VersionID]bool), make(map[manifest.VersionID]bool)
			for id, ds := range of {
				for d := range wanted {
					if ds[d] {
						want[id] = true
					}
				}
			}
			unread, err := collect.FindHolders(t.Context(), w.collectStore(), domain, func(d cas.Digest) bool { return wanted[d] }, func(h *collect.Holder) error {
				if got[h.Version] || h.Path == "" || h.Bucket != bucket {
					t.Errorf("%+v", h)
				}
				got[h.Version] = true
				return nil
			})
			must(t, err)
			if !maps.Equal(got, want) || unread > 0 {
				t.Fatalf("%d holders, want %d; %d segments unread", len(got), len(want), unread)
			}
		}
	})
}

// Of a bucket that is moved to the domain, or that a move which broke off has left
// rows of, the move keeps the chunks.
func TestExplainMove(t *testing.T) {
	w := newWorld(t)
	ctx := t.Context()
	w.put("a", random(1, 3000))
	home := func(h *manifest.Home) {
		t.Helper()
		must(t, w.update(ctx, "", func(tx manifest.Tx) error { return tx.PutHome(ctx, h) }))
	}
	d := w.firstChunk("a")
	for _, c := range []struct {
		home manifest.Home
		want []collect.Reason
	}{
		{manifest.Home{Bucket: bucket, Domain: domain}, []collect.Reason{collect.ForVersion}},
		{manifest.Home{Bucket: bucket, Domain: domain, To: "y"}, []collect.Reason{collect.ForVersion}},
		{manifest.Home{Bucket: bucket, Domain: "y", To: domain}, []collect.Reason{collect.ForMove}},
		{manifest.Home{Bucket: bucket, Domain: domain, To: domain}, []collect.Reason{collect.ForVersion}},
		{manifest.Home{Bucket: bucket, Domain: "y"}, nil},
	} {
		home(&c.home)
		if x := w.explainChunk(d); !slices.Equal(x.Because, c.want) || x.HolderCount != int64(len(c.want)) {
			t.Errorf("%+v: %v, %d holders, want %v", c.home, x.Because, x.HolderCount, c.want)
		}
	}
	home(&manifest.Home{Bucket: bucket, Domain: domain})
}
