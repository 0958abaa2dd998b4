package buckets_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A watchedStore is a metadata store that lets something happen before the
// transactions of one that makes pointers, until one of them has asked for the
// barrier; and that refuses pointers made without it.
type watchedStore struct {
	manifest.Store
	t *testing.T

	mu     sync.Mutex
	before func() // mu
	skip   int    // mu; transactions that ask for the barrier and pass first
	asked  int    // mu; transactions that have asked

	marking func() // is called when a collection of the domain "one" reads its roots; nil for nothing
}

func (s *watchedStore) Roots(ctx context.Context, domain string) iter.Seq2[*manifest.Root, error] {
	if domain == "one" && s.marking != nil {
		s.marking()
	}
	return s.Store.Roots(ctx, domain)
}

func (s *watchedStore) arm(skip int, before func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before, s.skip, s.asked = before, skip, 0
}

func (s *watchedStore) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	s.mu.Lock()
	before := s.before
	if s.asked < s.skip {
		before = nil
	}
	s.mu.Unlock()
	if before != nil {
		before()
	}
	w := &watchedTx{s: s}
	c, err := s.Store.Update(ctx, domain, func(tx manifest.Tx) error {
		w.Tx = tx
		return fn(w)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.asked {
		if s.asked++; s.asked > s.skip {
			s.before = nil
		}
	}
	return c, err
}

// A watchedTx knows whether pointers may be made.
type watchedTx struct {
	manifest.Tx
	s     *watchedStore
	asked bool
	// found are the chunks of versions whose rows were read.
	found map[cas.Digest]bool
}

func (t *watchedTx) Barrier(ctx context.Context, domain string) (manifest.Barrier, error) {
	t.asked = true
	return t.Tx.Barrier(ctx, domain)
}

func (t *watchedTx) Version(ctx context.Context, file manifest.FileID, n uint64) (*manifest.Manifest, error) {
	m, err := t.Tx.Version(ctx, file, n)
	if err == nil {
		t.found = map[cas.Digest]bool{m.Root(): true}
	}
	return m, err
}

func (t *watchedTx) PutManifest(ctx context.Context, m *manifest.Manifest) error {
	if !t.asked && !t.found[m.Root()] {
		t.s.t.Errorf("a version is made without the barrier")
	}
	return t.Tx.PutManifest(ctx, m)
}

func (t *watchedTx) PutPart(ctx context.Context, id manifest.UploadID, n uint64, refs []cas.Ref) error {
	up, err := t.Tx.Upload(ctx, "b", id)
	if !t.asked && (err != nil || !up.Listed || n >= manifest.SentParts) {
		t.s.t.Errorf("part %d is made without the barrier", n)
	}
	return t.Tx.PutPart(ctx, id, n, refs)
}

func (t *watchedTx) PutHome(ctx context.Context, h *manifest.Home) error {
	was, err := t.Tx.Home(ctx, h.Bucket)
	if !t.asked && (err != nil || was.Domain != "" && was.Domain != h.Domain) {
		t.s.t.Errorf("bucket %s is moved without the barrier", h.Bucket)
	}
	return t.Tx.PutHome(ctx, h)
}

// A passing is a store of a bucket b that collections pass by.
type passing struct {
	t      *testing.T
	s      *buckets.Store
	b      *buckets.Bucket
	db     *pebblestore.DB
	meta   *watchedStore
	chunks map[string]*cas.Store
}

const passingSchema = `buckets: {b: {backend: one, chunking: fine, digests: [sha256]}, other: {backend: one, chunking: fine}, far: {backend: two, chunking: fine}}`

func newPassing(t *testing.T, schema string) *passing {
	t.Helper()
	db, err := pebblestore.Open(t.TempDir(), nil)
	must(t, err)
	p := &passing{t: t, db: db, meta: &watchedStore{Store: db, t: t}, chunks: make(map[string]*cas.Store)}
	for _, domain := range []string{"one", "two"} {
		p.chunks[domain], err = cas.Open(t.Context(), membackend.New(nil), db.Index(domain), nil)
		must(t, err)
	}
	policies, err := buckets.Policies(parse(t, schema))
	must(t, err)
	p.s, err = buckets.New(t.Context(), p.meta, p.chunks, policies, &buckets.Options{Closers: []io.Closer{db}})
	must(t, err)
	t.Cleanup(func() { must(t, p.s.Close()) })
	p.b = bucket(t, p.s, "b")
	return p
}

// raiseFloor raises the floor of a domain: with pass above all writers, else as a
// collection would.
func (p *passing) raiseFloor(domain string, l manifest.Lease, pass bool) uint64 {
	floor, err := p.db.NextEpoch(p.t.Context(), domain)
	must(p.t, err)
	ws, err := p.db.Writers(p.t.Context(), domain)
	must(p.t, err)
	if !pass && len(ws) > 0 {
		floor = min(floor, ws[0].Begin)
	}
	must(p.t, p.db.RaiseFloor(p.t.Context(), l, floor))
	return floor
}

// collect raises the floors of both domains and, with drop, drops what no row
// refers to from the index.
func (p *passing) collect(pass, drop bool) {
	ctx := context.WithoutCancel(p.t.Context())
	for domain := range p.chunks {
		l, err := p.db.TakeLease(ctx, domain, time.Minute)
		must(p.t, err)
		floor := p.raiseFloor(domain, l, pass)
		if drop {
			c := &cas.Change{Collector: l.Token}
			marked := p.mark(domain)
			for e, err := range p.db.Index(domain).AllChunks(ctx) {
				if must(p.t, err); !marked[e.Digest] && e.Stamp < floor {
					c.Drop = append(c.Drop, e)
				}
			}
			must(p.t, p.db.Index(domain).Apply(ctx, c))
		}
		must(p.t, p.db.ReleaseLease(ctx, l))
	}
}

// mark returns all that the rows of a domain need.
func (p *passing) mark(domain string) map[cas.Digest]bool {
	ctx := context.WithoutCancel(p.t.Context())
	out := make(map[cas.Digest]bool)
	add := func(refs []cas.Ref) error {
		for _, r := range refs {
			out[r.Digest] = true
		}
		return nil
	}
	for r, err := range p.db.Roots(ctx, domain) {
		if must(p.t, err); r.Upload != "" {
			add(r.Chunks)
			continue
		}
		m, err := p.db.Manifest(ctx, r.Version)
		must(p.t, err)
		for d, s := range p.chunks { // while it is moved it is in both
			if d != domain && p.home() == domain {
				continue
			}
			err = m.Walk(ctx, packed{s}, func(s manifest.Segment) error {
				out[s.Digest] = true
				return nil
			}, add)
			if err == nil {
				break
			}
		}
		must(p.t, err)
	}
	return out
}

func (p *passing) home() string {
	h, err := p.db.Home(context.Background(), "b")
	must(p.t, err)
	return h.Domain
}

// packed finds segments in packs.
type packed struct{ s *cas.Store }

func (s packed) Segments(ctx context.Context, ds []cas.Digest) (out [][]byte, err error) {
	for _, d := range ds {
		p, err := s.s.Get(ctx, d, nil)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

// A pointerMaker is a way to make pointers to chunks. begin does what comes before
// and returns the way itself, which gives the file that was made, "" for none, and
// its content. After an error it is called again.
type pointerMaker struct {
	begin func(p *passing) func() (id string, content []byte, err error)
	skip  int   // transactions that ask for the barrier before the one that is meant
	gone  error // if all is collected that no row keeps; nil if it succeeds all the same
}

func pointerMakers(t *testing.T) map[string]pointerMaker {
	old, fresh := noise(1, 700_000), noise(2, 500_000)
	// What nobody refers to any more is found stored, and must be stamped.
	leave := func(p *passing, content []byte) {
		t.Helper()
		f := put(t, p.b, "left", string(content), nil)
		must(t, p.b.Purge(t.Context(), f.ID, nil))
	}
	fileOf := func(content []byte, do func(p *passing, f *buckets.File) (*buckets.File, error), want []byte) func(p *passing) func() (string, []byte, error) {
		return func(p *passing) func() (string, []byte, error) {
			f := put(t, p.b, "f", string(content), nil)
			leave(p, fresh)
			return func() (string, []byte, error) {
				f, err := do(p, f)
				if err != nil {
					return "", nil, err
				}
				return f.ID, want, nil
			}
		}
	}
	gone := buckets.ErrChunksGone
	ctx := t.Context()
	started := func(p *passing, name string, content []byte, opts *upload.Options) *upload.Upload {
		t.Helper()
		up, err := uploads(p.b).Begin(ctx, name, opts)
		must(t, err)
		if len(content) > 0 {
			_, err = uploads(p.b).Append(ctx, up.ID, 0, bytes.NewReader(content), &upload.AppendOptions{LengthKnown: true, Length: int64(len(content))})
			must(t, err)
		}
		return up
	}
	finish := func(p *passing, up *upload.Upload) (string, []byte, error) {
		f, err := commitUpload(uploads(p.b), ctx, up.ID)
		if err != nil {
			return "", nil, err
		}
		return f.ID, fresh, nil
	}
	appending := func(verify func() error) func(p *passing) func() (string, []byte, error) {
		return func(p *passing) func() (string, []byte, error) {
			leave(p, fresh)
			up := started(p, "up", nil, nil)
			return func() (string, []byte, error) {
				_, err := uploads(p.b).Append(ctx, up.ID, 0, bytes.NewReader(fresh), &upload.AppendOptions{Verify: verify})
				if err != nil {
					return "", nil, err
				}
				p.meta.arm(0, nil)
				p.collect(true, true)
				return finish(p, up)
			}
		}
	}
	listed := func(p *passing) (*upload.Upload, []upload.SentChunk) {
		t.Helper()
		up := started(p, "listed", nil, &upload.Options{Listed: true})
		chunks := cut(t, up.Listed.Chunker, fresh)
		_, _, err := uploads(p.b).AppendList(ctx, up.ID, 0, listing(chunks))
		must(t, err)
		return up, chunks
	}
	middle := func(b []byte) []byte { return slices.Concat(old[:100_000], b, old[150_000:]) }
	return map[string]pointerMaker{
		"put": {gone: gone, begin: fileOf(old, func(p *passing, _ *buckets.File) (*buckets.File, error) {
			return p.b.Put(ctx, "g", bytes.NewReader(fresh), nil)
		}, fresh)},
		"put of a small file": {gone: gone, begin: func(p *passing) func() (string, []byte, error) {
			leave(p, fresh[:100])
			return func() (string, []byte, error) {
				f, err := p.b.Put(ctx, "g", bytes.NewReader(fresh[:100]), nil)
				if err != nil {
					return "", nil, err
				}
				return f.ID, fresh[:100], nil
			}
		}},
		"amended put": {gone: gone, begin: fileOf(old, func(p *passing, _ *buckets.File) (*buckets.File, error) {
			return p.b.Put(ctx, "g", bytes.NewReader(fresh), &buckets.PutOptions{Amend: func() (string, *buckets.PutOptions) {
				return "other", &buckets.PutOptions{}
			}})
		}, fresh)},
		"replace": {gone: gone, begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			return p.b.Replace(ctx, f.ID, bytes.NewReader(fresh), nil)
		}, fresh)},
		"compose": {gone: gone, begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			return p.b.Compose(ctx, "g", []buckets.Piece{{File: f.ID, Length: 100_000}, {Data: fresh}, {File: f.ID, Offset: 150_000, Length: -1}}, nil)
		}, middle(fresh))},
		"extend": {gone: gone, begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			return p.b.Extend(ctx, f.ID, bytes.NewReader(fresh), -1, nil)
		}, slices.Concat(old, fresh))},
		"overwrite": {gone: gone, begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			return p.b.Overwrite(ctx, f.ID, 100_000, bytes.NewReader(fresh[:50_000]), 50_000, nil)
		}, middle(fresh[:50_000]))},
		"truncate": {gone: gone, begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			return p.b.Truncate(ctx, f.ID, 250_000, nil)
		}, old[:250_000])},
		"copy": {begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			return p.b.Copy(ctx, f.ID, p.b, nil)
		}, old)},
		"copy of what is purged": {gone: gone, begin: func(p *passing) func() (string, []byte, error) {
			var f *buckets.File
			return func() (string, []byte, error) {
				f = put(t, p.b, "g", string(old), nil)
				p.meta.mu.Lock()
				if before := p.meta.before; before != nil {
					p.meta.before = func() {
						p.meta.arm(0, nil)
						must(t, p.b.Purge(ctx, f.ID, nil))
						before()
					}
				}
				p.meta.mu.Unlock()
				f, err := p.b.Copy(ctx, f.ID, p.b, nil)
				if err != nil {
					return "", nil, err
				}
				return f.ID, old, nil
			}
		}, skip: 1},
		"restore of a version": {begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			if f.VersionsCount == 1 {
				next, err := p.b.Replace(ctx, f.ID, bytes.NewReader(fresh), nil)
				must(t, err)
				f.VersionsCount = next.VersionsCount
			}
			return p.b.RestoreVersion(ctx, f.ID, 1)
		}, old), skip: 1},
		"undelete": {begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			_, err := p.b.Delete(ctx, f.ID, nil)
			must(t, err)
			return p.b.Undelete(ctx, f.ID)
		}, old)},
		"append":          {gone: gone, begin: appending(nil)},
		"verified append": {gone: gone, begin: appending(func() error { return nil })},
		"commit of an upload": {gone: gone, begin: func(p *passing) func() (string, []byte, error) {
			leave(p, fresh)
			up := started(p, "up", fresh, nil)
			return func() (string, []byte, error) { return finish(p, up) }
		}},
		"chunks that are sent": {gone: gone, begin: func(p *passing) func() (string, []byte, error) {
			leave(p, fresh)
			up, chunks := listed(p)
			return func() (string, []byte, error) {
				if _, err := uploads(p.b).ReceiveChunks(ctx, up.ID, sending(chunks)); err != nil {
					return "", nil, err
				}
				p.meta.arm(0, nil)
				p.collect(true, true) // they are kept
				return finish(p, up)
			}
		}},
		"commit of a list": {gone: gone, begin: func(p *passing) func() (string, []byte, error) {
			up, chunks := listed(p)
			_, err := uploads(p.b).ReceiveChunks(ctx, up.ID, sending(chunks))
			must(t, err)
			return func() (string, []byte, error) { return finish(p, up) }
		}},
		"commit of a list that another upload was sent": {gone: buckets.ErrMissing, begin: func(p *passing) func() (string, []byte, error) {
			up, chunks := listed(p)
			other, _ := listed(p)
			_, err := uploads(p.b).ReceiveChunks(ctx, other.ID, sending(chunks))
			must(t, err)
			must(t, uploads(p.b).Cancel(ctx, other.ID))
			return func() (string, []byte, error) {
				p.meta.mu.Lock()
				armed := p.meta.before != nil
				p.meta.mu.Unlock()
				if !armed {
					l, err := uploads(p.b).Lacking(ctx, up.ID)
					must(t, err)
					_, err = uploads(p.b).ReceiveChunks(ctx, up.ID, sending(lacks(t, l, chunks)))
					must(t, err)
				}
				return finish(p, up)
			}
		}},
		"uploads that are joined": {gone: gone, begin: func(p *passing) func() (string, []byte, error) {
			a := started(p, "", fresh[:70_001], &upload.Options{Partial: true})
			b := started(p, "", fresh[70_001:], &upload.Options{Partial: true})
			return func() (string, []byte, error) {
				up, err := uploads(p.b).Concat(ctx, "joined", []string{a.ID, b.ID}, &upload.Options{})
				if err != nil {
					return "", nil, err
				}
				return up.File.ID, fresh, nil
			}
		}},
		"copy from another backend": {gone: gone, begin: func(p *passing) func() (string, []byte, error) {
			leave(p, fresh)
			f := put(t, bucket(t, p.s, "far"), "f", string(fresh), nil)
			return func() (string, []byte, error) {
				f, err := bucket(t, p.s, "far").Copy(ctx, f.ID, p.b, nil)
				if err != nil {
					return "", nil, err
				}
				return f.ID, fresh, nil
			}
		}},
		"move": {begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			_, err := p.s.Migrate(ctx, "b", "two", nil)
			return f, err
		}, old)},
		"put while the bucket is moved": {gone: gone, skip: 2, begin: fileOf(old, func(p *passing, f *buckets.File) (*buckets.File, error) {
			return p.b.Put(ctx, "g", io.MultiReader(bytes.NewReader(fresh), readerFunc(func() {
				_, err := p.s.Migrate(ctx, "b", "two", nil)
				must(t, err)
			})), nil)
		}, fresh)},
	}
}

