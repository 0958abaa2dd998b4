package cas

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/cairn-store/cairn/cas/pack"
)

const (
	unitSize  = 1 << 20 // plain bytes that are hashed and looked up together
	mineLimit = 1 << 16 // new chunks that a batch remembers before it waits for the index

	// A last frame of fewer plain bytes joins those of other batches.
	smallTail = 256 << 10
)

// BatchOptions are choices of NewBatch; nil and zero values mean the defaults.
type BatchOptions struct {
	Compression Compression // of frames; zero is none

	// Since is the epoch in which the writer that the batch is for began. All
	// chunks and segments that the batch finds stored are stamped for it, and
	// those that it stores are: see Index.Hit. Whoever makes no pointers to them
	// leaves it 0, and they are safe only until the next collection.
	Since uint64

	// Emit receives the reference of every chunk put, in order, from one
	// goroutine at a time, and all of them before Drain returns.
	Emit func(Ref) error

	// Tap receives the bytes and the digests of all chunks, in order, some at
	// a time, from a goroutine beside those that hash and store. It must not
	// keep or change them.
	Tap func(p []byte, ds []Digest)

	// After is the batch before of the same stream, if there is one: what
	// did not compress there is not expected to here.
	After *Batch
}

// BatchStats tell what a batch has added to the store.
type BatchStats struct {
	Chunks      int64 // put, repeats included
	NewBytes    int64 // plain bytes of chunks that were not stored before
	StoredBytes int64 // what they take in packs
}

// A Batch is the way of one upload into a Store. It gathers chunks in units,
// which are hashed and looked up in the index; the new chunks of a unit join a
// frame, which is encoded and appended to a pack. A smallWriter does this for a
// batch of one unit, a pipeline for more. The memory of a batch is bounded
// whatever is put. One goroutine at a time may call its methods.
type Batch struct {
	s    *Store
	opts BatchOptions
	ctx  context.Context // cancelled when a step fails or the batch or the store is closed
	stop context.CancelCauseFunc
	end  func() bool // gives up what cancels ctx when the store is closed

	unit    *unit      // that Put fills; nil if there is none
	w       unitWriter // nil until the first unit is full or the batch is drained
	drained bool
	err     error // of Drain or Flush; it stays

	// The goroutine that emits units owns what follows; when the writer has
	// drained, the caller does. mine has the new chunks of this batch that the
	// index may not have yet.
	data, segs *frameBuilder
	mine       map[Digest]bool

	// at is what Flush waits for. The goroutine that appends frames owns it;
	// when the writer has drained, the caller does.
	at places

	rawFrames atomic.Int32 // frames in a row that did not compress
	appended  atomic.Int64 // frames of this batch since it last forgot its chunks
	unitsHeld atomic.Int32 // units that take room
	stats     struct{ chunks, newBytes, stored atomic.Int64 }
}

// A unitWriter takes the units of a batch, in order, to the packs.
type unitWriter interface {
	// putUnit takes u over: its chunks are looked up and emitted, and those
	// that are new are handed to putFrame. last says that no unit follows.
	putUnit(u *unit, last bool) error

	// putFrame encodes and appends a frame of new chunks, in the order of
	// calls. The goroutine that emits calls it.
	putFrame(f *newFrame) error

	// waitFor makes Flush wait for a chunk that another batch is writing.
	waitFor(at place) error

	// forgetChunks empties Batch.mine if it can make sure that the index has
	// all of its chunks.
	forgetChunks() error

	// drain returns when all units have been emitted and all frames appended.
	// Nothing of the writer runs any more then.
	drain() error
}

// A newFrame is a frame of chunks that were new when they were looked up.
type newFrame struct {
	kind  Kind
	how   Compression
	plain []byte
	slots []Ref

	// since is Batch.countOthers at the earliest look-up of its chunks.
	since int64

	// unit is what plain is the bytes of; nil if plain is a buffer.
	unit *unit

	e *encoded // once it is encoded
}

// NewBatch begins an upload. ctx governs all of it. The batch must be closed.
func (s *Store) NewBatch(ctx context.Context, opts *BatchOptions) *Batch {
	b := &Batch{s: s, mine: make(map[Digest]bool)}
	if opts != nil {
		b.opts = *opts
	}
	b.ctx, b.stop = context.WithCancelCause(ctx)
	b.end = context.AfterFunc(s.batches, func() { b.stop(ErrClosed) })
	b.data = &frameBuilder{b: b, kind: KindData, how: b.opts.Compression}
	b.segs = &frameBuilder{b: b, kind: KindSegment}
	if a := b.opts.After; a != nil {
		b.rawFrames.Store(a.rawFrames.Load())
		b.opts.After = nil
	}
	return b
}

