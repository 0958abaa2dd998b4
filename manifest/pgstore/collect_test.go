package pgstore_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/pgtest"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pgstore"
)

// TestCollection: writers of several processes share chunks while files are
// purged, chunks are marked as bad and are healed, and two collectors that lose
// their leases to each other drop chunks, move frames, and doom packs. Nothing
// that a committed row names is ever out of the index or in a pack that was
// deleted, and the sums of what is live are right at the end.
func TestCollection(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	soak, _ := strconv.Atoi(os.Getenv("CAIRN_SOAK"))
	url := pgtest.Database(t)
	s := &collected{t: t, ctx: t.Context(), seed: seed, files: make(map[manifest.FileID]bool), uploads: make(map[manifest.UploadID]bool),
		deleted: make(map[cas.PackID]bool)}
	for range 3 {
		s.dbs = append(s.dbs, open(t, url))
	}
	var writers, others sync.WaitGroup
	for n := range uint64(5) {
		writers.Go(func() { s.newActor(n).write(40 * max(1, soak)) })
	}
	for n, act := range []func(a *actor) error{(*actor).collect, (*actor).collect, (*actor).purge, (*actor).purge, (*actor).damage, (*actor).check} {
		a := s.newActor(uint64(100 + n))
		others.Go(func() {
			for !s.over.Load() {
				if err := act(a); err != nil {
					s.fail(err)
				}
			}
		})
	}
	writers.Wait()
	s.over.Store(true)
	others.Wait()
	if err := errors.Join(s.newActor(200).check(), s.checkSums()); err != nil {
		t.Error(err)
	}
	t.Logf("%d commits, %d looked up again; %d cycles, %d fenced; %d chunks dropped, %d frames moved, %d packs doomed; %d checks",
		s.commits.Load(), s.repeats.Load(), s.cycles.Load(), s.fenced.Load(), s.dropped.Load(), s.moved.Load(), len(s.deleted), s.checks.Load())
}

// A collected is a store under collection, and what is known of it.
type collected struct {
	t    *testing.T
	ctx  context.Context
	seed uint64
	dbs  []*pgstore.DB
	over atomic.Bool

	mu      sync.Mutex
	files   map[manifest.FileID]bool // that may be purged
	uploads map[manifest.UploadID]bool
	deleted map[cas.PackID]bool // from before the DELETE on

	commits, repeats, cycles, fenced, dropped, moved, checks atomic.Int64
}

func (s *collected) fail(err error) {
	s.over.Store(true)
	s.t.Error(err)
}

// An actor is one of those that use the store at once.
type actor struct {
	*collected
	r      *rand.Rand
	d      *pgstore.DB
	ix     cas.Index
	pack   cas.PackEntry // the open one
	writer [16]byte
	late   *cas.Change // a change whose outcome the writer does not know, as it were
}

func (s *collected) newActor(n uint64) *actor {
	a := &actor{collected: s, r: rand.New(rand.NewPCG(s.seed, n)), d: s.dbs[n%uint64(len(s.dbs))]}
	a.ix = a.d.Index("x")
	binary.BigEndian.PutUint64(a.writer[:], n+1)
	a.openPack()
	return a
}

func (a *actor) newID() (id [16]byte) {
	binary.BigEndian.PutUint64(id[:], a.r.Uint64())
	return id
}

func (a *actor) openPack() {
	a.pack = cas.PackEntry{ID: a.newID(), Writer: a.writer, Serial: a.pack.Serial + 1}
}

// rest lets others act.
func (a *actor) rest() { time.Sleep(time.Duration(a.r.IntN(3)) * time.Millisecond) }

// shared is how many chunks there are.
const shared = 40

func digestOf(n int) cas.Digest { return cas.Sum([]byte{byte(n)}) }

func (a *actor) write(commits int) {
	for range commits {
		if a.over.Load() {
			return
		}
		var ds []cas.Digest
		for range 1 + a.r.IntN(3) {
			if d := digestOf(a.r.IntN(shared)); !slices.Contains(ds, d) {
				ds = append(ds, d)
			}
		}
		for {
			ok, err := a.tryToWrite(ds)
			if err != nil {
				a.fail(err)
				return
			}
			if ok {
				break
			}
			a.repeats.Add(1)
		}
		a.commits.Add(1)
	}
}

