package collect_test

import (
	"cmp"
	"context"
	"iter"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A steppedMeta counts the calls of what a collector asks of the database.
type steppedMeta struct {
	manifest.Store
	s *steps
}

func (m steppedMeta) TakeLease(ctx context.Context, domain string, length time.Duration) (l manifest.Lease, err error) {
	err = m.s.run("take the lease", func() (err error) { l, err = m.Store.TakeLease(ctx, domain, length); return err })
	if err == nil {
		m.s.lease = l
	}
	return l, err
}

func (m steppedMeta) Segments(domain string) manifest.Segments {
	return steppedSegments{m.Store.Segments(domain), m.s}
}

type steppedSegments struct {
	segs manifest.Segments
	s    *steps
}

func (g steppedSegments) PutSegments(ctx context.Context, segs []manifest.Segment) error {
	return g.segs.PutSegments(ctx, segs)
}

func (g steppedSegments) Segments(ctx context.Context, ds []cas.Digest) (out [][]byte, err error) {
	err = g.s.run("segments", func() (err error) { out, err = g.segs.Segments(ctx, ds); return err })
	for i := range out {
		if ds[i] == g.s.hidden {
			out[i] = nil
		}
	}
	return out, err
}

func (m steppedMeta) ReleaseLease(ctx context.Context, l manifest.Lease) error {
	return m.s.run("release the lease", func() error { return m.Store.ReleaseLease(ctx, l) })
}

func (m steppedMeta) NextEpoch(ctx context.Context, domain string) (n uint64, err error) {
	err = m.s.run("raise the epoch", func() (err error) { n, err = m.Store.NextEpoch(ctx, domain); return err })
	return n, err
}

func (m steppedMeta) Writers(ctx context.Context, domain string) (ws []manifest.Writer, err error) {
	err = m.s.run("list writers", func() (err error) { ws, err = m.Store.Writers(ctx, domain); return err })
	return ws, err
}

func (m steppedMeta) RaiseFloor(ctx context.Context, l manifest.Lease, floor uint64) error {
	return m.s.run("raise the floor", func() error { return m.Store.RaiseFloor(ctx, l, floor) })
}

func (m steppedMeta) Floor(ctx context.Context, domain string) (n uint64, err error) {
	err = m.s.run("read the floor", func() (err error) { n, err = m.Store.Floor(ctx, domain); return err })
	return n, err
}

func (m steppedMeta) Roots(ctx context.Context, domain string) iter.Seq2[*manifest.Root, error] {
	return stepThrough(m.s, "roots", m.Store.Roots(ctx, domain))
}

func (m steppedMeta) Graves(ctx context.Context, domain string) iter.Seq2[*manifest.Grave, error] {
	return stepThrough(m.s, "graves", m.Store.Graves(ctx, domain))
}

func (m steppedMeta) DropGraves(ctx context.Context, domain string, ids []manifest.GraveID) error {
	return m.s.run("drop graves", func() error { return m.Store.DropGraves(ctx, domain, ids) })
}

func (m steppedMeta) AddCharges(ctx context.Context, domain string, cs []manifest.Charge) error {
	return m.s.run("add charges", func() error { return m.Store.AddCharges(ctx, domain, cs) })
}

func (m steppedMeta) ChargesOf(ctx context.Context, domain string, id cas.PackID, limit int) (cs []manifest.Charge, err error) {
	err = m.s.run("read charges", func() (err error) { cs, err = m.Store.ChargesOf(ctx, domain, id, limit); return err })
	return cs, err
}

func (m steppedMeta) AddFreed(ctx context.Context, domain string, es []manifest.Freed, charges []manifest.Charge) error {
	m.s.mostEntered = max(m.s.mostEntered, len(es), len(charges))
	return m.s.run("enter into the ledger", func() error { return m.Store.AddFreed(ctx, domain, es, charges) })
}

func (m steppedMeta) TrimLedger(ctx context.Context, keep int) error {
	return m.s.run("trim the ledger", func() error { return m.Store.TrimLedger(ctx, keep) })
}

func (m steppedMeta) Ledger(ctx context.Context) iter.Seq2[*manifest.Freed, error] {
	return stepThrough(m.s, "ledger", m.Store.Ledger(ctx))
}

func (m steppedMeta) Checkpoint(ctx context.Context, domain string) (n uint64, err error) {
	err = m.s.run("read the checkpoint", func() (err error) { n, err = m.Store.Checkpoint(ctx, domain); return err })
	return n, err
}

// AllRows counts each row.
func (m steppedMeta) AllRows(ctx context.Context, bucket string) iter.Seq2[*manifest.Row, error] {
	return func(yield func(*manifest.Row, error) bool) {
		for row, err := range m.Store.AllRows(ctx, bucket) {
			if killed := m.s.run("row", func() error { return nil }); killed != nil {
				yield(nil, killed)
				return
			}
			if !yield(row, err) {
				return
			}
		}
	}
}

func (m steppedMeta) Homes(ctx context.Context) (hs []*manifest.Home, err error) {
	err = m.s.run("homes", func() (err error) { hs, err = m.Store.Homes(ctx); return err })
	return hs, err
}

func (m steppedMeta) Dead(ctx context.Context, domain string) (cs []*manifest.Census, err error) {
	err = m.s.run("census", func() (err error) { cs, err = m.Store.Dead(ctx, domain); return err })
	return cs, err
}

func (m steppedMeta) SetCheckpoint(ctx context.Context, domain string, base uint64) error {
	return m.s.run("set the checkpoint", func() error { return m.Store.SetCheckpoint(ctx, domain, base) })
}

func (m steppedMeta) DropMarks(ctx context.Context, upTo uint64, limit int) (more bool, err error) {
	m.s.mostMarks = max(m.s.mostMarks, limit)
	if m.s.fewMarks > 0 {
		limit = min(limit, m.s.fewMarks)
	}
	err = m.s.run("drop marks", func() (err error) { more, err = m.Store.DropMarks(ctx, upTo, limit); return err })
	return more, err
}

func (m steppedMeta) TakeNumber(ctx context.Context) (n uint64, err error) {
	err = m.s.run("take a number", func() (err error) { n, err = m.Store.TakeNumber(ctx); return err })
	return n, err
}

func (m steppedMeta) LastCommit(ctx context.Context) (n uint64, err error) {
	err = m.s.run("read the last commit", func() (err error) { n, err = m.Store.LastCommit(ctx); return err })
	return n, err
}

func (m steppedMeta) Update(ctx context.Context, domain string, fn func(tx manifest.Tx) error) (c *manifest.Commit, err error) {
	err = m.s.run("update", func() (err error) { c, err = m.Store.Update(ctx, domain, fn); return err })
	if c != nil {
		rs, recordsErr := c.Records()
		err = cmp.Or(err, recordsErr)
		doomed := 0
		for i := range rs {
			if rs[i].Doomed != nil {
				doomed++
			}
		}
		m.s.noteMost(0, doomed)
	}
	return c, err
}

func (m steppedMeta) Unwritten(ctx context.Context) iter.Seq2[*manifest.Commit, error] {
	return stepThrough(m.s, "unwritten", m.Store.Unwritten(ctx))
}

func (m steppedMeta) Written(ctx context.Context, seqs ...uint64) error {
	return m.s.run("note what is written", func() error { return m.Store.Written(ctx, seqs...) })
}

// stepThrough counts the beginning of a sequence.
func stepThrough[T any](s *steps, what string, seq iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var zero T
		if err := s.run(what, func() error { return nil }); err != nil {
			yield(zero, err)
			return
		}
		seq(yield)
	}
}

