package scrub_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets/scrub"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/manifest"
)

var start = time.UnixMilli(1_700_000_000_000).UTC()

// results are those of one domain, in memory.
type results map[cas.PackID]manifest.Scrubbed

func (r results) PutScrubbed(ctx context.Context, _ string, ss []manifest.Scrubbed) error {
	for _, s := range ss {
		r[s.Pack] = s
	}
	return ctx.Err()
}

func (r results) AllScrubbed(_ context.Context, _ string) iter.Seq2[manifest.Scrubbed, error] {
	return func(yield func(manifest.Scrubbed, error) bool) {
		for _, id := range slices.SortedFunc(maps.Keys(r), func(a, b cas.PackID) int { return bytes.Compare(a[:], b[:]) }) {
			if !yield(r[id], nil) {
				return
			}
		}
	}
}

func (r results) DropScrubbed(_ context.Context, _ string, ids []cas.PackID) error {
	for _, id := range ids {
		delete(r, id)
	}
	return nil
}

// A world is a store of packs with one chunk each.
type world struct {
	t       *testing.T
	mem     *membackend.Backend
	b       *watched
	ix      *castest.MemIndex
	failing *failingIndex // ix as the store has it
	chunks  *cas.Store
	results results
	now     time.Time
	held    []cas.Digest // that Holders was asked for
	data    map[cas.PackID][]byte
}

// A watched backend tells of reads, fails some, and inverts a byte of a pack.
type watched struct {
	backend.Backend
	read func()
	fail func(cas.PackID) error
	flip cas.PackID
	at   int64
}

func (b *watched) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	if b.read != nil {
		b.read()
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if id, ok := cas.ParsePackKey(key); ok && b.fail != nil {
		if err := b.fail(id); err != nil {
			return err
		}
	}
	err := b.Backend.ReadAt(ctx, key, p, off)
	if i := b.at - off; err == nil && key == b.flip.Key() && 0 <= i && i < int64(len(p)) {
		p[i] ^= 0xff
	}
	return err
}

