package sim

import (
	"context"
	"iter"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A process is one opening of the store. Everything that it calls goes through it.
type process struct {
	s       *scheduler
	crashed atomic.Bool
	changes atomic.Int64 // calls that had an effect
	deletes atomic.Int64 // of packs
}

// change makes a call that changes something. The caller stops before it, and
// again before it learns how it went.
func (p *process) change(ctx context.Context, what string, call func() error) error {
	v := p.s.pause(ctx, p, what, change)
	switch v {
	case failBefore:
		return errInjected
	case crashed:
		return errCrashed
	}
	err := call()
	switch what { // of others no invariant tells
	case "delete":
		p.deletes.Add(1)
		p.changes.Add(1)
	case "apply", "update", "put segments", "drop":
		p.changes.Add(1)
	}
	switch end := p.s.pause(ctx, p, what+" done", certain); {
	case end == crashed:
		return errCrashed
	case err == nil && v == failAfter:
		return errInjected
	}
	return err
}

// look makes a call that only reads.
func (p *process) look(ctx context.Context, what string, call func() error) error {
	switch p.s.pause(ctx, p, what, look) {
	case failBefore:
		return errInjected
	case crashed:
		return errCrashed
	}
	return call()
}

// lookFor is look for a call that returns a value.
func lookFor[V any](ctx context.Context, p *process, what string, call func() (V, error)) (v V, err error) {
	err = p.look(ctx, what, func() (err error) {
		v, err = call()
		return err
	})
	return v, err
}

// lookAt yields rows, and stops before the first and then every few.
func lookAt[V any](ctx context.Context, p *process, what string, rows iter.Seq2[V, error]) iter.Seq2[V, error] {
	return func(yield func(V, error) bool) {
		n := 0
		if err := p.look(ctx, what, func() error { return nil }); err != nil {
			var none V
			yield(none, err)
			return
		}
		for v, err := range rows {
			if !yield(v, err) {
				return
			}
			if n++; n%8 > 0 {
				continue
			}
			if err := p.look(ctx, what+" goes on", func() error { return nil }); err != nil {
				var none V
				yield(none, err)
				return
			}
		}
	}
}

// An index is the index of a domain as a process sees it.
type index struct {
	cas.Index
	p *process
}

func (x *index) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	return x.p.look(ctx, "chunks", func() error { return x.Index.Chunks(ctx, ds, out) })
}

func (x *index) Hit(ctx context.Context, since uint64, ds []cas.Digest, out []cas.ChunkEntry) error {
	return x.p.change(ctx, "hit", func() error { return x.Index.Hit(ctx, since, ds, out) })
}

func (x *index) Frames(ctx context.Context, ids []cas.FrameID, out []cas.FrameEntry) error {
	return x.p.look(ctx, "frames", func() error { return x.Index.Frames(ctx, ids, out) })
}

func (x *index) PackFrames(ctx context.Context, id cas.PackID) iter.Seq2[cas.FrameEntry, error] {
	return lookAt(ctx, x.p, "frames of pack", x.Index.PackFrames(ctx, id))
}

func (x *index) Apply(ctx context.Context, c *cas.Change) error {
	return x.p.change(ctx, "apply", func() error { return x.Index.Apply(ctx, c) })
}

func (x *index) AllChunks(ctx context.Context) iter.Seq2[cas.ChunkEntry, error] {
	return lookAt(ctx, x.p, "all chunks", x.Index.AllChunks(ctx))
}

func (x *index) AllFrames(ctx context.Context) iter.Seq2[cas.FrameEntry, error] {
	return lookAt(ctx, x.p, "all frames", x.Index.AllFrames(ctx))
}

func (x *index) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	return lookAt(ctx, x.p, "all packs", x.Index.AllPacks(ctx))
}

func (x *index) Removals(ctx context.Context) (uint64, error) {
	return lookFor(ctx, x.p, "removals", func() (uint64, error) { return x.Index.Removals(ctx) })
}