// tryToWrite commits a row that names ds, unless the floor or a removal has come
// in between.
func (a *actor) tryToWrite(ds []cas.Digest) (ok bool, err error) {
	w, err := a.d.Register(a.ctx, "x")
	if err != nil {
		return false, err
	}
	if a.r.IntN(10) > 0 { // or it is killed, and stays registered
		defer func() { err = errors.Join(err, a.d.Unregister(a.ctx, "x", w.ID)) }()
	}
	removals, err := a.d.Removals(a.ctx, "x")
	if err != nil {
		return false, err
	}
	out := make([]cas.ChunkEntry, len(ds))
	if err := a.ix.Hit(a.ctx, w.Begin, ds, out); err != nil {
		return false, err
	}
	var lacking []cas.Digest
	for i := range out {
		if !out[i].Usable() {
			lacking = append(lacking, ds[i])
		} else if out[i].Stamp < w.Begin {
			return false, fmt.Errorf("a hit of a writer of epoch %d left the stamp %d", w.Begin, out[i].Stamp)
		}
	}
	a.rest()
	if err := a.addChunks(lacking); err != nil {
		return false, err
	}
	a.rest()
	passes := false
	f, put := a.newRow(ds)
	_, err = a.d.Update(a.ctx, "x", func(tx manifest.Tx) error {
		f.Revision = 0
		b, err := tx.Barrier(a.ctx, "x")
		if err != nil {
			return err
		}
		a.rest()
		if passes = b.Floor <= w.Begin && b.Removals == removals; passes {
			return put(tx)
		}
		return nil
	})
	return passes, err
}

// newRow returns a row that names ds: a version of a new file, or a part of a new
// upload.
func (a *actor) newRow(ds []cas.Digest) (*manifest.File, func(tx manifest.Tx) error) {
	var refs []cas.Ref
	for _, d := range ds {
		refs = append(refs, cas.Ref{Digest: d, Length: 1})
	}
	f := &manifest.File{ID: manifest.NewFileID(), Bucket: "b", Name: fmt.Sprint(a.r.Uint64())}
	m := &manifest.Manifest{ID: manifest.NewVersionID(), File: f.ID, Version: 1,
		Content: manifest.Content{Size: int64(len(refs)), Chunks: int64(len(refs)), Chunker: "c", Inline: refs}}
	u := &manifest.Upload{ID: manifest.NewUploadID(), Bucket: "b", Domain: "x", Sent: 1, Listed: a.r.IntN(2) == 0, ExpiresAt: day}
	part := uint64(0)
	if u.Listed {
		part = manifest.SentParts
	}
	if a.r.IntN(4) > 0 {
		return f, func(tx manifest.Tx) error {
			if err := errors.Join(tx.PutManifest(a.ctx, m), tx.PutFile(a.ctx, f)); err != nil {
				return err
			}
			a.know(func() { a.files[f.ID] = true })
			return nil
		}
	}
	return f, func(tx manifest.Tx) error {
		if err := errors.Join(tx.PutPart(a.ctx, u.ID, part, refs), tx.PutUpload(a.ctx, u)); err != nil {
			return err
		}
		a.know(func() { a.uploads[u.ID] = true })
		return nil
	}
}

func (s *collected) know(fn func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	fn()
}

// addChunks adds chunks in a new frame of the open pack.
func (a *actor) addChunks(ds []cas.Digest) error {
	if a.late != nil && a.r.IntN(2) == 0 { // it takes effect once more, late
		if err := a.ix.Apply(a.ctx, a.late); err != nil && !errors.Is(err, cas.ErrDoomed) {
			return err
		}
		a.late = nil
	}
	if len(ds) == 0 {
		return nil
	}
	f := cas.FrameEntry{ID: a.newID(), Pack: a.pack.ID, Offset: a.pack.Size, HeaderLen: 10, StoredLen: 10 * uint32(len(ds)),
		PlainLen: uint32(len(ds)), Slots: uint32(len(ds))}
	c := &cas.Change{Frames: []cas.FrameEntry{f}}
	for i, d := range ds {
		c.Chunks = append(c.Chunks, cas.ChunkEntry{Digest: d, Frame: f.ID, Slot: uint32(i), Offset: uint32(i), Length: 1})
	}
	a.pack.Size += 100
	a.pack.Sealed = a.r.IntN(3) == 0
	c.Packs = []cas.PackEntry{a.pack}
	if a.pack.Sealed {
		a.openPack()
	}
	a.late = c
	return a.ix.Apply(a.ctx, c)
}