func newWorld(t *testing.T, packs int) *world {
	w := &world{t: t, mem: membackend.New(&membackend.Options{Referee: t}), ix: castest.NewMemIndex(), results: make(results), now: start,
		data: make(map[cas.PackID][]byte)}
	w.b, w.failing = &watched{Backend: w.mem}, &failingIndex{MemIndex: w.ix}
	var err error
	if w.chunks, err = cas.Open(t.Context(), w.b, w.failing, &cas.Options{Exclusive: true}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.chunks.Close(); err != nil {
			t.Error(err)
		}
	})
	r := rand.New(rand.NewPCG(1, 2))
	for i := range packs {
		p := make([]byte, 1000)
		for i := range p {
			p[i] = byte(r.Uint32())
		}
		w.put(p)
		if i < packs-1 { // the last one stays open
			if err := w.chunks.SealOpen(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return w
}

func (w *world) put(p []byte) {
	w.t.Helper()
	b := w.chunks.NewBatch(w.t.Context(), &cas.BatchOptions{Compression: cas.Compression{Codec: cas.Raw}})
	defer b.Close()
	if err := errors.Join(b.Put(p), b.Flush()); err != nil {
		w.t.Fatal(err)
	}
	f, _ := w.placeOf(p)
	w.data[f.Pack] = p
}

func (w *world) placeOf(p []byte) (cas.FrameEntry, cas.ChunkEntry) {
	w.t.Helper()
	e, f := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1)
	if err := errors.Join(w.ix.Chunks(w.t.Context(), []cas.Digest{cas.Sum(p)}, e), w.ix.Frames(w.t.Context(), []cas.FrameID{e[0].Frame}, f)); err != nil {
		w.t.Fatal(err)
	}
	return f[0], e[0]
}

func (w *world) packs() (ids []cas.PackID) {
	for p, err := range w.ix.AllPacks(w.t.Context()) {
		if err != nil {
			w.t.Fatal(err)
		}
		ids = append(ids, p.ID)
	}
	return ids
}

func (w *world) store() *scrub.Store {
	return &scrub.Store{Meta: w.results, Chunks: map[string]*cas.Store{"x": w.chunks},
		Now: func() time.Time { w.now = w.now.Add(time.Second); return w.now },
		Holders: func(_ context.Context, domain string, wanted func(cas.Digest) bool, fn func(*scrub.Hurt) error) error {
			for _, p := range w.data {
				if d := cas.Sum(p); wanted(d) {
					w.held = append(w.held, d)
					if err := fn(&scrub.Hurt{Bucket: "b", Path: d.String(), Version: "m"}); err != nil {
						return err
					}
				}
			}
			return nil
		}}
}

func (w *world) run(opts *scrub.Options) *scrub.DomainReport {
	w.t.Helper()
	r, err := scrub.Run(w.t.Context(), w.store(), opts)
	if err != nil || len(r.Domains) != 1 || r.Domains[0].Domain != "x" {
		w.t.Fatalf("%+v, %v", r, err)
	}
	d := &r.Domains[0]
	if clean := d.BadChunks == 0 && d.FailedPacks == 0; r.IsClean() != clean {
		w.t.Errorf("clean %t: %+v", r.IsClean(), d)
	}
	return d
}

// flipChunk damages the chunk of a pack as it is read.
func (w *world) flipChunk(id cas.PackID) []byte {
	w.t.Helper()
	f, e := w.placeOf(w.data[id])
	w.b.flip, w.b.at = id, f.Offset+int64(f.HeaderLen)+int64(e.Offset)+10
	return w.data[id]
}

// Packs that were never read come first, then those with the oldest results, and
// those with young ones are passed over. A pack that has grown counts as never read.
func TestScrubOldestFirst(t *testing.T) {
	w := newWorld(t, 5)
	ids := w.packs()
	young, old := start.Add(-time.Hour), start.Add(-31*24*time.Hour)
	for i, at := range []time.Time{young, old.Add(time.Hour), {}, old} {
		if !at.IsZero() {
			w.results[ids[i]] = manifest.Scrubbed{Pack: ids[i], At: at, Size: 1 << 20}
		}
	}
	w.results[ids[4]] = manifest.Scrubbed{Pack: ids[4], At: young, Size: 1} // it has grown since
	w.results[cas.PackID{9}] = manifest.Scrubbed{Pack: cas.PackID{9}, At: young}
	out := w.run(nil)
	if out.Packs != 4 || out.Skipped != 1 || out.Bytes < 4000 {
		t.Errorf("%+v", out)
	}
	order := slices.SortedFunc(maps.Values(w.results), func(a, b manifest.Scrubbed) int { return a.At.Compare(b.At) })
	var got []cas.PackID
	for _, s := range order {
		got = append(got, s.Pack)
	}
	if want := []cas.PackID{ids[0], ids[2], ids[4], ids[3], ids[1]}; !slices.Equal(got, want) {
		t.Errorf("read in the order %v, want %v", got, want)
	}
	if out := w.run(&scrub.Options{MaxAge: time.Minute}); out.Packs != 1 || out.Skipped != 4 {
		t.Errorf("by age: %+v", out)
	}
	if out := w.run(&scrub.Options{All: true}); out.Packs != 5 {
		t.Errorf("all: %+v", out)
	}
	st, err := scrub.Look(t.Context(), w.store())
	if err != nil || len(st) != 1 || st[0].Packs != 5 || st[0].NeverRead != 0 || st[0].Damaged != 0 || !st[0].Oldest.After(start) {
		t.Errorf("%+v, %v", st, err)
	}
}

// A scrub that is given up at any read goes on where it was.
func TestScrubGoesOn(t *testing.T) {
	for nth := 1; ; nth++ {
		w := newWorld(t, 3)
		ctx, giveUp := context.WithCancel(t.Context())
		left := nth
		w.b.read = func() {
			if left--; left == 0 {
				giveUp()
			}
		}
		_, err := scrub.Run(ctx, w.store(), nil)
		giveUp()
		w.b.read = nil
		if left > 0 {
			if err != nil || nth < 4 {
				t.Errorf("%d reads, %v", nth, err)
			}
			return
		}
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("given up at read %d: %v", nth, err)
		}
		read := int64(len(w.results))
		if out := w.run(nil); out.Packs != 3-read || out.Skipped != read || out.FailedPacks+out.BadChunks > 0 {
			t.Errorf("given up at read %d, %d packs were read: %+v", nth, read, out)
		}
	}
}

