package report_test

import (
	"bytes"
	"errors"
	"maps"
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/report"
	"github.com/cairn-store/cairn/buckets/scrub"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

type orphanKey struct {
	kind report.OrphanKind
	by   report.Remedy
}

type orphanSums map[orphanKey]report.OrphanSum

func (w *world) orphans() (orphanSums, []report.Orphan) {
	w.t.Helper()
	o, err := w.store.ReportOrphans(w.t.Context(), &report.Options{Top: report.MaxTop})
	must(w.t, err)
	sums := make(orphanSums)
	for _, s := range o.Sums {
		sums[orphanKey{s.Kind, s.Remedy}] = s
	}
	return sums, o.Found
}

// putObject stores an object in the backend of a domain.
func (w *world) putObject(domain, key string, p []byte) {
	w.t.Helper()
	b, err := w.packs[domain].Create(w.t.Context(), key)
	must(w.t, err)
	_, err = b.Write(p)
	must(w.t, errors.Join(err, b.Commit()))
}

// putPack stores a pack in the backend of a domain that the index does not know, as
// of a store with this ID.
func (w *world) putPack(domain string, store [16]byte) (key string, size int64) {
	w.t.Helper()
	ctx := w.t.Context()
	id, err := w.db.DomainID(ctx, domain)
	must(w.t, err)
	ix := castest.NewMemIndex()
	s, err := cas.Open(ctx, w.packs[domain], ix, &cas.Options{Store: store, Domain: id})
	must(w.t, err)
	b := s.NewBatch(ctx, &cas.BatchOptions{Compression: cas.Compression{Codec: cas.Raw}})
	must(w.t, errors.Join(b.Put(w.noise(5000)), b.Flush(), b.Close(), s.Close()))
	for p, err := range ix.AllPacks(ctx) {
		must(w.t, err)
		return p.ID.Key(), p.Size
	}
	return "", 0
}

// Each kind that is planted is found, with its bytes, and nothing else is; and what
// is said to take it away does.
func TestOrphansArePlanted(t *testing.T) {
	race.LeaveOut(t)
	for name, open := range map[string]func(t testing.TB, seed uint64) *world{"pebble": newPebbleWorld, "postgres": newPostgresWorld} {
		t.Run(name, func(t *testing.T) {
			w := open(t, 1)
			ctx := t.Context()
			for range 20 {
				w.step()
			}
			for range 2 { // so that nothing is left of what was removed
				_, err := w.store.Collect(ctx, &collect.Options{Full: true})
				must(t, err)
			}
			own, err := w.db.StoreID(ctx)
			must(t, err)
			id := cas.PackID{0xfe, 1, 2, 3}
			update := func(fn func(tx manifest.Tx) error) {
				t.Helper()
				_, err := w.db.Update(ctx, "", fn)
				must(t, err)
			}
			for _, c := range []struct {
				kind  report.OrphanKind
				by    report.Remedy
				plant func() (name string, bytes int64) // "" if it is not listed by name
				mend  func()                            // nil if nothing does it by itself
			}{
				{report.OrphanPack, report.ByNothing, func() (string, int64) { return w.putPack("x", own) }, nil},
				{report.OrphanForeign, report.ByNothing, func() (string, int64) { return w.putPack("y", [16]byte{7}) }, nil},
				{report.OrphanUnreadable, report.ByNothing, func() (string, int64) {
					w.putObject("x", id.Key(), w.noise(333))
					return id.Key(), 333
				}, nil},
				{report.OrphanTail, report.ByPack, func() (string, int64) {
					for p, err := range w.db.Index("x").AllPacks(ctx) {
						must(t, err)
						if p.Sealed && !p.Doomed {
							p.Size -= 10
							must(t, w.db.Index("x").Apply(ctx, &cas.Change{Packs: []cas.PackEntry{p}}))
							return p.ID.Key(), 10
						}
					}
					t.Fatal("no pack is sealed")
					return "", 0
				}, nil},
				{report.OrphanObject, report.ByNothing, func() (string, int64) {
					key := path.Join(path.Dir(id.Key()), "readme.txt")
					w.putObject("y", key, []byte("hello"))
					return key, 5
				}, nil},
				{report.OrphanTemporary, report.ByOpening, func() (string, int64) {
					if w.disk == nil {
						return "", -1
					}
					f := w.disk.Disk("packs-x")
					name := ".new-" + strings.Repeat("a", 26)
					file, err := f.Create(name)
					must(t, err)
					_, err = file.Write(make([]byte, 77))
					must(t, errors.Join(err, file.Close()))
					return name, 77
				}, func() { w.close(); w.open() }},
				{report.OrphanChunk, report.ByCollection, func() (string, int64) {
					b, err := w.store.Bucket("b")
					must(t, err)
					f, err := b.Put(ctx, "gone", bytes.NewReader(w.noise(3000)), nil)
					must(t, err)
					must(t, b.Purge(ctx, f.ID, nil))
					return "", 0
				}, func() {
					_, err := w.store.Collect(ctx, &collect.Options{Full: true})
					must(t, err)
				}},
				{report.OrphanSegment, report.ByNothing, func() (string, int64) {
					g := manifest.Segment{Digest: cas.SumSegment([]byte("alone")), Data: []byte("alone")}
					must(t, w.db.Segments("y").PutSegments(ctx, []manifest.Segment{g}))
					return g.Digest.String(), 5
				}, nil},
				{report.OrphanUpload, report.BySweep, func() (string, int64) {
					b, err := w.store.Bucket("a")
					must(t, err)
					in := w.uploads.In(b)
					u, err := in.Begin(ctx, "late", nil)
					must(t, err)
					_, err = in.Append(ctx, u.ID, 0, bytes.NewReader(w.noise(9000)), nil)
					must(t, err)
					row, err := w.db.Upload(ctx, "a", manifest.UploadID(u.ID))
					must(t, err)
					row.ExpiresAt = time.Now().Add(-time.Hour)
					update(func(tx manifest.Tx) error { return tx.PutUpload(ctx, row) })
					return "a/" + string(row.ID), row.Held
				}, func() {
					_, err := w.store.Sweep(ctx)
					must(t, err)
				}},
				{report.OrphanCharge, report.ByNothing, func() (string, int64) {
					must(t, w.db.AddCharges(ctx, "x", []manifest.Charge{{Pack: id, Cause: manifest.Cause{Bucket: "a"}, Bytes: 10}, {Pack: id, Bytes: 5}}))
					return id.String(), 15
				}, nil},
				{report.OrphanScrubbed, report.ByScrub, func() (string, int64) {
					must(t, w.db.PutScrubbed(ctx, "y", []manifest.Scrubbed{{Pack: id, At: time.Now(), Size: 3}}))
					return id.String(), 0
				}, func() {
					_, err := w.store.Scrub(ctx, &scrub.Options{All: true})
					must(t, err)
				}},
			} {
				before, _ := w.orphans()
				name, size := c.plant()
				if size < 0 {
					continue
				}
				after, found := w.orphans()
				key := orphanKey{c.kind, c.by}
				want, got := before[key], after[key]
				if c.kind != report.OrphanChunk {
					want.Count, want.Bytes = want.Count+1, want.Bytes+size
				} else if got.Count > want.Count && got.Bytes >= want.Bytes+3000 {
					want = got
				}
				if want.Kind, want.Remedy = c.kind, c.by; got != want {
					t.Errorf("%s: %+v, want %+v", c.kind, got, want)
				}
				if delete(before, key); !maps.Equal(withoutKey(after, key), before) {
					t.Errorf("%s: others are %v, want %v", c.kind, after, before)
				}
				if name != "" && !slices.ContainsFunc(found, func(o report.Orphan) bool {
					return o.Kind == c.kind && o.Remedy == c.by && o.Name == name && o.Bytes == size
				}) {
					t.Errorf("%s: no %q of %d bytes in %+v", c.kind, name, size, found)
				}
				if c.mend == nil {
					continue
				}
				c.mend()
				if left, _ := w.orphans(); left[key].Count != 0 {
					t.Errorf("%s: %+v is left", c.kind, left[key])
				}
			}
		})
	}
}

func withoutKey(s orphanSums, key orphanKey) orphanSums {
	out := maps.Clone(s)
	delete(out, key)
	return out
}

// recountOrphans compares all keys, entries and rows by themselves. Chunks are those
// of collect.FindWaiting, which has its own test.
func (w *world) recountOrphans() orphanSums {
	w.t.Helper()
	ctx, sums := w.t.Context(), make(orphanSums)
	add := func(kind report.OrphanKind, by report.Remedy, count, n int64) {
		if count == 0 {
			return
		}
		s := sums[orphanKey{kind, by}]
		sums[orphanKey{kind, by}] = report.OrphanSum{Kind: kind, Remedy: by, Count: s.Count + count, Bytes: s.Bytes + n}
	}
	for _, d := range domains {
		packs, entries := make(map[cas.PackID]cas.PackEntry), make(map[cas.Digest]bool)
		for p, err := range w.db.Index(d).AllPacks(ctx) {
			must(w.t, err)
			packs[p.ID] = p
		}
		for e, err := range w.db.Index(d).AllChunks(ctx) {
			must(w.t, err)
			entries[e.Digest] = true
		}
		for info, err := range w.packs[d].List(ctx, "") {
			must(w.t, err)
			id, ok := cas.ParsePackKey(info.Key)
			switch p, known := packs[id]; {
			case !ok:
				add(report.OrphanObject, report.ByNothing, 1, info.Size)
			case !known:
				add(report.OrphanPack, report.ByNothing, 1, info.Size)
			case p.Sealed && !p.Doomed && info.Size > p.Size:
				add(report.OrphanTail, report.ByPack, 1, info.Size-p.Size)
			}
		}
		for s, err := range w.db.AllSegments(ctx, d) {
			must(w.t, err)
			if !entries[s.Digest] {
				add(report.OrphanSegment, report.ByNothing, 1, s.Bytes)
			}
		}
		found, err := collect.FindWaiting(ctx, &collect.Store{Meta: w.db, Chunks: w.chunks}, d, nil)
		must(w.t, err)
		add(report.OrphanChunk, report.ByCollection, found.Sums[0].Count, found.Sums[0].Bytes)
		for _, s := range found.Sums[1:4] {
			add(report.OrphanChunk, report.ByUploads, s.Count, s.Bytes)
		}
	}
	return sums
}

// checkOrphans compares the report with a recount, and returns how many kinds there are.
func (w *world) checkOrphans(when string) int {
	w.t.Helper()
	want := w.recountOrphans()
	var got orphanSums
	w.untilQuiet(func() (same bool) {
		got, _ = w.orphans()
		last := want
		want = w.recountOrphans()
		return maps.Equal(want, last)
	})
	if !maps.Equal(got, want) {
		w.t.Fatalf("%s: %+v, want %+v", when, got, want)
	}
	return len(got)
}

// What is found in a store that much has happened to, crashes too, is what a recount
// finds.
func TestOrphansRandom(t *testing.T) {
	race.LeaveOut(t)
	check := func(t *testing.T, w *world, when string) int {
		t.Helper()
		return w.checkOrphans(when)
	}
	t.Run("pebble", func(t *testing.T) {
		kinds := 0
		for seed := range uint64(3) {
			w := newPebbleWorld(t, 200+seed)
			for i := range 60 {
				w.step()
				if i%10 == 5 {
					kinds = max(kinds, check(t, w, "changed"))
				}
				if i%20 == 19 {
					w.crash(int(seed) * 50)
					kinds = max(kinds, check(t, w, "crashed"))
				}
			}
		}
		if kinds == 0 {
			t.Error("there was no orphan")
		}
	})
	t.Run("postgres", func(t *testing.T) {
		w := newPostgresWorld(t, 9)
		for range 40 {
			w.step()
		}
		check(t, w, "changed")
	})
}
