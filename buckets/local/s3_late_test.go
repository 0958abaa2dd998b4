package local_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cairn-store/cairn/backend/s3backend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/local"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/s3test"
)

// lateDeletes choose when a DELETE is carried out: at once, later, twice, or never.
// It is answered at once. Those that are held land now and then before another
// request, whosever it is.
type lateDeletes struct {
	t     *testing.T
	proxy *s3test.Proxy

	mu     sync.Mutex // guards what follows
	r      *rand.Rand
	next   []s3test.Fault // of the next DELETEs: each kind in turn, in any order
	seen   map[s3test.Fault]int
	landed int
}

func (l *lateDeletes) choose(r *http.Request) s3test.Fault {
	fault, lands := l.chooseKind(r)
	if lands {
		l.land(1)
	}
	return fault
}

func (l *lateDeletes) chooseKind(r *http.Request) (fault s3test.Fault, lands bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if r.Method != http.MethodDelete || r.URL.Query().Has("uploadId") {
		return s3test.None, l.r.IntN(60) == 0
	}
	if len(l.next) == 0 {
		l.next = []s3test.Fault{s3test.None, s3test.Held, s3test.Again, s3test.Skipped}
		l.r.Shuffle(len(l.next), func(i, j int) { l.next[i], l.next[j] = l.next[j], l.next[i] })
	}
	fault, l.next = l.next[0], l.next[1:]
	l.seen[fault]++
	return fault, false
}

