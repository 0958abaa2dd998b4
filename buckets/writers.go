package buckets

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A Writer makes pointers to chunks of one domain, and keeps what it has found
// stored there from being collected. All of its look-ups are hits with Since, and
// each transaction that makes its pointers durable calls passBarrier. One
// goroutine at a time may call its methods.
type Writer struct {
	s      *Store
	domain string
	reg    *registration
	// removals was counted before the first look-up that the writer relies on.
	removals uint64
	came     int64 // bytes that have been read for it
}

// shareTime is how long others join a registration. It bounds how far their
// begin lies in the past, and so how long what they do not need is kept.
const shareTime = time.Second

// writers are the registrations of this process.
type writers struct {
	mu sync.Mutex
	// newest is the registration of each domain that others may join.
	newest map[string]*registration // mu
	// left are those that could not be removed yet.
	left []*registration // mu
	// all are those that were made and not removed.
	all map[*registration]bool // mu
}

// A registration keeps the floor of a domain from rising above its begin. All
// writers share it that begin soon after it, while one of them works.
type registration struct {
	manifest.Writer
	domain   string
	removals uint64 // counted before anybody has joined
	at       time.Time
	users    int           // guarded by writers.mu
	made     chan struct{} // closed when what stands above, or err, is known
	err      error
}

// beginWriter begins a writer. The caller ends it after its last commit.
func (s *Store) beginWriter(ctx context.Context, domain string) (*Writer, error) {
	return s.joinWriters(ctx, domain, 0)
}

// joinWriters begins a writer in the epoch least or later.
func (s *Store) joinWriters(ctx context.Context, domain string, least uint64) (*Writer, error) {
	w := &s.writers
	for {
		w.mu.Lock()
		r := w.newest[domain]
		if r == nil || s.clock.machine().Sub(r.at) > shareTime {
			r = &registration{domain: domain, at: s.clock.machine(), users: 1, made: make(chan struct{})}
			w.newest[domain] = r
			w.mu.Unlock()
			return s.register(ctx, r)
		}
		r.users++
		w.mu.Unlock()
		select {
		case <-r.made:
		case <-ctx.Done():
		}
		if err := ctx.Err(); err != nil {
			s.leave(ctx, r)
			return nil, err
		}
		if r.err == nil && r.Begin >= least {
			return &Writer{s: s, domain: domain, reg: r, removals: r.removals}, nil
		}
		// It was made for another, whose context may be done, or too early.
		w.forget(r)
		s.leave(ctx, r)
	}
}

// register makes a registration whose first user the caller is.
func (s *Store) register(ctx context.Context, r *registration) (*Writer, error) {
	defer close(r.made)
	if r.removals, r.err = s.meta.Removals(ctx, r.domain); r.err == nil {
		r.Writer, r.err = s.meta.Register(ctx, r.domain)
	}
	if r.err != nil {
		s.writers.forget(r)
		return nil, WrapSpace(r.err)
	}
	s.writers.mu.Lock()
	defer s.writers.mu.Unlock()
	s.writers.all[r] = true
	return &Writer{s: s, domain: r.domain, reg: r, removals: r.removals}, nil
}

// forget lets nobody join a registration any more.
func (w *writers) forget(r *registration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.newest[r.domain] == r {
		delete(w.newest, r.domain)
	}
}

// leave ends one use of a registration, and removes it after the last. One that
// cannot be removed now is removed with a later one: until then the floor waits.
func (s *Store) leave(ctx context.Context, r *registration) {
	w := &s.writers
	w.mu.Lock()
	if r.users--; r.users > 0 {
		w.mu.Unlock()
		return
	}
	if w.newest[r.domain] == r {
		delete(w.newest, r.domain)
	}
	w.left = append(w.left, r)
	w.mu.Unlock()
	if err := s.dropLeft(context.WithoutCancel(ctx)); err != nil && s.life.Err() == nil {
		s.log.Warn("collection waits for a writer that has ended", "backend", r.domain, "error", err)
	}
}

// dropLeft removes the registrations whose writers have ended. A collection calls
// it before it looks at who is registered: when there was no space, some may be
// left.
func (s *Store) dropLeft(ctx context.Context) error {
	w := &s.writers
	w.mu.Lock()
	over := w.left
	w.left = nil
	w.mu.Unlock()
	for i, r := range over {
		if err := s.meta.Unregister(ctx, r.domain, r.ID); err != nil {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.left = append(w.left, over[i:]...)
			return err
		}
		w.mu.Lock()
		delete(w.all, r)
		w.mu.Unlock()
	}
	return nil
}

// dropWriters removes all registrations, when nothing can be made durable any more: the
// floor would wait for what Close has ended.
func (s *Store) dropWriters(ctx context.Context) {
	w := &s.writers
	w.mu.Lock()
	all := slices.Collect(maps.Keys(w.all))
	w.mu.Unlock()
	for _, r := range all {
		if err := s.meta.Unregister(ctx, r.domain, r.ID); err != nil {
			s.log.Warn("collection waits for a writer that has ended", "backend", r.domain, "error", err)
			return // as where the database is away
		}
	}
}

// Since is the epoch that the writer's look-ups are made with.
func (w *Writer) Since() uint64 { return w.reg.Begin }

// End ends the writer. It makes no pointers any more.
func (w *Writer) End(ctx context.Context) { w.s.leave(ctx, w.reg) }

// errPassedBy reports that what a writer has looked up may not be stored any more.
var errPassedBy = errors.New("stored chunks were removed meanwhile")

// passBarrier is called in each transaction that makes pointers of the writer
// durable. If it returns errPassedBy, the transaction must be given up, and tried
// again after renew and a look-up of all that the writer points to.
func (w *Writer) passBarrier(ctx context.Context, tx manifest.Tx) error {
	at, err := tx.Barrier(ctx, w.domain)
	if err == nil && (at.Floor > w.Since() || at.Removals != w.removals) {
		err = errPassedBy
	}
	return err
}

// renew makes the writer begin again, where it was passed by. All that it has
// looked up before must be looked up again.
func (w *Writer) renew(ctx context.Context) error {
	removals, err := w.s.meta.Removals(ctx, w.domain)
	if err != nil {
		return err
	}
	floor, err := w.s.meta.Floor(ctx, w.domain)
	if err != nil {
		return err
	}
	if w.removals = removals; floor <= w.Since() {
		return nil
	}
	next, err := w.s.joinWriters(ctx, w.domain, floor)
	if err != nil {
		return err
	}
	w.reg, next.reg = next.reg, w.reg
	next.End(ctx)
	return nil
}

// moveTo makes the writer one of another domain, by what has begun there.
func (w *Writer) moveTo(ctx context.Context, next *Writer) {
	old := *w
	*w = *next
	old.End(ctx)
}

// lookUp looks ds up again: ErrChunksGone if some are not stored.
func (w *Writer) lookUp(ctx context.Context, ds []cas.Digest) error {
	missing, err := w.s.chunks[w.domain].Hit(ctx, w.Since(), ds)
	if err == nil && len(missing) > 0 {
		err = fmt.Errorf("%d chunks, %s among them: %w", len(missing), missing[0], ErrChunksGone)
	}
	return err
}

// lookUpRefs is lookUp for references.
func (w *Writer) lookUpRefs(ctx context.Context, refs []cas.Ref) error {
	for part := range slices.Chunk(refs, recheckDigests) {
		ds := make([]cas.Digest, len(part))
		for i, r := range part {
			ds[i] = r.Digest
		}
		if err := w.lookUp(ctx, ds); err != nil {
			return err
		}
	}
	return nil
}