func (a *actor) purge() error {
	time.Sleep(time.Millisecond)
	a.mu.Lock()
	id, ok := anyOf(a.r, a.files)
	upload, ended := anyOf(a.r, a.uploads)
	ok, ended = ok && len(a.files) > 4, ended && len(a.uploads) > 2
	a.mu.Unlock()
	if !ok && !ended {
		return nil
	}
	_, err := a.d.Update(a.ctx, "x", func(tx manifest.Tx) error {
		if ended {
			u, err := tx.Upload(a.ctx, "b", upload)
			if errors.Is(err, fs.ErrNotExist) {
				ended = false // it is being written
				return nil
			}
			if err != nil {
				return err
			}
			u.Expired = true
			return tx.PutUpload(a.ctx, u)
		}
		err := tx.Purge(a.ctx, id, day)
		if errors.Is(err, fs.ErrNotExist) {
			ok = false
			return nil
		}
		return err
	})
	a.know(func() {
		if ended {
			delete(a.uploads, upload)
		} else if ok {
			delete(a.files, id)
		}
	})
	return err
}

func anyOf[K comparable](r *rand.Rand, from map[K]bool) (k K, ok bool) {
	n := 0
	for key := range from {
		if n++; r.IntN(n) == 0 {
			k, ok = key, true
		}
	}
	return k, ok
}

// damage marks chunks as bad. Who writes one next heals it.
func (a *actor) damage() error {
	time.Sleep(50 * time.Millisecond)
	var ds []cas.Digest
	for range 8 {
		ds = append(ds, digestOf(a.r.IntN(shared)))
	}
	out := make([]cas.ChunkEntry, len(ds))
	if err := a.ix.Chunks(a.ctx, ds, out); err != nil {
		return err
	}
	return a.ix.Apply(a.ctx, &cas.Change{Bad: out})
}

// collect runs one cycle, or a part of one if it loses its lease.
func (a *actor) collect() error {
	a.rest()
	l, err := a.d.TakeLease(a.ctx, "x", time.Duration(a.r.IntN(200))*time.Millisecond)
	if errors.Is(err, manifest.ErrLeased) {
		return nil
	}
	if err != nil {
		return err
	}
	err = a.runCycle(l)
	if errors.Is(err, cas.ErrFenced) {
		a.fenced.Add(1)
		return nil
	}
	a.cycles.Add(1)
	return errors.Join(err, a.d.ReleaseLease(a.ctx, l))
}