// land carries out at most n of the DELETEs that are held.
func (l *lateDeletes) land(n int) {
	served, err := l.proxy.ServeHeld(n)
	if err != nil {
		l.t.Error(err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.landed += served
}

// A lateStore is a store in a service that deletes late.
type lateStore struct {
	t       *testing.T
	r       *rand.Rand
	dir     string
	opts    *local.Options
	s       *buckets.Store
	deletes *lateDeletes
	direct  *s3backend.Backend // the same packs, past the proxy
	blocks  [][]byte           // that files share

	puts int
	live []lateFile
	gone [][]byte // contents of purged files

	lingered, rewritten atomic.Int64 // packs that were not gone when deleted, and that were rewritten

	// Of collections beside which nothing else happened.
	requests *s3test.Counter
	took     map[string]int
	sum      collect.DomainReport
}

type lateFile struct {
	id string
	p  []byte
}

func newLateStore(t *testing.T, srv *s3test.Server, seed uint64) *lateStore {
	t.Helper()
	through, proxy := srv.Behind(t)
	o := through.Options(t)
	direct := *o
	direct.Endpoint = srv.Endpoint
	w := &lateStore{t: t, r: rand.New(rand.NewPCG(seed, 0)), dir: t.TempDir(), direct: s3test.Open(t, &direct), took: make(map[string]int),
		requests: s3test.Watch(o), deletes: &lateDeletes{t: t, proxy: proxy, r: rand.New(rand.NewPCG(seed, 1)), seen: make(map[s3test.Fault]int)}}
	w.opts = inFar(o, 512<<10)
	for i := range 24 {
		w.blocks = append(w.blocks, noise(seed+uint64(i), 96<<10))
	}
	proxy.Harm(w.deletes.choose)
	w.s = openAt(t, w.dir, w.opts)
	return w
}

// inFar are options of a store whose packs lie in a service, with small chunks.
func inFar(o *s3backend.Options, packSize int64) *local.Options {
	return &local.Options{Backends: map[string]local.Backend{"far": {Driver: s3backend.Driver{Options: *o}, PackSize: packSize}},
		Buckets: map[string]buckets.Policy{"b": {Domain: "far", Profile: "fine"}}}
}

// work makes n changes: new files of which parts are stored already, the bytes of
// purged files again, and purges.
func (w *lateStore) work(n int) {
	w.t.Helper()
	for range n {
		switch k := w.r.IntN(10); {
		case k < 3 && len(w.live) > 2:
			w.purge(w.r.IntN(len(w.live)))
		case k < 6 && len(w.gone) > 0:
			w.put(w.gone[w.r.IntN(len(w.gone))])
		default:
			p := noise(w.r.Uint64(), 20<<10)
			for range 1 + w.r.IntN(8) {
				p = append(p, w.blocks[w.r.IntN(len(w.blocks))]...)
			}
			w.put(p)
		}
	}
}

func (w *lateStore) put(p []byte) {
	w.t.Helper()
	w.puts++
	f, err := bucket(w.t, w.s, "b").Put(w.t.Context(), fmt.Sprint("f", w.puts), bytes.NewReader(p), nil)
	must(w.t, err)
	w.live = append(w.live, lateFile{f.ID, p})
}

func (w *lateStore) purge(i int) {
	w.t.Helper()
	must(w.t, bucket(w.t, w.s, "b").Purge(w.t.Context(), w.live[i].id, nil))
	w.gone = append(w.gone, w.live[i].p)
	w.live = slices.Delete(w.live, i, i+1)
}

// collect makes a collection, whose only problems may be packs that are not gone.
func (w *lateStore) collect(full bool) *collect.DomainReport {
	w.t.Helper()
	r, err := w.s.Collect(w.t.Context(), &collect.Options{Full: full})
	if err != nil {
		w.t.Error(err)
		return &collect.DomainReport{}
	}
	d := &r.Domains[0]
	for _, p := range d.Problems {
		if !strings.Contains(p, cas.ErrStillThere.Error()) {
			w.t.Errorf("collection: %s", p)
		}
	}
	w.lingered.Add(int64(len(d.Problems)))
	w.rewritten.Add(d.RewrittenPacks)
	return d
}

// collectAlone counts the requests of a collection.
func (w *lateStore) collectAlone(full bool) *collect.DomainReport {
	w.t.Helper()
	w.requests.Take()
	d := w.collect(full)
	for method, n := range w.requests.Take() {
		w.took[method] += n
	}
	w.sum.DeletedPacks += d.DeletedPacks
	w.sum.RewrittenPacks += d.RewrittenPacks
	w.sum.FreedBytes += d.FreedBytes
	w.sum.CopiedBytes += d.CopiedBytes
	return d
}

// collectBeside makes a collection while files come and go.
func (w *lateStore) collectBeside(full bool) {
	w.t.Helper()
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { w.collect(full) })
	w.work(5)
}

// readAll compares every file with what was put.
func (w *lateStore) readAll(when string) {
	w.t.Helper()
	for _, f := range w.live {
		if got, err := content(bucket(w.t, w.s, "b"), f.id); err != nil || !bytes.Equal(got, f.p) {
			w.t.Fatalf("%s: %s: %d bytes of %d, %v", when, f.id, len(got), len(f.p), err)
		}
	}
}

// reopen checks the store and opens it again. With rebuild its database is lost.
func (w *lateStore) reopen(rebuild bool) {
	w.t.Helper()
	rows := dump(w.t, w.s)
	must(w.t, w.s.Close())
	check := &local.CheckOptions{Options: *w.opts, Repair: rebuild}
	if rebuild {
		removeMeta(w.t, w.dir)
		check.TakeOwnership = true // it is another database
	}
	r, err := local.Check(w.t.Context(), w.dir, check)
	must(w.t, err)
	if !r.OK || r.Rebuilt != rebuild {
		w.t.Fatalf("rebuild %v: %+v", rebuild, r)
	}
	w.comparePacks()
	w.s = openAt(w.t, w.dir, w.opts)
	sameRows(w.t, dump(w.t, w.s), rows)
}

// comparePacks fails if a pack that the index relies on is gone. It returns how many
// are doomed, and how many there are that the index does not name.
func (w *lateStore) comparePacks() (doomed, unknown int) {
	w.t.Helper()
	packs, err := local.IndexPacks(w.t.Context(), w.dir, w.opts)
	must(w.t, err)
	sizes := w.listPacks()
	for _, p := range packs {
		if p.Doomed {
			doomed++
		} else if sizes[p.ID.Key()] == 0 {
			w.t.Errorf("pack %s is gone: %+v", p.ID, p)
		}
		delete(sizes, p.ID.Key())
	}
	return doomed, len(sizes)
}

// listPacks lists the packs that the service has, with their sizes.
func (w *lateStore) listPacks() map[string]int64 {
	w.t.Helper()
	sizes := make(map[string]int64)
	for info, err := range w.direct.List(w.t.Context(), "packs/") {
		must(w.t, err)
		sizes[info.Key] = info.Size
	}
	return sizes
}

// finish lets every DELETE land, and collects until nothing dead is left. Then it
// purges all files, and does so again.
func (w *lateStore) finish() {
	w.t.Helper()
	w.deletes.proxy.Harm(nil)
	w.deletes.land(1 << 30)
	for _, left := range []string{"all files", "no file"} {
		if left == "no file" {
			for len(w.live) > 0 {
				w.purge(0)
			}
		}
		w.collect(false)
		w.collect(true)
		if d := w.collect(true); d.DeadBytes > 0 || d.WaitingChunks > 0 || len(d.Problems) > 0 {
			w.t.Errorf("%s: after three collections: %+v", left, d)
		}
		w.readAll(left)
		must(w.t, w.s.Close())
		if doomed, unknown := w.comparePacks(); doomed > 0 || unknown > 0 {
			w.t.Errorf("%s: %d packs are doomed and %d are there that nothing names", left, doomed, unknown)
		}
		w.s = openAt(w.t, w.dir, w.opts)
	}
	total := int64(0)
	for _, n := range w.listPacks() {
		total += n
	}
	if w.t.Logf("without a file packs take %d bytes", total); total > 256<<10 {
		w.t.Errorf("packs of a store without a file take %d bytes", total)
	}
}

// Where the service answers a DELETE at once and carries it out later, twice, or
// never, nothing that is live is lost, be it stored again meanwhile, copied, or found
// by a rebuild; and what was not deleted is deleted by a later collection.
func TestCollectOnS3LateDeletes(t *testing.T) {
	t.Parallel()
	srv := s3test.Versity(t)
	for range max(soak(1), 1) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		w := newLateStore(t, srv, seed)
		for round := range 4 {
			w.work(3)
			w.collectBeside(round < 2)
			w.work(3)
			w.collectAlone(round%2 == 1)
			w.readAll("before it is opened again")
			w.reopen(round%2 == 1)
			w.readAll("opened again")
		}
		w.finish()
		t.Logf("DELETEs %v, of which %d landed later; alone, collections deleted %d packs, %d of them rewritten, freed %d bytes and copied %d, with %v",
			w.deletes.seen, w.deletes.landed, w.sum.DeletedPacks, w.sum.RewrittenPacks, w.sum.FreedBytes, w.sum.CopiedBytes, w.took)
		if len(w.deletes.seen) < 4 || w.deletes.landed == 0 || w.lingered.Load() == 0 || w.rewritten.Load() == 0 {
			t.Errorf("too little was tried: %v, %d not gone at once, %d rewritten", w.deletes.seen, w.lingered.Load(), w.rewritten.Load())
		}
		must(t, w.s.Close())
	}
	countCollected(t, srv)
}