// Whoever makes pointers to chunks compares with the floor in the transaction that
// does. If it was raised above the writer's begin, all is looked up again: what is
// there stays, and what is gone is an error that sending again mends.
func TestPointerMakers(t *testing.T) {
	race.LeaveOut(t)
	for name, maker := range pointerMakers(t) {
		for _, c := range []struct {
			name       string
			pass, drop bool
		}{{"floor below", false, true}, {"floor above", true, false}, {"floor above, chunks gone", true, true}} {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				p := newPassing(t, passingSchema)
				run := maker.begin(p)
				p.meta.arm(maker.skip, func() { p.collect(c.pass, c.drop) })
				id, content, err := run()
				p.meta.arm(0, nil)
				if want := maker.gone; c.pass && c.drop && want != nil {
					wantErr(t, "without its chunks", err, want)
					id, content, err = run()
				}
				must(t, err)
				for domain := range p.chunks {
					if ws, err := p.db.Writers(t.Context(), domain); err != nil || len(ws) > 0 {
						t.Errorf("left registered: %v, %v", ws, err)
					}
				}
				p.collect(false, true)
				if got := read(t, p.b, id, nil); got != string(content) {
					t.Error("it reads back otherwise")
				}
			})
		}
	}
}

// Writers that begin together share a registration, whose begin is that of the
// first, and which ends with the last.
func TestWritersShareRegistrations(t *testing.T) {
	p := newPassing(t, passingSchema)
	var entered, release sync.WaitGroup
	entered.Add(3)
	release.Add(1)
	var g sync.WaitGroup
	for i := range 3 {
		g.Go(func() {
			_, err := p.b.Put(t.Context(), string(rune('a'+i)), io.MultiReader(bytes.NewReader(noise(uint64(i), 5000)), readerFunc(func() {
				entered.Done()
				release.Wait()
			})), nil)
			if err != nil {
				t.Error(err)
			}
		})
	}
	entered.Wait()
	ws, err := p.db.Writers(t.Context(), "one")
	if err != nil || len(ws) == 0 || len(ws) > 3 {
		t.Errorf("three writers are registered as %v, %v", ws, err)
	}
	release.Done()
	g.Wait()
	if ws, err := p.db.Writers(t.Context(), "one"); err != nil || len(ws) > 0 {
		t.Errorf("left registered: %v, %v", ws, err)
	}
}

// errNoRoom is what registering fails with on a full disk.
var errNoRoom = errors.New("no room")

// An unableStore cannot unregister.
type unableStore struct {
	manifest.Store
	fail bool
}

func (s *unableStore) Unregister(ctx context.Context, domain string, id manifest.WriterID) error {
	if s.fail {
		return errNoRoom
	}
	return s.Store.Unregister(ctx, domain, id)
}

// A registration that could not be removed goes with the next one.
func TestRegistrationsThatStay(t *testing.T) {
	p := newPassing(t, passingSchema)
	u := &unableStore{Store: p.db, fail: true}
	p.meta.Store = u
	put(t, p.b, "a", "a", nil)
	if ws, err := p.db.Writers(t.Context(), "one"); err != nil || len(ws) != 1 {
		t.Errorf("registered: %v, %v", ws, err)
	}
	u.fail = false
	put(t, p.b, "b", "b", nil)
	if ws, err := p.db.Writers(t.Context(), "one"); err != nil || len(ws) != 0 {
		t.Errorf("left registered: %v, %v", ws, err)
	}
}