func (a *actor) runCycle(l manifest.Lease) error {
	if err := a.raiseFloor(l); err != nil {
		return err
	}
	marked := make(map[cas.Digest]bool)
	for r, err := range a.d.Roots(a.ctx, "x") {
		if err != nil {
			return err
		}
		for _, c := range r.Chunks {
			marked[c.Digest] = true
		}
	}
	a.rest()
	// If this is another collector's floor, the lease is lost.
	floor, err := a.d.Floor(a.ctx, "x")
	if err != nil {
		return err
	}
	c := &cas.Change{Collector: l.Token}
	for e, err := range a.ix.AllChunks(a.ctx) {
		if err != nil {
			return err
		}
		if !marked[e.Digest] && e.Stamp < floor {
			c.Drop = append(c.Drop, e)
		}
	}
	a.rest()
	if err := a.ix.Apply(a.ctx, c); err != nil {
		return err
	}
	a.dropped.Add(int64(len(c.Drop)))
	for p, err := range a.ix.AllPacks(a.ctx) {
		if err != nil {
			return err
		}
		if p.Sealed {
			if err := a.empty(l, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// raiseFloor raises the epoch, and the floor up to the oldest writer. Often it
// passes writers by, as if they were too old.
func (a *actor) raiseFloor(l manifest.Lease) error {
	floor, err := a.d.NextEpoch(a.ctx, "x")
	if err != nil {
		return err
	}
	ws, err := a.d.Writers(a.ctx, "x")
	if err != nil {
		return err
	}
	if len(ws) > 0 && a.r.IntN(3) == 0 {
		floor = min(floor, ws[0].Begin)
	}
	return a.d.RaiseFloor(a.ctx, l, floor)
}

// empty moves the frames of a sealed pack to another, if it still has some, and
// dooms it.
func (a *actor) empty(l manifest.Lease, p cas.PackEntry) error {
	move := &cas.Change{Collector: l.Token}
	for f, err := range a.ix.PackFrames(a.ctx, p.ID) {
		if err != nil {
			return err
		}
		f.Pack, f.Offset = a.pack.ID, a.pack.Size
		a.pack.Size += 100
		move.Moved = append(move.Moved, cas.MovedFrame{FrameEntry: f, From: p.ID})
	}
	if len(move.Moved) > 0 {
		if a.r.IntN(3) > 0 {
			return nil
		}
		a.pack.Sealed = true
		move.Packs = []cas.PackEntry{a.pack}
		a.openPack()
		if err := a.ix.Apply(a.ctx, move); err != nil {
			return err
		}
		a.moved.Add(int64(len(move.Moved)))
	}
	_, err := a.d.Update(a.ctx, "x", func(tx manifest.Tx) error { return tx.DoomPack(a.ctx, p.ID, p.Size, nil) })
	if errors.Is(err, manifest.ErrNotDead) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	a.know(func() { a.deleted[p.ID] = true })
	a.rest()
	if p.Writer != a.writer {
		return nil // its writer may be late
	}
	return a.ix.Apply(a.ctx, &cas.Change{Collector: l.Token, DropPacks: []cas.PackID{p.ID}})
}

// check looks for rows whose chunks are not in the index, or lie in a pack that
// has been deleted.
func (a *actor) check() error {
	a.rest()
	for r, err := range a.d.Roots(a.ctx, "x") {
		if err != nil {
			return err
		}
		for _, c := range r.Chunks {
			why, err := a.findLoss(c.Digest)
			if err != nil {
				return err
			}
			if why == "" {
				continue
			}
			// The row was there before. If it is there now, it was in between.
			still, err := a.exists(r)
			if err != nil {
				return err
			}
			if still {
				return fmt.Errorf("a row of %s%s is lost: chunk %s %s", r.Version, r.Upload, c.Digest, why)
			}
		}
	}
	a.checks.Add(1)
	return nil
}

func (a *actor) exists(r *manifest.Root) (bool, error) {
	if r.Version != "" {
		_, err := a.d.Manifest(a.ctx, r.Version)
		if errors.Is(err, fs.ErrNotExist) {
			return false, nil
		}
		return err == nil, err
	}
	u, err := a.d.Upload(a.ctx, "b", r.Upload)
	return err == nil && u.UnderWay(), err
}

// findLoss says how a chunk is lost, or "". What moves meanwhile is looked up
// again.
func (a *actor) findLoss(d cas.Digest) (string, error) {
	for {
		chunk, frame, again := make([]cas.ChunkEntry, 1), make([]cas.FrameEntry, 1), make([]cas.ChunkEntry, 1)
		if err := a.ix.Chunks(a.ctx, []cas.Digest{d}, chunk); err != nil {
			return "", err
		}
		if chunk[0] == (cas.ChunkEntry{}) {
			return "has no entry", nil
		}
		a.mu.Lock()
		deleted := maps.Clone(a.deleted)
		a.mu.Unlock()
		if err := errors.Join(a.ix.Frames(a.ctx, []cas.FrameID{chunk[0].Frame}, frame), a.ix.Chunks(a.ctx, []cas.Digest{d}, again)); err != nil {
			return "", err
		}
		switch {
		case !frame[0].Known() && chunk[0].Frame == again[0].Frame:
			return "lies in a frame that is not known", nil
		case frame[0].Known() && deleted[frame[0].Pack]:
			return "lies in a pack that is deleted", nil
		case frame[0].Known():
			return "", nil
		}
	}
}

// checkSums compares what frames and packs say is live with what is.
func (s *collected) checkSums() error {
	type sum struct{ live, bytes uint32 }
	ix, chunks, packs := s.dbs[0].Index("x"), make(map[cas.FrameID]sum), make(map[cas.PackID]int64)
	for e, err := range ix.AllChunks(s.ctx) {
		if err != nil {
			return err
		}
		chunks[e.Frame] = sum{chunks[e.Frame].live + 1, chunks[e.Frame].bytes + e.Length}
	}
	for f, err := range ix.AllFrames(s.ctx) {
		if err != nil {
			return err
		}
		if (sum{f.Live, f.LiveBytes}) != chunks[f.ID] || f.Live == 0 {
			return fmt.Errorf("frame %+v has %+v", f, chunks[f.ID])
		}
		packs[f.Pack] += f.LiveStored()
		delete(chunks, f.ID)
	}
	for p, err := range ix.AllPacks(s.ctx) {
		if err != nil {
			return err
		}
		if p.Live != packs[p.ID] {
			return fmt.Errorf("pack %+v has %d live bytes", p, packs[p.ID])
		}
		delete(packs, p.ID)
	}
	if len(chunks)+len(packs) > 0 {
		return fmt.Errorf("chunks lie in frames that are not known %v, or frames in such packs %v", chunks, packs)
	}
	return nil
}
