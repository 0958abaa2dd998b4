package collect_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/backend/diskbackend"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/chunker"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

const (
	domain = "x"
	bucket = "b"
)

// A database has the rows and the index of a world.
type database interface {
	manifest.Store
	Index(domain string) cas.Index
	Close() error
}

// A world is a store in a directory, with the content of the files that were put
// into it.
type world struct {
	t      *testing.T
	dir    string
	db     database
	meta   manifest.Store
	packs  backend.Backend
	chunks *cas.Store
	steps  *steps // counts, and ends, the calls of the collector and of what it uses

	openDB   func() (database, error) // nil opens one with Pebble in the directory
	packSize int64
	wrap     func(backend.Backend) backend.Backend // if set, changes what backend is opened
	blind    bool                                  // look-ups find no chunk

	files    map[string][]byte
	versions map[string]*manifest.Manifest
}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOf(t, 256<<10)
}

// newWorldOf returns a world whose packs are sealed at a size.
func newWorldOf(t *testing.T, packSize int64) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), packSize: packSize}
	w.start()
	return w
}

// start opens a new world.
func (w *world) start() {
	t := w.t
	t.Helper()
	w.files, w.versions = make(map[string][]byte), make(map[string]*manifest.Manifest)
	w.open()
	must(t, w.update(t.Context(), domain, func(tx manifest.Tx) error {
		return tx.PutHome(t.Context(), &manifest.Home{Bucket: bucket, Domain: domain})
	}))
	t.Cleanup(func() { w.close() })
}

// copyWorld returns a copy of w, which must be closed.
func (w *world) copyWorld() *world {
	w.t.Helper()
	c := &world{t: w.t, dir: w.t.TempDir() + "/copy", packSize: w.packSize, files: maps.Clone(w.files), versions: maps.Clone(w.versions)}
	must(w.t, os.CopyFS(c.dir, os.DirFS(w.dir)))
	must(w.t, filepath.WalkDir(filepath.Join(w.dir, "packs"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info() // the mode says that an object is whole
		if err == nil {
			err = os.Chmod(filepath.Join(c.dir, path[len(w.dir):]), info.Mode())
		}
		return err
	}))
	return c
}

func (w *world) open() {
	w.t.Helper()
	ctx := w.t.Context()
	var err error
	if w.openDB != nil {
		w.db, err = w.openDB()
	} else {
		w.db, err = pebblestore.Open(filepath.Join(w.dir, "meta"), nil)
	}
	must(w.t, err)
	packs, err := diskbackend.Open(filepath.Join(w.dir, "packs"), &diskbackend.Options{Reserve: -1})
	must(w.t, err)
	steps := &steps{calls: make(map[string]int)}
	if w.steps != nil {
		steps.lease = w.steps.lease
	}
	w.steps = steps
	w.packs = packs
	if w.wrap != nil {
		w.packs = w.wrap(packs)
	}
	w.packs = steppedBackend{w.packs, w.steps}
	w.meta = steppedMeta{w.db, w.steps}
	store, err := w.db.StoreID(ctx)
	must(w.t, err)
	id, err := w.db.DomainID(ctx, domain)
	must(w.t, err)
	w.chunks, err = cas.Open(ctx, w.packs, steppedIndex{w.db.Index(domain), w.steps, w.blind},
		&cas.Options{Exclusive: true, PackSize: w.packSize, Store: store, Domain: id, Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}})
	must(w.t, err)
	must(w.t, w.settle(ctx))
}

func (w *world) close() {
	if w.chunks == nil {
		return
	}
	err := w.chunks.Close()
	if w.steps.killed == nil {
		must(w.t, err)
	}
	must(w.t, w.db.Close())
	w.chunks = nil
}

// reopen opens the store anew, as after a kill.
func (w *world) reopen() {
	w.t.Helper()
	w.close()
	w.open()
}

func (w *world) update(ctx context.Context, domain string, fn func(tx manifest.Tx) error) error {
	c, err := w.meta.Update(ctx, domain, fn)
	if err != nil || c == nil {
		return err
	}
	return w.writeRecords(ctx, c)
}

func (w *world) writeRecords(ctx context.Context, c *manifest.Commit) error {
	if err := w.chunks.AppendRecords(ctx, &cas.Records{Commit: c.Seq, Slots: c.Slots}); err != nil {
		return err
	}
	return w.meta.Written(ctx, c.Seq)
}