// Damage is marked, and told with the files that it hurts, in every scrub until the
// same bytes were uploaded.
func TestScrubHealedByUpload(t *testing.T) {
	w := newWorld(t, 3)
	id := w.packs()[1]
	p := w.flipChunk(id)
	want := fmt.Sprint([]cas.Digest{cas.Sum(p)})
	if out := w.run(&scrub.Options{ReadOnly: true}); out.BadChunks != 1 || len(w.results) > 0 {
		t.Errorf("read only: %+v, %v", out, w.results)
	}
	if _, e := w.placeOf(p); !e.Usable() {
		t.Error("marked by one who only reads")
	}
	for n := range 2 {
		out := w.run(nil)
		if out.BadChunks != 1 || fmt.Sprint(out.Bad) != want || out.HurtVersions != 1 || len(out.Hurt) != 1 || out.Hurt[0].Path != cas.Sum(p).String() {
			t.Errorf("scrub %d: %+v", n, out)
		}
		if st, err := scrub.Look(t.Context(), w.store()); err != nil || st[0].Damaged != 1 {
			t.Errorf("%+v, %v", st, err)
		}
	}
	if _, e := w.placeOf(p); e.Usable() {
		t.Error("it is not marked")
	}
	w.put(p)
	if out := w.run(&scrub.Options{All: true}); out.BadChunks+out.FailedPacks+out.HurtVersions > 0 || out.Packs != 3 {
		t.Errorf("healed: %+v", out)
	}
}

// A pack that is missing, and a frame whose header is damaged, are told in every
// scrub, with the files that they hurt, and nothing is marked: what is behind a
// damaged header can be read. A pack that was deleted meanwhile is nothing.
func TestScrubOfMissing(t *testing.T) {
	w := newWorld(t, 4)
	ids := w.packs()
	lost := w.data[ids[0]]
	if err := w.mem.Delete(t.Context(), ids[0].Key()); err != nil {
		t.Fatal(err)
	}
	f, _ := w.placeOf(w.data[ids[1]])
	w.b.flip, w.b.at = ids[1], f.Offset+20
	for range 2 {
		out := w.run(nil)
		if out.FailedPacks != 2 || out.BadChunks != 1 || !slices.Equal(out.Bad, []cas.Digest{cas.Sum(lost)}) || out.HurtVersions != 1 {
			t.Errorf("%+v", out)
		}
	}
	for _, p := range w.data {
		if _, e := w.placeOf(p); e.State == cas.Bad {
			t.Errorf("%+v is marked", e)
		}
	}
	w.b.flip = cas.PackID{}
	dropped := false
	w.b.read = func() { // the collector is quicker
		if !dropped {
			dropped = true
			_, e := w.placeOf(lost)
			if err := w.ix.Apply(context.Background(), &cas.Change{Drop: []cas.ChunkEntry{e}}); err != nil {
				t.Error(err)
			}
			if err := w.ix.Apply(context.Background(), &cas.Change{DropPacks: []cas.PackID{ids[0]}}); err != nil {
				t.Error(err)
			}
		}
	}
	if out := w.run(nil); out.FailedPacks+out.BadChunks > 0 {
		t.Errorf("deleted meanwhile: %+v", out)
	}
	if w.run(nil); len(w.results) != 3 {
		t.Errorf("%d results of 3 packs", len(w.results))
	}
}

// A bounded Scrubs notes how many results one change removes at most.
type bounded struct {
	results
	most int
}

func (b *bounded) DropScrubbed(ctx context.Context, domain string, ids []cas.PackID) error {
	b.most = max(b.most, len(ids))
	return b.results.DropScrubbed(ctx, domain, ids)
}

// However many packs are gone, one change removes few results.
func TestResultsAreDroppedBoundedly(t *testing.T) {
	w := newWorld(t, 1)
	for i := range 2500 {
		id := cas.PackID{0xff, byte(i >> 8), byte(i)}
		w.results[id] = manifest.Scrubbed{Pack: id, At: start}
	}
	s, b := w.store(), &bounded{results: w.results}
	s.Meta = b
	if _, err := scrub.Run(t.Context(), s, nil); err != nil || b.most != 1000 || len(w.results) != 1 {
		t.Errorf("%d results in one change, %d are left, %v", b.most, len(w.results), err)
	}
}
