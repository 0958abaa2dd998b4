package cas

import (
	"sync/atomic"

	"golang.org/x/sync/errgroup"
)

const (
	// queued is how many units or frames wait between two steps of a pipeline.
	queued = 2

	// rawFrames is after how many frames in a row that did not compress only
	// samples of the next one are tried first.
	rawFrames = 4
)

// A pipeline writes the units of a batch in steps, side by side:
//
//	putUnit   starts a goroutine for each unit, which hashes its chunks and
//	          looks them up
//	emitAll   takes units in order, emits them, and gathers new chunks in frames
//	putFrame  starts a goroutine for each frame, which encodes it
//	appendAll appends frames in order
//	tapAll    shows the bytes of units to BatchOptions.Tap, beside emitAll
//
// Room for units and for frames is shared by all batches of the store, so a
// batch may wait for others; the last unit of a batch never does, since others
// may wait for the batch to end.
type pipeline struct {
	b       *Batch
	g       errgroup.Group // all goroutines; a step that fails cancels the batch
	units   chan *unit     // to emitAll, in order; each is looked up when it is ready
	tapped  chan *unit     // to tapAll, in order
	frames  chan *queuedFrame
	drained bool

	framesHeld atomic.Int32 // frames that take room
}

// A queuedFrame is on its way to appendAll: a frame, or a place to wait for, or
// a request to wait for the index.
type queuedFrame struct {
	*newFrame
	encoded chan struct{} // closed when the frame is encoded
	at      place         // if there is no frame
	indexed chan struct{} // closed when all before it is in the index; nil if nobody waits
}

func startPipeline(b *Batch) *pipeline {
	p := &pipeline{
		b:      b,
		units:  make(chan *unit, queued),
		tapped: make(chan *unit, queued),
		frames: make(chan *queuedFrame, queued),
	}
	p.goStep(p.emitAll)
	p.goStep(p.appendAll)
	if b.opts.Tap != nil {
		p.goStep(p.tapAll)
	}
	return p
}

// goStep runs a step in a goroutine, and cancels the batch if it fails.
func (p *pipeline) goStep(run func() error) {
	p.g.Go(func() error {
		err := run()
		if err != nil {
			p.b.stop(err)
		}
		return err
	})
}

func (p *pipeline) putUnit(u *unit, last bool) error {
	b := p.b
	if !last {
		if err := b.s.unitRoom.takeRoom(b.ctx, &b.unitsHeld); err != nil {
			return b.cause()
		}
		u.counted = true
	}
	u.ready = make(chan struct{})
	u.users.Store(1)
	if b.opts.Tap != nil {
		u.users.Store(2)
		if !sendOn(p, p.tapped, u) {
			return b.cause()
		}
	}
	if !sendOn(p, p.units, u) {
		return b.cause()
	}
	p.g.Go(func() error {
		b.s.cores.take()
		defer b.s.cores.give()
		b.lookUpUnit(u)
		close(u.ready)
		return nil
	})
	return nil
}

// sendOn sends v to a step; false means that the batch has been cancelled.
func sendOn[T any](p *pipeline, c chan<- T, v T) bool {
	select {
	case c <- v:
		return true
	case <-p.b.ctx.Done():
		return false
	}
}

// receiveFrom calls do with what is sent to a step, until c is closed, do fails
// or the batch is cancelled.
func receiveFrom[T any](p *pipeline, c <-chan T, do func(T) error) error {
	for {
		select {
		case v, ok := <-c:
			if !ok {
				return nil
			}
			if err := do(v); err != nil {
				return err
			}
		case <-p.b.ctx.Done():
			return p.b.cause()
		}
	}
}

func (p *pipeline) emitAll() error {
	defer close(p.frames)
	return receiveFrom(p, p.units, func(u *unit) error {
		<-u.ready
		if err := p.b.emitUnit(u); err != nil {
			return err
		}
		p.b.releaseUnit(u)
		return nil
	})
}

func (p *pipeline) tapAll() error {
	return receiveFrom(p, p.tapped, func(u *unit) error {
		select {
		case <-u.ready:
		case <-p.b.ctx.Done(): // perhaps before u was to be looked up
			return p.b.cause()
		}
		p.b.opts.Tap(u.buf, u.ds)
		p.b.releaseUnit(u)
		return nil
	})
}

func (p *pipeline) putFrame(f *newFrame) error {
	b := p.b
	if err := b.s.frameRoom.takeRoom(b.ctx, &p.framesHeld); err != nil {
		return b.cause()
	}
	q := &queuedFrame{newFrame: f, encoded: make(chan struct{})}
	if !sendOn(p, p.frames, q) {
		return b.cause()
	}
	p.g.Go(func() error {
		defer close(q.encoded)
		how := f.how
		if b.rawFrames.Load() >= rawFrames && !b.s.enc.isWorthEncoding(how, f.plain) {
			how = Compression{}
		}
		f.e = b.s.enc.encodeFrame(f.kind, how, f.plain, f.slots)
		if f.e.err == nil && f.e.h.Codec == Raw {
			b.rawFrames.Add(1)
		} else {
			b.rawFrames.Store(0)
		}
		return nil
	})
	return nil
}

func (p *pipeline) waitFor(at place) error {
	if !sendOn(p, p.frames, &queuedFrame{at: at}) {
		return p.b.cause()
	}
	return nil
}

func (p *pipeline) appendAll() error {
	b := p.b
	return receiveFrom(p, p.frames, func(q *queuedFrame) error {
		b.at.add(q.at)
		if q.indexed != nil {
			defer close(q.indexed)
			err := b.at.wait(b.ctx)
			b.at = nil
			return err
		}
		if q.newFrame == nil {
			return nil
		}
		<-q.encoded
		defer b.s.frameRoom.giveRoom(&p.framesHeld)
		return b.appendOrLeave(q.newFrame)
	})
}

// forgetChunks sends the frames that are being built on their way and waits
// until all are indexed, so that the batch need not remember their chunks.
func (p *pipeline) forgetChunks() error {
	b := p.b
	for _, f := range []*frameBuilder{b.data, b.segs} {
		if err := f.sendFrame(); err != nil {
			return err
		}
	}
	q := &queuedFrame{indexed: make(chan struct{})}
	if !sendOn(p, p.frames, q) {
		return b.cause()
	}
	select {
	case <-q.indexed:
	case <-b.ctx.Done():
		return b.cause()
	}
	clear(b.mine)
	// Some units were looked up before the index had these chunks: their
	// frames have to be looked at once more, as if others had appended them.
	b.appended.Store(0)
	return nil
}

func (p *pipeline) drain() error {
	if !p.drained {
		p.drained = true
		close(p.units)
		close(p.tapped)
	}
	err := p.g.Wait()
	// What failed on its way gives its room back here.
	p.b.s.unitRoom.giveAll(&p.b.unitsHeld)
	p.b.s.frameRoom.giveAll(&p.framesHeld)
	if err == nil && p.b.ctx.Err() != nil {
		err = p.b.cause()
	}
	return err
}