// countCollected tells what it takes to delete dead packs, and to rewrite packs of
// which half is dead. With CAIRN_SOAK they are as large as they are by default.
func countCollected(t *testing.T, srv *s3test.Server) {
	t.Helper()
	const packs, piece, usual = 4, 128 << 10, 32 << 20
	size := 4 << 20
	if soak(0) > 0 {
		size = usual
	}
	o := srv.Options(t)
	n := s3test.Watch(o)
	s := openAt(t, t.TempDir(), inFar(o, int64(size)))
	defer s.Close()
	b := bucket(t, s, "b")
	put := func(name string, p []byte) string {
		f, err := b.Put(t.Context(), name, bytes.NewReader(p), nil)
		must(t, err)
		return f.ID
	}
	collected := func(what, id string) (*collect.DomainReport, map[string]int) {
		must(t, b.Purge(t.Context(), id, nil))
		n.Take()
		r, err := s.Collect(t.Context(), nil)
		must(t, err)
		d, took := &r.Domains[0], n.Take()
		all, each := 0, ""
		for _, method := range []string{"PUT", "LIST", "GET", "HEAD", "DELETE"} {
			each += fmt.Sprintf(" %s %.2f", method, float64(took[method])/float64(d.DeletedPacks))
			all += took[method]
		}
		t.Logf("%s: %d packs of %d KiB went, %d of them rewritten, %d KiB freed, %d copied: %v; of each pack%s; %.0f requests for each GiB freed, of packs of 32 MiB",
			what, d.DeletedPacks, size>>10, d.RewrittenPacks, d.FreedBytes>>10, d.CopiedBytes>>10, took, each,
			float64(all)/float64(d.FreedBytes)*float64(size)/usual*(1<<30))
		return d, took
	}
	p := noise(2, packs*size)
	whole, dead := put("whole", p), put("dead", noise(3, packs*size))
	var half []byte
	for i := 0; i < len(p); i += 2 * piece {
		half = append(half, p[i:i+piece]...)
	}
	put("half", half)
	if d, took := collected("dead packs", dead); d.DeletedPacks < packs-1 || took["DELETE"] != int(d.DeletedPacks) {
		t.Errorf("%v, %+v", took, d)
	}
	if d, took := collected("packs of which half is dead", whole); d.RewrittenPacks < packs-1 || took["DELETE"] != int(d.DeletedPacks) {
		t.Errorf("%v, %+v", took, d)
	}
}