type steppedIndex struct {
	cas.Index
	s     *steps
	blind bool // Hit finds nothing
}

func (x steppedIndex) Hit(ctx context.Context, since uint64, ds []cas.Digest, out []cas.ChunkEntry) error {
	if x.blind {
		clear(out)
		return nil
	}
	return x.Index.Hit(ctx, since, ds, out)
}

func (x steppedIndex) Chunks(ctx context.Context, ds []cas.Digest, out []cas.ChunkEntry) error {
	err := x.Index.Chunks(ctx, ds, out)
	for i := range ds {
		if x.s.lost && ds[i] == x.s.hidden {
			out[i] = cas.ChunkEntry{}
		}
	}
	return err
}

func (x steppedIndex) Apply(ctx context.Context, c *cas.Change) error {
	x.s.noteMost(len(c.Drop), 0)
	what := "apply"
	if c.Collector != 0 {
		what = "drop"
	}
	return x.s.run(what, func() error { return x.Index.Apply(ctx, c) })
}

func (x steppedIndex) Frames(ctx context.Context, ids []cas.FrameID, out []cas.FrameEntry) error {
	return x.s.run("frames", func() error { return x.Index.Frames(ctx, ids, out) })
}

func (x steppedIndex) AllChunks(ctx context.Context) iter.Seq2[cas.ChunkEntry, error] {
	return stepThrough(x.s, "chunks", x.Index.AllChunks(ctx))
}

func (x steppedIndex) AllPacks(ctx context.Context) iter.Seq2[cas.PackEntry, error] {
	return stepThrough(x.s, "packs", x.Index.AllPacks(ctx))
}

type steppedBackend struct {
	backend.Backend
	s *steps
}

func (b steppedBackend) Create(ctx context.Context, key string) (w backend.Writer, err error) {
	err = b.s.run("create", func() (err error) { w, err = b.Backend.Create(ctx, key); return err })
	if err != nil {
		return nil, err
	}
	return steppedWriter{w, b.s}, nil
}

func (b steppedBackend) Append(ctx context.Context, key string) (w backend.Writer, n int64, err error) {
	err = b.s.run("append", func() (err error) { w, n, err = b.Backend.Append(ctx, key); return err })
	if err != nil {
		return nil, 0, err
	}
	return steppedWriter{w, b.s}, n, nil
}

func (b steppedBackend) ReadAt(ctx context.Context, key string, p []byte, off int64) error {
	return b.s.run("read", func() error { return b.Backend.ReadAt(ctx, key, p, off) })
}

func (b steppedBackend) Stat(ctx context.Context, key string) (i backend.Info, err error) {
	err = b.s.run("stat", func() (err error) { i, err = b.Backend.Stat(ctx, key); return err })
	return i, err
}

func (b steppedBackend) Delete(ctx context.Context, key string) error {
	return b.s.run("delete", func() error { return b.Backend.Delete(ctx, key) })
}

type steppedWriter struct {
	backend.Writer
	s *steps
}

func (w steppedWriter) Write(p []byte) (n int, err error) {
	err = w.s.run("write", func() (err error) { n, err = w.Writer.Write(p); return err })
	return n, err
}

func (w steppedWriter) Sync() error   { return w.s.run("sync", w.Writer.Sync) }
func (w steppedWriter) Commit() error { return w.s.run("commit", w.Writer.Commit) }
