package cas

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	unitSize  = 1 << 20   // plain bytes that are hashed and looked up together
	smallTail = 256 << 10 // plain bytes below which a last frame joins others
	unitQueue = 2         // units and frames under way in each step of a batch
	rawRun    = 4         // frames in a row that did not compress, after which a sample of the next is tried first
	mineLimit = 1 << 16   // new chunks a batch remembers before it waits for the index
)

// BatchOptions are choices of NewBatch; nil and zero values mean the defaults.
type BatchOptions struct {
	Compression Compression // of frames; zero is none

	// Emit is told the reference of every chunk put, in order, from one
	// goroutine at a time, and of all of them before Drain returns.
	Emit func(Ref) error

	// Tap is shown the bytes and the digests of all chunks, in order, some at
	// a time, from a goroutine
	// beside those that hash and store. It must not keep or change them.
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

// A Batch is the way of one upload into a Store. Its chunks are hashed and
// looked up side by side, new ones gathered into frames in order, and the
// frames encoded side by side and appended in order. Its memory is bounded
// whatever is put. One goroutine at a time may call its methods.
type Batch struct {
	s    *Store
	opts BatchOptions
	ctx  context.Context // cancelled when a step fails or the batch is closed
	stop context.CancelCauseFunc

	unit    *unit // being filled
	started bool
	drained bool
	err     error // of Drain or Flush, for good
	g       *errgroup.Group
	hashed  chan *unit    // in order, each to be waited for
	tapped  chan *unit    // in order
	encoded chan *pending // in order, each to be waited for

	// Owned by the goroutine that looks chunks over, then by Flush.
	data, segs *frameBuilder
	mine       map[Digest]bool // new chunks of this batch, not yet known to the index

	rawRun   atomic.Int32 // frames in a row that did not compress
	appended atomic.Int64 // frames of this batch since it last forgot its chunks

	unitsHeld, framesHeld atomic.Int32 // that take room

	at    places // owned by the goroutine that appends, then by Flush
	stats struct{ chunks, newBytes, stored atomic.Int64 }
}

// A pending is a frame on its way through the encoder, or a request to wait
// for the index.
type pending struct {
	e     *encoded
	kind  Kind
	how   Compression
	plain []byte
	since int64 // frames of others when its chunks were looked up, the earliest
	unit  *unit // that plain is the bytes of, nil if plain is the frame's own
	ready chan struct{}
	at    places        // nothing but these, if e is nil
	sync  chan struct{} // closed when all before it is indexed
}

// NewBatch begins an upload. ctx governs all of it. The batch must be closed.
func (s *Store) NewBatch(ctx context.Context, opts *BatchOptions) *Batch {
	b := &Batch{s: s, mine: make(map[Digest]bool)}
	if opts != nil {
		b.opts = *opts
	}
	b.ctx, b.stop = context.WithCancelCause(ctx)
	b.data = &frameBuilder{b: b, kind: KindData, how: b.opts.Compression}
	b.segs = &frameBuilder{b: b, kind: KindSegment}
	if a := b.opts.After; a != nil {
		b.rawRun.Store(a.rawRun.Load())
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
		if err := b.dispatch(); err != nil {
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

// dispatch sends the unit on its way, when there is room, and starts the steps
// if need be.
func (b *Batch) dispatch() error {
	if err := b.s.unitRoom.take(b.ctx, &b.unitsHeld); err != nil {
		return b.cause()
	}
	b.unit.counted = true
	return b.dispatchNow()
}

// dispatchNow does not wait for room: the last unit of a batch must get
// through, since others may wait for the batch to end.
func (b *Batch) dispatchNow() error {
	if !b.started {
		b.start()
	}
	u := b.unit
	b.unit = nil
	u.ready = make(chan struct{})
	u.users.Store(1)
	if b.opts.Tap != nil {
		u.users.Store(2)
		select {
		case b.tapped <- u:
		case <-b.ctx.Done():
			return b.cause()
		}
	}
	select {
	case b.hashed <- u:
	case <-b.ctx.Done():
		return b.cause()
	}
	b.g.Go(func() error {
		b.s.cores.take()
		defer b.s.cores.give()
		b.lookUp(u)
		close(u.ready)
		return nil
	})
	return nil
}

func (b *Batch) start() {
	b.started = true
	b.hashed = make(chan *unit, unitQueue)
	b.tapped = make(chan *unit, unitQueue)
	b.encoded = make(chan *pending, unitQueue)
	b.g = &errgroup.Group{}
	b.g.Go(func() error { return b.step(b.sortOut) })
	b.g.Go(func() error { return b.step(b.appendAll) })
	if b.opts.Tap != nil {
		b.g.Go(func() error { return b.step(b.tapAll) })
	}
}

// step runs one step and stops the batch if it fails.
func (b *Batch) step(run func() error) (err error) {
	if err = run(); err != nil {
		b.stop(err)
	}
	return err
}

func (b *Batch) cause() error { return context.Cause(b.ctx) }

// sortOut takes the units in order, emits their references and gathers the
// chunks that are new.
func (b *Batch) sortOut() error {
	defer close(b.encoded)
	for {
		var u *unit
		var ok bool
		select {
		case u, ok = <-b.hashed:
		case <-b.ctx.Done():
			return b.cause()
		}
		if !ok {
			return nil
		}
		<-u.ready
		if err := b.take(u); err != nil {
			return err
		}
		b.done(u)
	}
}

// take emits the references of u and gathers its new chunks.
func (b *Batch) take(u *unit) error {
	if u.err != nil {
		return u.err
	}
	whole := b.data.takesWhole(u)
	b.stats.chunks.Add(int64(len(u.ends)))
	for i := range u.ends {
		chunk := u.chunk(i)
		r := Ref{Digest: u.ds[i], Length: uint32(len(chunk))}
		if u.found[i].at.pack != nil {
			if err := b.hold(u.found[i].at); err != nil {
				return err
			}
		}
		if !whole && !u.found[i].known && !b.mine[r.Digest] {
			if err := b.data.add(r, chunk, u.since); err != nil {
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

// hold makes the batch wait for a chunk that another one is writing.
func (b *Batch) hold(at place) error {
	if !b.started {
		b.at.add(at)
		return nil
	}
	return b.send(&pending{at: places{at}})
}

func (b *Batch) send(p *pending) error {
	select {
	case b.encoded <- p:
		return nil
	case <-b.ctx.Done():
		return b.cause()
	}
}

func (b *Batch) tapAll() error {
	for {
		select {
		case u, ok := <-b.tapped:
			if !ok {
				return nil
			}
			select {
			case <-u.ready:
			case <-b.ctx.Done(): // perhaps before u was to be hashed
				return b.cause()
			}
			b.opts.Tap(u.buf, u.ds)
			b.done(u)
		case <-b.ctx.Done():
			return b.cause()
		}
	}
}

// appendAll appends the encoded frames in order.
func (b *Batch) appendAll() error {
	for {
		select {
		case p, ok := <-b.encoded:
			if !ok {
				return nil
			}
			if err := b.appendOne(p); err != nil {
				return err
			}
		case <-b.ctx.Done():
			return b.cause()
		}
	}
}

func (b *Batch) appendOne(p *pending) error {
	for _, at := range p.at {
		b.at.add(at)
	}
	if p.sync != nil {
		defer close(p.sync)
		err := b.at.wait(b.ctx)
		b.at = nil
		return err
	}
	if p.ready == nil {
		return nil
	}
	<-p.ready
	defer b.s.frameRoom.give(&b.framesHeld)
	return b.append(p)
}

// freePlain gives back the plain bytes of a frame that has been appended.
func (b *Batch) freePlain(p *pending) {
	if p.unit != nil {
		b.done(p.unit)
		return
	}
	b.s.bufs.put(p.plain)
}

// append appends an encoded frame and gives back what it takes.
func (b *Batch) append(p *pending) error {
	var a appended
	left, err := await(b.ctx, func() (err error) {
		a, err = b.appendNew(p)
		return err
	})
	if left {
		return err
	}
	b.s.enc.free(p.e)
	b.freePlain(p)
	for _, at := range a.at {
		b.at.add(at)
	}
	if p.kind == KindData { // segments are not of the upload's bytes
		b.stats.newBytes.Add(a.added)
	}
	b.stats.stored.Add(a.stored)
	return err
}

// PutSegment stores an encoded segment and returns its digest. It may be
// called from Emit, or between Drain and Flush.
func (b *Batch) PutSegment(ctx context.Context, p []byte) (Digest, error) {
	d := SumSegment(p)
	if b.mine[d] {
		return d, nil
	}
	f, since := make([]found, 1), b.others()
	if err := b.s.find(ctx, []Digest{d}, f); err != nil {
		return d, fmt.Errorf("cas: put segment: %w", err)
	}
	if f[0].at.pack != nil {
		if err := b.hold(f[0].at); err != nil {
			return d, err
		}
	}
	if f[0].known {
		return d, nil
	}
	return d, b.segs.add(Ref{Digest: d, Length: uint32(len(p))}, p, since)
}

// Drain returns when every chunk put has been emitted. After it, only
// PutSegment, Flush, Stats and Close may be called.
func (b *Batch) Drain() error {
	if !b.drained {
		b.drained = true
		b.err = b.drain()
	}
	return b.err
}

func (b *Batch) drain() error {
	if !b.started {
		return b.drainSmall()
	}
	if b.unit != nil && len(b.unit.buf) > 0 {
		if err := b.dispatchNow(); err != nil {
			return b.wait(err)
		}
	}
	close(b.hashed)
	close(b.tapped)
	return b.wait(nil)
}

// wait ends the steps and returns what went wrong first.
func (b *Batch) wait(err error) error {
	if err != nil {
		b.stop(err)
	}
	if werr := b.g.Wait(); err == nil {
		err = werr
	}
	b.ended()
	if err == nil && b.ctx.Err() != nil {
		err = b.cause()
	}
	if err != nil {
		return fmt.Errorf("cas: batch: %w", err)
	}
	return nil
}

// drainSmall does in the caller's goroutine what the steps do for more.
func (b *Batch) drainSmall() error {
	u := b.unit
	b.unit = nil
	if u == nil {
		return nil
	}
	b.lookUp(u)
	if b.opts.Tap != nil {
		b.opts.Tap(u.buf, u.ds)
	}
	u.users.Store(1)
	err := b.take(u)
	b.done(u)
	if err != nil {
		return fmt.Errorf("cas: batch: %w", err)
	}
	return nil
}

// Flush returns when every chunk and segment put is durable and indexed.
func (b *Batch) Flush() error {
	if err := b.Drain(); err != nil {
		return err
	}
	for _, f := range []*frameBuilder{b.data, b.segs} {
		if err := f.finish(); err != nil {
			b.err = fmt.Errorf("cas: batch: %w", err)
			return b.err
		}
	}
	if err := b.at.wait(b.ctx); err != nil {
		b.err = fmt.Errorf("cas: batch: %w", err)
	}
	return b.err
}

// Stats tells what the batch has added; it is exact once Flush has returned.
func (b *Batch) Stats() BatchStats {
	return BatchStats{b.stats.chunks.Load(), b.stats.newBytes.Load(), b.stats.stored.Load()}
}

// ended gives back the room of what failed on its way.
func (b *Batch) ended() {
	b.started = false
	b.s.unitRoom.giveAll(&b.unitsHeld)
	b.s.frameRoom.giveAll(&b.framesHeld)
}

var errClosed = errors.New("batch is closed")

// Close gives the batch up if it has not been flushed, and frees what it
// holds. Chunks already written stay stored, for whoever brings them again.
func (b *Batch) Close() error {
	b.stop(errClosed)
	if b.started {
		b.g.Wait()
		b.ended()
	}
	return nil
}
