package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/check"
	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/internal/crashfs"
	"github.com/cairn-store/cairn/manifest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// A world is all that outlives a process, the process that runs now, and what its
// actors know.
type world struct {
	plan
	s      *scheduler
	rng    *rand.Rand // of the scheduler's own decisions beside steps
	work   *rand.Rand // of the collector
	actors []*actor
	pool   [][]byte // blocks that files are made of

	mu       sync.Mutex // guards contents
	contents map[uint64][]byte
	shared   *shared // files that several clients change
	host     *host

	dir   string // of the database
	fs    *crashfs.FS
	disks map[string]*disk
	now   atomic.Int64 // the clock, in ms

	// Of the process.
	p       *process
	db      *pebblestore.DB
	chunks  map[string]*cas.Store
	meta    *store // db, as the process sees it
	store   *buckets.Store
	uploads *upload.Uploads
	checker *checker
	checked int64 // changes of the process that the checker has seen
	deletes int64 // of the process that a crash may follow
	crashAt int64 // the step of the next crash
	crashed int   // how many there were
}

const domainA, domainB = "near", "far"

// recordWindow is how long files that records had stay in the trash.
const recordWindow = time.Minute

func newWorld(p plan) *world {
	w := &world{plan: p, s: newScheduler(p.seed), rng: rand.New(rand.NewPCG(p.seed, 2)), work: rand.New(rand.NewPCG(p.seed, 3)), contents: make(map[uint64][]byte), dir: "meta", fs: crashfs.New(),
		disks: map[string]*disk{domainA: newDisk(p.seed)}}
	if p.moves {
		w.disks[domainB] = newDisk(p.seed + 1)
	}
	w.s.faults, w.s.limit, w.s.slow, w.s.hurried = p.faults, p.steps, p.slow, p.hurried
	w.shared = newShared(w)
	w.host = newHost(w)
	w.now.Store(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	var key [32]byte
	key[0] = 1
	bytes := rand.NewChaCha8(key)
	for i := range 10 {
		b := make([]byte, 6<<10+i*3<<10)
		bytes.Read(b)
		w.pool = append(w.pool, b)
	}
	for i := range p.actors {
		w.actors = append(w.actors, newActor(w, i+1))
	}
	return w
}

func storeID() [16]byte { return [16]byte{1} }

func domainIDs() map[string][16]byte { return map[string][16]byte{domainA: {2}, domainB: {3}} }

// open opens the store in a new process.
func (w *world) open(ctx context.Context) error {
	w.p, w.deletes = &process{s: w.s}, 0
	if err := w.openDatabase(ctx); err != nil {
		return err
	}
	policies := map[string]buckets.Policy{"b": {Profile: "fine", UploadExpiry: time.Hour},
		recordBucket: {Profile: "fine", Versions: buckets.Versions{Keep: 1}, Trash: buckets.Trash{KeepFor: recordWindow}}}
	for name, p := range policies {
		p.Domain = domainA
		if home, err := w.db.Home(ctx, name); err == nil && home.Domain != "" {
			p.Domain = home.Domain
		}
		policies[name] = p
	}
	w.meta = &store{Store: w.db, p: w.p}
	var err error
	w.store, err = buckets.New(ctx, w.meta, w.chunks, policies, &buckets.Options{Now: w.clock})
	w.uploads = upload.New()
	return err
}

// openDatabase opens the database and the chunk stores over it.
func (w *world) openDatabase(ctx context.Context) (err error) {
	if w.db, err = pebblestore.Open(w.dir, &pebblestore.Options{FS: w.fs.VFS(), CacheBytes: 1 << 20}); err != nil {
		return err
	}
	w.checker = &checker{w: w}
	if err := w.db.SetIdentity(ctx, storeID(), domainIDs()); err != nil {
		return err
	}
	w.chunks = make(map[string]*cas.Store)
	for _, domain := range w.domains() {
		o := &cas.Options{PackSize: 48 << 10, CacheBytes: 1 << 20, Store: storeID(), Domain: domainIDs()[domain], Exclusive: true,
			Codecs: map[cas.Codec]cas.FrameCodec{toy: toyCodec{}}}
		if w.chunks[domain], err = cas.Open(ctx, &diskClient{w.disks[domain], w.p, w.late, w.aimed}, &index{w.db.Index(domain), w.p}, o); err != nil {
			return err
		}
	}
	return nil
}

// loseDatabase makes the database anew from the packs.
func (w *world) loseDatabase(ctx context.Context) error {
	w.p = &process{s: w.s}
	w.dir += "+"
	if err := w.openDatabase(ctx); err != nil {
		return err
	}
	s := &check.Store{Meta: w.db}
	for _, domain := range w.domains() {
		s.Domains = append(s.Domains, &check.Domain{Name: domain, Chunks: w.chunks[domain]})
	}
	if err := s.Rebuild(ctx); err != nil {
		return err
	}
	for _, c := range w.chunks {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return w.db.Close()
}

// domains are the names of the domains, in order.
func (w *world) domains() []string { return slices.Sorted(maps.Keys(w.disks)) }

func (w *world) clock() time.Time { return time.UnixMilli(w.now.Load()) }

func (w *world) bucket() *buckets.Bucket {
	b, err := w.store.Bucket("b")
	if err != nil {
		panic(err)
	}
	return b
}

// run runs the whole of a seed.
func (w *world) run(ctx context.Context) (err error) {
	w.s.free.Store(true)
	faults := w.s.faults
	w.s.faults = 0
	if err := w.open(ctx); err != nil {
		return fmt.Errorf("open: %w", err)
	}
	if err := w.prepare(ctx); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	for {
		w.s.settle() // what the store does in the background has come to rest
		w.s.faults = faults
		w.s.free.Store(false)
		err := w.runProcess(ctx)
		w.s.free.Store(true)
		w.s.faults = 0
		if err != nil {
			return err
		}
		if !w.p.crashed.Load() {
			break
		}
		w.store.Close() // every call of it fails
		w.shared.history.Crash()
		if w.rebuild && (w.aimed || w.rng.IntN(2) == 0) {
			if err := w.loseDatabase(ctx); err != nil {
				return fmt.Errorf("rebuild: %w", err)
			}
		}
		if err := w.open(ctx); err != nil {
			return fmt.Errorf("open after a crash: %w", err)
		}
		w.checked = -1
		if err := w.checker.check(ctx); err != nil {
			return fmt.Errorf("after a crash: %w", err)
		}
	}
	err = w.finish(ctx)
	if cerr := w.store.Close(); faults == 0 {
		err = errors.Join(err, cerr) // else a pack may be given up
	}
	return errors.Join(err, w.db.Close())
}

// runProcess runs the actors until the steps are used up, or the process crashes.
func (w *world) runProcess(ctx context.Context) error {
	var running atomic.Int32
	var failed error
	var once sync.Once
	for _, work := range w.workers() {
		running.Add(1)
		go func() {
			defer running.Add(-1)
			for w.s.steps.Load() < int64(w.s.limit) && !w.p.crashed.Load() {
				if err := work(ctx); err != nil {
					once.Do(func() { failed = err })
					return
				}
			}
		}()
	}
	err := w.s.run(func() bool { return running.Load() == 0 }, func() error {
		if failed != nil {
			return failed
		}
		return w.each(ctx)
	})
	return errors.Join(err, failed)
}

// collector is the actor that collects.
const collector = 80

// workers are the bodies of the goroutines that work side by side.
func (w *world) workers() (out []func(context.Context) error) {
	for _, a := range w.actors {
		out = append(out, func(ctx context.Context) error { return a.act(asActor(ctx, a.id)) })
	}
	for id := range w.clients {
		out = append(out, func(ctx context.Context) error { return w.shared.makeCall(asActor(ctx, 60+id), id) })
	}
	out = append(out, func(ctx context.Context) error { return w.collect(asActor(ctx, collector)) })
	if w.rivals {
		rival := w.newRival()
		out = append(out, func(ctx context.Context) error { return w.compete(asActor(ctx, 81), rival) })
	}
	if w.records {
		out = append(out, func(ctx context.Context) error { return w.host.act(asActor(ctx, 70)) })
	}
	if w.damage {
		out = append(out, func(ctx context.Context) error { return w.hurt(asActor(ctx, 92)) })
	}
	if w.moves {
		out = append(out, func(ctx context.Context) error { return w.move(asActor(ctx, 90)) })
	}
	return append(out, func(ctx context.Context) error { return w.sweep(asActor(ctx, 91)) })
}

// collect makes one collection. One that fails is made again later.
func (w *world) collect(ctx context.Context) error {
	o := &collect.Options{Full: w.work.IntN(3) == 0}
	if w.work.IntN(2) == 0 {
		o.MaxWriterAge = 1 // every writer is passed by
	}
	w.store.Collect(ctx, o)
	return w.rest(ctx)
}

// newRival returns a collector as of another server on the same metadata. It
// deletes no packs, since the store knows nothing of its transactions.
func (w *world) newRival() *collect.Collector {
	errAlien := errors.New("sim: a rival dooms nothing")
	return collect.NewCollector(&collect.Store{Meta: w.meta, Chunks: w.chunks, Now: w.clock, Log: slog.New(slog.DiscardHandler),
		Settle: func(context.Context) error { return errAlien },
		Update: func(context.Context, string, func(manifest.Tx) error) error { return errAlien }})
}

// compete takes the lease away from a collector that works, and collects.
func (w *world) compete(ctx context.Context, rival *collect.Collector) error {
	if err := w.rest(ctx); err != nil {
		return err
	}
	if w.s.pause(ctx, w.p, "lapse", certain) == crashed {
		return nil
	}
	if err := w.meta.lapseLease(ctx, domainA); err != nil {
		return err
	}
	rival.Run(ctx, &collect.Options{MaxWriterAge: 1})
	return nil
}

func (w *world) move(ctx context.Context) error {
	name := "b"
	if w.records && w.work.IntN(2) == 0 {
		name = recordBucket
	}
	home, err := w.db.Home(ctx, name)
	if err != nil {
		return err
	}
	to := domainA
	if home.Domain == domainA {
		to = domainB
	}
	w.store.Migrate(ctx, name, to, nil) // what a failed one leaves, the next one ends
	return w.rest(ctx)
}

func (w *world) sweep(ctx context.Context) error {
	w.store.Sweep(ctx)
	for range 5 {
		if err := w.rest(ctx); err != nil {
			return err
		}
	}
	return nil
}

// rest lets others go on for a while.
func (w *world) rest(ctx context.Context) error {
	w.s.pauseFor(ctx, w.p, "rest", certain, 40)
	return nil
}

// finish compares what there is with what was acknowledged, when all is quiet.
func (w *world) finish(ctx context.Context) error {
	for _, d := range w.domains() {
		for w.disks[d].deliverLate(w.rng) {
		}
	}
	if err := w.checker.check(ctx); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if err := w.checker.recount(ctx); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if _, err := w.store.Collect(ctx, &collect.Options{Full: true}); err != nil {
		return fmt.Errorf("at the end: %w", err)
	}
	if err := w.checker.check(ctx); err != nil {
		return fmt.Errorf("collected at the end: %w", err)
	}
	for _, a := range w.actors {
		for _, f := range a.files {
			if err := a.verify(ctx, f); err != nil {
				return fmt.Errorf("at the end: %w", err)
			}
		}
	}
	if err := w.shared.check(); err != nil {
		return err
	}
	if w.records {
		if err := w.host.finish(ctx); err != nil {
			return fmt.Errorf("records at the end: %w", err)
		}
	}
	if w.seed%4 == 0 {
		if err := w.emptyAll(ctx); err != nil {
			return fmt.Errorf("emptied at the end: %w", err)
		}
	}
	return nil
}

// emptyAll purges everything: then collections leave no chunk.
func (w *world) emptyAll(ctx context.Context) error {
	for _, state := range []buckets.State{buckets.Active, buckets.Trashed} {
		for _, b := range []*buckets.Bucket{w.bucket(), w.host.bucket()} {
			for f, err := range b.List(ctx, &buckets.ListOptions{State: state}) {
				if err == nil {
					err = b.Purge(ctx, f.ID, nil)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	w.now.Add((2 * time.Hour).Milliseconds())
	if _, err := w.store.Sweep(ctx); err != nil {
		return err
	}
	for range 3 {
		if _, err := w.store.Collect(ctx, &collect.Options{Full: true, MaxWriterAge: 1}); err != nil {
			return err
		}
	}
	for _, domain := range w.domains() {
		for e, err := range w.db.Index(domain).AllChunks(ctx) {
			if err != nil {
				return err
			}
			return fmt.Errorf("%s: chunk %s is left, though nothing needs it", domain, e.Digest)
		}
	}
	return w.checker.recount(ctx)
}

// readAll reads the current version of a file.
func (w *world) readAll(ctx context.Context, id string, opts *buckets.GetOptions) ([]byte, error) {
	o, err := w.bucket().Open(ctx, id, opts)
	if err != nil {
		return nil, err
	}
	defer o.Close()
	return io.ReadAll(o)
}