func (x *index) Epoch(ctx context.Context) (uint64, error) {
	return lookFor(ctx, x.p, "epoch", func() (uint64, error) { return x.Index.Epoch(ctx) })
}

// A store is the metadata store as a process sees it.
type store struct {
	manifest.Store
	p      *process
	leases sync.Map // by domain, the latest
}

func (s *store) Update(ctx context.Context, domain string, fn func(tx manifest.Tx) error) (c *manifest.Commit, err error) {
	injected := s.p.change(ctx, "update", func() error {
		c, err = s.Store.Update(ctx, domain, fn)
		return nil
	})
	if injected != nil {
		return c, injected
	}
	return c, err
}

func (s *store) LastCommit(ctx context.Context) (uint64, error) {
	return lookFor(ctx, s.p, "last commit", func() (uint64, error) { return s.Store.LastCommit(ctx) })
}

func (s *store) TakeNumber(ctx context.Context) (n uint64, err error) {
	err = s.p.change(ctx, "take number", func() (err error) {
		n, err = s.Store.TakeNumber(ctx)
		return err
	})
	return n, err
}

func (s *store) Unwritten(ctx context.Context) iter.Seq2[*manifest.Commit, error] {
	return lookAt(ctx, s.p, "unwritten", s.Store.Unwritten(ctx))
}

func (s *store) Written(ctx context.Context, seqs ...uint64) error {
	return s.p.change(ctx, "written", func() error { return s.Store.Written(ctx, seqs...) })
}

func (s *store) Epoch(ctx context.Context, domain string) (uint64, error) {
	return lookFor(ctx, s.p, "epoch", func() (uint64, error) { return s.Store.Epoch(ctx, domain) })
}

func (s *store) NextEpoch(ctx context.Context, domain string) (n uint64, err error) {
	err = s.p.change(ctx, "next epoch", func() (err error) {
		n, err = s.Store.NextEpoch(ctx, domain)
		return err
	})
	return n, err
}

func (s *store) Floor(ctx context.Context, domain string) (uint64, error) {
	return lookFor(ctx, s.p, "floor", func() (uint64, error) { return s.Store.Floor(ctx, domain) })
}

func (s *store) Removals(ctx context.Context, domain string) (uint64, error) {
	return lookFor(ctx, s.p, "removals", func() (uint64, error) { return s.Store.Removals(ctx, domain) })
}

func (s *store) Register(ctx context.Context, domain string) (w manifest.Writer, err error) {
	err = s.p.change(ctx, "register", func() (err error) {
		w, err = s.Store.Register(ctx, domain)
		return err
	})
	return w, err
}

func (s *store) Unregister(ctx context.Context, domain string, id manifest.WriterID) error {
	return s.p.change(ctx, "unregister", func() error { return s.Store.Unregister(ctx, domain, id) })
}

func (s *store) Writers(ctx context.Context, domain string) ([]manifest.Writer, error) {
	return lookFor(ctx, s.p, "writers", func() ([]manifest.Writer, error) { return s.Store.Writers(ctx, domain) })
}

func (s *store) Roots(ctx context.Context, domain string) iter.Seq2[*manifest.Root, error] {
	return lookAt(ctx, s.p, "roots", s.Store.Roots(ctx, domain))
}

func (s *store) SetLatestTime(ctx context.Context, t time.Time) error {
	return s.p.change(ctx, "set time", func() error { return s.Store.SetLatestTime(ctx, t) })
}

func (s *store) Segments(domain string) manifest.Segments {
	return &segments{s.Store.Segments(domain), s.p}
}

// Segments as a process sees them.
type segments struct {
	below manifest.Segments
	p     *process
}

func (s *segments) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	return lookFor(ctx, s.p, "segments", func() ([][]byte, error) { return s.below.Segments(ctx, ds) })
}

func (s *segments) PutSegments(ctx context.Context, segs []manifest.Segment) error {
	return s.p.change(ctx, "put segments", func() error { return s.below.PutSegments(ctx, segs) })
}
