package check

import (
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
)

// collectWithout purges files and collects until nothing dead is left.
func (f *fixture) collectWithout(names ...string) {
	f.t.Helper()
	g := newFixture(f.t, f.b, f.dir)
	s, err := buckets.New(f.t.Context(), g.db, map[string]*cas.Store{"x": g.chunks}, map[string]buckets.Policy{"demo": {Domain: "x"}}, nil)
	must(f.t, err)
	b, err := s.Bucket("demo")
	must(f.t, err)
	for _, name := range names {
		file, err := b.StatPath(f.t.Context(), name)
		must(f.t, err)
		must(f.t, b.Purge(f.t.Context(), file.ID, nil))
	}
	for range 3 {
		_, err := s.Collect(f.t.Context(), &collect.Options{Full: true})
		must(f.t, err)
	}
	must(f.t, s.Close())
	must(f.t, g.db.Close())
}

// stores reports whether the index has a chunk.
func (f *fixture) stores(p []byte) bool {
	f.t.Helper()
	g := newFixture(f.t, f.b, f.dir)
	defer g.close()
	chunks := make([]cas.ChunkEntry, 1)
	must(f.t, g.chunks.Index().Chunks(f.t.Context(), []cas.Digest{cas.Sum(p)}, chunks))
	return chunks[0].Frame != cas.FrameID{}
}

// A frame that is made from two others keeps them when their files are gone, over
// collections and rebuilds; they go when it does.
func TestCollectCopies(t *testing.T) {
	f := &fixture{t: t, b: membackend.New(nil), dir: t.TempDir()}
	a, b, c := noise(1, 9000), noise(2, 8000), noise(3, 7000)
	f.put("a", a)
	f.put("b", b)
	copied := f.addToy(255, true, a, b)
	f.put("copied", copied)
	f.put("c", c)
	verify := func(files map[string][]byte) {
		t.Helper()
		for range 2 { // the second time from the packs alone
			if r := newFixture(t, f.b, f.dir).verify(files); !r.OK {
				t.Errorf("check finds %+v", r)
			}
			f.dir = t.TempDir()
			g := newFixture(t, f.b, f.dir)
			must(t, g.store().Rebuild(t.Context()))
			g.close()
		}
	}
	f.collectWithout("a", "b")
	verify(map[string][]byte{"c": c, "copied": copied})
	f.collectWithout()
	verify(map[string][]byte{"c": c, "copied": copied})
	f.collectWithout("copied")
	for what, p := range map[string][]byte{"a": a, "b": b, "copied": copied} {
		if f.stores(p) {
			t.Errorf("%s is left", what)
		}
	}
	verify(map[string][]byte{"c": c})
}