// Put adds a chunk of at most MaxChunk bytes. It does not keep chunk.
func (b *Batch) Put(chunk []byte) error {
	if len(chunk) == 0 || len(chunk) > MaxChunk {
		return fmt.Errorf("cas: put: chunk of %d bytes", len(chunk))
	}
	if b.unit != nil && !b.unit.fits(chunk) {
		if err := b.sendUnit(); err != nil {
			return err
		}
	}
	if b.unit == nil {
		b.unit = b.s.units.Get().(*unit)
	}
	u := b.unit
	u.buf = append(u.buf, chunk...)
	u.ends = append(u.ends, len(u.buf))
	return nil
}

// sendUnit hands the unit, which others follow, to the pipeline.
func (b *Batch) sendUnit() error {
	if b.w == nil {
		b.w = startPipeline(b)
	}
	u := b.unit
	b.unit = nil
	return b.w.putUnit(u, false)
}

// emitUnit emits the references of u, which has been looked up, and adds its
// new chunks to frames. Units come in order.
func (b *Batch) emitUnit(u *unit) error {
	if u.err != nil {
		return u.err
	}
	whole := b.data.takesWhole(u)
	b.stats.chunks.Add(int64(len(u.ends)))
	for i := range u.ends {
		chunk, found := u.chunk(i), &u.found[i]
		r := Ref{Digest: u.ds[i], Length: uint32(len(chunk))}
		if found.at.pack != nil {
			if err := b.w.waitFor(found.at); err != nil {
				return err
			}
		}
		if !whole && !found.known && !b.mine[r.Digest] {
			if err := b.data.addChunk(r, chunk, u.since); err != nil {
				return err
			}
		}
		if b.opts.Emit != nil {
			if err := b.opts.Emit(r); err != nil {
				return err
			}
		}
	}
	if whole {
		return b.data.sendUnit(u)
	}
	return nil
}

// PutSegment stores an encoded segment and returns its digest. It may be
// called before the first Put, from Emit, or between Drain and Flush.
func (b *Batch) PutSegment(ctx context.Context, p []byte) (Digest, error) {
	d := pack.SumSegment(p)
	if b.mine[d] {
		return d, nil
	}
	if b.w == nil { // before the first Put there may be any number of segments
		b.w = startPipeline(b)
	}
	f, since := make([]found, 1), b.countOthers()
	if err := b.s.pack.findChunks(ctx, b.opts.Since, []Digest{d}, f); err != nil {
		return d, fmt.Errorf("cas: put segment: %w", err)
	}
	if f[0].at.pack != nil {
		if err := b.w.waitFor(f[0].at); err != nil {
			return d, err
		}
	}
	if f[0].known {
		return d, nil
	}
	return d, b.segs.addChunk(Ref{Digest: d, Length: uint32(len(p))}, p, since)
}

// Drain returns when every chunk put has been emitted. After it, only
// PutSegment, Flush, Stats and Close may be called.
func (b *Batch) Drain() error {
	if b.drained {
		return b.err
	}
	b.drained = true
	if b.w == nil {
		b.w = smallWriter{b}
	}
	var err error
	if u := b.unit; u != nil {
		b.unit = nil
		err = b.w.putUnit(u, true)
	}
	if err != nil {
		b.stop(err)
	}
	if derr := b.w.drain(); err == nil {
		err = derr
	}
	b.w = smallWriter{b} // for segments, and for what is left of frames
	if err != nil {
		b.err = fmt.Errorf("cas: batch: %w", b.explain(err))
	}
	return b.err
}

// Flush returns when every chunk and segment put is durable and indexed.
func (b *Batch) Flush() error {
	if err := b.Drain(); err != nil {
		return err
	}
	err := b.data.writeRest()
	if err == nil {
		err = b.segs.writeRest()
	}
	if err == nil {
		err = b.at.wait(b.ctx)
	}
	if err != nil {
		b.err = fmt.Errorf("cas: batch: %w", b.explain(err))
	}
	return b.err
}

// Stats tells what the batch has added; it is exact once Flush has returned.
func (b *Batch) Stats() BatchStats {
	return BatchStats{b.stats.chunks.Load(), b.stats.newBytes.Load(), b.stats.stored.Load()}
}

var errClosed = errors.New("batch is closed")

// Close gives the batch up if it has not been flushed, and frees what it
// holds. Chunks already written stay stored, for whoever brings them again.
func (b *Batch) Close() error {
	b.stop(errClosed)
	b.end()
	if b.w != nil {
		b.w.drain() // what failed has been returned by Drain, or nobody waits for it
		b.w = smallWriter{b}
	}
	return nil
}

// cause is why the batch was cancelled.
func (b *Batch) cause() error { return context.Cause(b.ctx) }

// explain returns err, or why the batch was cancelled if err says only that.
func (b *Batch) explain(err error) error {
	if errors.Is(err, context.Canceled) {
		return cmp.Or(b.cause(), err)
	}
	return err
}