func (w *world) settle(ctx context.Context) error {
	for c, err := range w.meta.Unwritten(ctx) {
		if err == nil {
			err = w.writeRecords(ctx, c)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *world) collector() *collect.Collector {
	return collect.NewCollector(&collect.Store{Meta: w.meta, Chunks: map[string]*cas.Store{domain: w.chunks}, Update: w.update, Settle: w.settle})
}

// collect makes a cycle and returns its report.
func (w *world) collect(opts *collect.Options) *collect.DomainReport {
	w.t.Helper()
	r, err := w.collector().Run(w.t.Context(), opts)
	must(w.t, err)
	return &r.Domains[0]
}

// A write is a writer that has stored a content and not committed it.
type write struct {
	w       *world
	writer  manifest.Writer
	content *manifest.Content
	bytes   []byte
}

func (w *world) store(p []byte) *write {
	w.t.Helper()
	ctx := w.t.Context()
	wr, err := w.meta.Register(ctx, domain)
	must(w.t, err)
	return &write{w: w, writer: wr, bytes: p, content: w.content(wr, bytes.NewReader(p))}
}

func (w *world) content(wr manifest.Writer, r io.Reader) *manifest.Content {
	w.t.Helper()
	c, err := w.writeContent(wr, r)
	must(w.t, err)
	return c
}

func (w *world) writeContent(wr manifest.Writer, r io.Reader) (*manifest.Content, error) {
	w.t.Helper()
	split, err := chunker.Profile("fine")
	must(w.t, err)
	c, _, err := manifest.Write(w.t.Context(), w.chunks, r, split,
		&manifest.WriteOptions{Since: wr.Begin, Segments: w.meta.Segments(domain)})
	return c, err
}

var errPassedBy = errors.New("the floor is above the begin of the writer")

// commit makes the content a file, or fails with errPassedBy.
func (u *write) commit(name string) error {
	ctx := u.w.t.Context()
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: bucket, Name: name, Versions: 1, LastVersion: 1,
		TotalSize: u.content.Size, TotalChunks: u.content.Chunks, CreatedAt: time.Now().UTC().Truncate(time.Millisecond)}
	m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, Version: 1, Content: *u.content, CreatedAt: f.CreatedAt}
	f.Current, f.UpdatedAt = m.ID, f.CreatedAt
	err := u.w.update(ctx, domain, func(tx manifest.Tx) error {
		b, err := tx.Barrier(ctx, domain)
		if err == nil && b.Floor > u.writer.Begin {
			err = errPassedBy
		}
		if err == nil {
			err = tx.PutManifest(ctx, m)
		}
		if err == nil {
			err = tx.PutFile(ctx, f)
		}
		return err
	})
	if err != nil {
		return err
	}
	u.w.files[name], u.w.versions[name] = u.bytes, m
	u.end()
	return nil
}

func (u *write) end() {
	u.w.t.Helper()
	must(u.w.t, u.w.meta.Unregister(u.w.t.Context(), domain, u.writer.ID))
}

func (w *world) put(name string, p []byte) {
	w.t.Helper()
	must(w.t, w.store(p).commit(name))
}

func (w *world) purge(names ...string) {
	w.t.Helper()
	ctx := w.t.Context()
	for _, name := range names {
		m := w.versions[name]
		must(w.t, w.update(ctx, domain, func(tx manifest.Tx) error { return tx.Purge(ctx, m.File, time.Now()) }))
		delete(w.files, name)
		delete(w.versions, name)
	}
}

// check reads all files, and proves that index and packs agree.
func (w *world) check() {
	w.t.Helper()
	ctx := w.t.Context()
	for _, name := range slices.Sorted(maps.Keys(w.files)) {
		m := w.versions[name]
		r := manifest.NewReader(ctx, w.chunks, w.meta.Segments(domain), &m.Content)
		got, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(got, w.files[name]) {
			w.t.Fatalf("%s: %d of %d bytes, %v", name, len(got), len(w.files[name]), err)
		}
	}
	there := make(map[cas.PackID]bool)
	for p, err := range w.chunks.Packs(ctx) {
		must(w.t, err)
		there[p.ID] = true
	}
	ix := w.db.Index(domain)
	for p, err := range ix.AllPacks(ctx) {
		must(w.t, err)
		if !there[p.ID] && !p.Doomed {
			w.t.Errorf("pack %s of the index is not there", p.ID)
		}
	}
	for f, err := range ix.AllFrames(ctx) {
		must(w.t, err)
		if !there[f.Pack] {
			w.t.Errorf("frame %s lies in a pack that is not there", f.ID)
		}
	}
}

// size is what all packs take.
func (w *world) size() (n int64) {
	w.t.Helper()
	for p, err := range w.chunks.Packs(w.t.Context()) {
		must(w.t, err)
		n += p.Size
	}
	return n
}

// random returns n bytes that do not compress, the same for the same seed.
func random(seed uint64, n int) []byte {
	p := make([]byte, n)
	var key [32]byte
	key[0], key[1] = byte(seed), byte(seed>>8)
	rand.NewChaCha8(key).Read(p)
	return p
}

var errKilled = errors.New("killed")

// steps counts the calls of the database, the index and the backend. From the call
// at on all fail, or with once only that one. With after the call is made first.
type steps struct {
	at    int // 0 is never
	once  bool
	after bool
	// hook is called before each call. It may make calls of its own, which it is
	// not called for.
	hook func(what string)

	lease  manifest.Lease // the last one that was taken
	hidden cas.Digest     // a segment whose row is not found
	lost   bool           // nor is it found in packs

	fewMarks int // if not 0, no more are dropped at once than this

	mu     sync.Mutex // guards what follows
	n      int
	calls  map[string]int // by what they do
	killed error
	inHook bool

	mostDropped, mostDoomed int // in one change, and one transaction
	mostMarks               int // that one transaction may drop
	mostEntered             int // entries of the ledger in one transaction
}

func (s *steps) noteMost(dropped, doomed int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mostDropped, s.mostDoomed = max(s.mostDropped, dropped), max(s.mostDoomed, doomed)
}

// run makes a call, or fails it.
func (s *steps) run(what string, call func() error) error {
	s.mu.Lock()
	s.n++
	s.calls[what]++
	n, hook := s.n, s.hook
	if s.inHook {
		hook = nil
	}
	if hook != nil {
		s.inHook = true
		s.mu.Unlock()
		hook(what)
		s.mu.Lock()
		s.inHook = false
	}
	if s.killed != nil && !s.once {
		defer s.mu.Unlock()
		return s.killed
	}
	if s.at == 0 || n != s.at {
		s.mu.Unlock()
		return call()
	}
	s.killed = fmt.Errorf("%w at call %d, %s", errKilled, n, what)
	killed := s.killed
	s.mu.Unlock()
	if s.after {
		if err := call(); err != nil {
			return err
		}
	}
	return killed
}
