package report_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/access"
	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A database is a metadata store with its indexes.
type database interface {
	manifest.Store
	Index(domain string) cas.Index
	Close() error
}

// domains of a world; buckets a and b lie in the first, c in the second.
var domains = []string{"x", "y"}

var policies = map[string]buckets.Policy{
	"a": {Domain: "x", Profile: "fine", Compression: cas.Compression{Codec: cas.Zstd}},
	"b": {Domain: "x", Profile: "fine", Uncompressed: true, Versions: buckets.Versions{Keep: 3}},
	"c": {Domain: "y", Profile: "fine", Compression: cas.Compression{Codec: cas.Zstd}},
}

// A world is a store that random operations change.
type world struct {
	t       testing.TB
	rnd     *rand.Rand
	disk    *crashfs.FS // holds database and packs of a world on Pebble
	places  func(w *world) (database, map[string]backend.Backend)
	packs   map[string]backend.Backend
	db      database
	chunks  map[string]*cas.Store
	store   *buckets.Store
	uploads *upload.Uploads

	pool [][]byte // contents that others are made of
}

// newPebbleWorld returns a world on Pebble.
func newPebbleWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	w := newWorld(t, seed)
	w.disk = crashfs.New()
	w.places = func(w *world) (database, map[string]backend.Backend) {
		db, err := pebblestore.Open("meta", &pebblestore.Options{FS: w.disk.VFS()})
		must(t, err)
		packs := make(map[string]backend.Backend)
		for _, d := range domains {
			packs[d], err = diskbackend.Open("packs-"+d, &diskbackend.Options{FS: w.disk.Disk("packs-" + d)})
			must(t, err)
		}
		return db, packs
	}
	w.open()
	return w
}

// newPostgresWorld returns a world on PostgreSQL, with packs in memory.
func newPostgresWorld(t testing.TB, seed uint64) *world {
	t.Helper()
	url := pgtest.Database(t) // which is dropped when the world is closed
	w := newWorld(t, seed)
	packs := map[string]backend.Backend{"x": membackend.New(nil), "y": membackend.New(nil)}
	w.places = func(*world) (database, map[string]backend.Backend) {
		db, err := pgstore.Open(t.Context(), url, nil)
		must(t, err)
		return db, packs
	}
	w.open()
	return w
}

func newWorld(t testing.TB, seed uint64) *world {
	w := &world{t: t, rnd: rand.New(rand.NewPCG(seed, 1))}
	for i := range 6 {
		w.pool = append(w.pool, w.noise(3000<<i))
	}
	// Chunk lists of some levels, and chunks that come many times.
	w.pool = append(w.pool, w.noise(2<<20), make([]byte, 1<<20))
	t.Cleanup(w.close)
	return w
}

// crash goes on with what a power failure leaves, of which percent of what was not
// synced.
func (w *world) crash(percent int) {
	w.t.Helper()
	w.disk = w.disk.Crash(w.rnd.Uint64(), percent)[0]
	old := *w
	w.open()
	// What the old process does reaches nothing that is looked at.
	w.t.Cleanup(old.close)
}

// noise returns n bytes, some of which compress.
func (w *world) noise(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(w.rnd.Uint32())
		if i%64 > 40 {
			p[i] = 'a'
		}
	}
	return p
}

func (w *world) open() {
	w.t.Helper()
	ctx := context.Background()
	w.db, w.packs = w.places(w)
	w.chunks = make(map[string]*cas.Store)
	checked := &check.Store{Meta: w.db}
	id, err := w.db.StoreID(ctx)
	must(w.t, err)
	for _, d := range domains {
		domain, err := w.db.DomainID(ctx, d)
		must(w.t, err)
		w.chunks[d], err = cas.Open(ctx, w.packs[d], w.db.Index(d), &cas.Options{PackSize: 256 << 10, Store: id, Domain: domain})
		must(w.t, err)
		checked.Domains = append(checked.Domains, &check.Domain{Name: d, Chunks: w.chunks[d]})
	}
	must(w.t, checked.Survey(ctx))
	w.store, err = buckets.New(ctx, w.db, w.chunks, policies, nil)
	must(w.t, err)
	w.uploads = upload.New()
}

func (w *world) close() {
	w.t.Helper()
	if w.store == nil {
		return
	}
	must(w.t, errors.Join(w.store.Close(), w.db.Close()))
	w.store = nil
}

// bucket returns a random bucket, as a random principal has it.
func (w *world) bucket() *buckets.Bucket {
	w.t.Helper()
	b, err := w.store.Bucket(string("abc"[w.rnd.IntN(3)]))
	must(w.t, err)
	return b.As(w.someone())
}

func (w *world) someone() *access.Principal {
	return &access.Principal{ID: []string{"", "ann", "bob", "cy"}[w.rnd.IntN(4)], Operator: true}
}

// content is made of ranges of the pool, and of new bytes.
func (w *world) content() []byte {
	p := []byte([]string{"", "", "%PDF-1.7\n", "\x89PNG\r\n\x1a\n"}[w.rnd.IntN(4)])
	if w.rnd.IntN(4) == 0 {
		return bytes.Repeat([]byte("words, and more words\n"), 1+w.rnd.IntN(1000))
	}
	for range 1 + w.rnd.IntN(4) {
		from := w.pool[w.rnd.IntN(len(w.pool))]
		at := w.rnd.IntN(len(from))
		p = append(p, from[at:at+w.rnd.IntN(len(from)-at)+1]...)
		if w.rnd.IntN(3) == 0 {
			p = append(p, w.noise(w.rnd.IntN(20000))...)
		}
	}
	return p
}

// untilQuiet calls look until a recount before it and one after it are the same: what
// an upload that was broken off had begun to write may still come.
func (w *world) untilQuiet(look func() (same bool)) {
	w.t.Helper()
	for range 100 {
		if look() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	w.t.Fatal("the store is never quiet")
}

// someFile returns the ID of a random file of a bucket, "" if there is none.
func (w *world) someFile(b *buckets.Bucket, state manifest.State) string {
	w.t.Helper()
	var ids []string
	for l, err := range w.db.List(w.t.Context(), b.Name(), &manifest.Range{State: state}) {
		must(w.t, err)
		ids = append(ids, string(l.File.ID))
	}
	if len(ids) == 0 {
		return ""
	}
	return ids[w.rnd.IntN(len(ids))]
}

// step changes the store somehow.
func (w *world) step() {
	w.t.Helper()
	if err := w.act(); err != nil {
		w.t.Fatal(err)
	}
}

// act changes the store somehow. What the state of a file refuses is no failure, nor
// what others that act meanwhile have made of it.
func (w *world) act() error {
	ctx, b := w.t.Context(), w.bucket()
	id := w.someFile(b, manifest.Active)
	n := w.rnd.IntN(20)
	if id == "" && n >= 6 {
		n = 0
	}
	var err error
	switch {
	case n < 6:
		_, err = b.Put(ctx, fmt.Sprint("f", w.rnd.IntN(30)), bytes.NewReader(w.content()), &buckets.PutOptions{
			Folder: []string{"", "d", "d/e", "g/h/i"}[w.rnd.IntN(4)], Tags: []string{fmt.Sprint(w.rnd.IntN(1000))}})
	case n < 9:
		_, err = b.Replace(ctx, id, bytes.NewReader(w.content()), nil)
	case n < 11:
		_, err = b.Overwrite(ctx, id, 0, bytes.NewReader(w.noise(700)), 700, nil)
	case n < 13:
		_, err = b.Copy(ctx, id, w.bucket(), &buckets.CopyOptions{Name: fmt.Sprint("copy", w.rnd.IntN(20))})
	case n < 14:
		_, err = b.Delete(ctx, id, nil)
	case n < 15:
		if id = w.someFile(b, manifest.Trashed); id != "" {
			_, err = b.Undelete(ctx, id)
		}
	case n < 17:
		if w.rnd.IntN(2) == 0 {
			id = w.someFile(b, manifest.Trashed)
		}
		if id != "" {
			err = b.Purge(ctx, id, nil)
		}
	case n < 19:
		err = w.uploadSome(b)
	default:
		_, err = w.store.Collect(ctx, &collect.Options{Full: w.rnd.IntN(2) == 0})
	}
	for _, allowed := range []error{buckets.ErrExist, fs.ErrNotExist, buckets.ErrChunksGone, buckets.ErrNotTrashed, buckets.ErrPrecondition,
		buckets.ErrReferenced, buckets.ErrUnreconciled} {
		if errors.Is(err, allowed) {
			return nil
		}
	}
	if err != nil {
		return fmt.Errorf("step %d: %w", n, err)
	}
	return nil
}

// uploadSome leaves an upload unfinished, or cancels it.
func (w *world) uploadSome(b *buckets.Bucket) error {
	ctx, in := w.t.Context(), w.uploads.In(b)
	u, err := in.Begin(ctx, fmt.Sprint("u", w.rnd.Uint32()), nil)
	if err != nil {
		return err
	}
	if _, err := in.Append(ctx, u.ID, 0, bytes.NewReader(w.content()), nil); err != nil {
		return err
	}
	if w.rnd.IntN(2) == 0 {
		return in.Cancel(ctx, u.ID)
	}
	return nil
}
