package cas

import (
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// A packer appends frames to packs: one pack at a time, for all batches. A
// pack is its own journal. Its bytes never change once written, a group of
// small commits shares one Sync, and a pack that has reached its size is
// sealed with a footer. What is durable is then indexed, in that order.
type packer struct {
	b    backend.Backend
	ix   Index
	size int64 // at which a pack is sealed

	store, domain [16]byte
	serials       serials

	ctx context.Context // for what outlives a call; never cancelled

	mu     gate      // serialises appends; held while the backend is waited for
	cur    *openPack // guarded by mu; nil before the first append
	closed bool      // guarded by mu

	sealing chan struct{} // a token for each full pack that is being sealed
	early   chan struct{} // one for a pack that is sealed before it is full

	flightMu sync.Mutex
	flight   map[Digest]place // chunks appended and not yet indexed
}

// remoteSeals is how many full packs of a remote backend may be on their way
// at a time. The memory that they take is bounded by it.
const remoteSeals = 3

func newPacker(ctx context.Context, b backend.Backend, ix Index, opts *Options, size int64, seals int) *packer {
	p := &packer{ctx: ctx, mu: make(gate, 1), b: b, ix: ix, size: size, store: opts.Store, domain: opts.Domain, sealing: make(chan struct{}, seals), early: make(chan struct{}, 1),
		flight: make(map[Digest]place)}
	p.serials.open = make(map[uint64]bool)
	rand.Read(p.serials.writer[:])
	return p
}

// appendFrame writes a frame, fixing its place. It is durable when a wait on the
// place it returns has succeeded. It may hang in the backend: ctx ends only its
// waiting for others.
func (p *packer) appendFrame(ctx context.Context, h *pack.Frame, payload []byte) (place, error) {
	if err := p.mu.enter(ctx); err != nil {
		return place{}, err
	}
	defer p.mu.leave()
	if p.closed {
		return place{}, fs.ErrClosed
	}
	if p.cur != nil && p.cur.hasFailed() {
		p.cur.giveUp(nil)
		p.cur = nil
	}
	if p.cur == nil {
		o, err := p.createPack()
		if err != nil {
			return place{}, err
		}
		p.cur = o
	}
	o := p.cur
	at, err := o.writeFrame(h, payload)
	if err != nil {
		p.cur = nil
		o.giveUp(err)
		return place{}, err
	}
	if at.end >= p.size || o.lines.Full() {
		p.cur = nil
		p.sealing <- struct{}{}
		go func() {
			o.seal()
			<-p.sealing
		}()
	}
	return at, nil
}

func (p *packer) createPack() (*openPack, error) {
	id := PackID(pack.NewID())
	w, err := p.b.Create(p.ctx, id.Key()) // the pack belongs to all batches
	if err != nil {
		return nil, err
	}
	o := p.newOpenPack(id, w, pack.HeaderSize)
	h := &pack.Header{Pack: id, Store: p.store, Domain: p.domain, Writer: p.serials.writer, Time: time.Now().UnixMilli()}
	h.Serial, h.Settled, h.Previous, o.voids = p.serials.nextSerial(id)
	o.serial = h.Serial
	o.entry.Writer, o.entry.Serial = h.Writer, h.Serial
	if _, err = w.Write(pack.AppendHeader(nil, h)); err == nil {
		err = o.writeVoids(h.Writer)
	}
	if err != nil {
		o.giveUp(err)
		return nil, err
	}
	return o, nil
}

func (p *packer) newOpenPack(id PackID, w backend.Writer, off int64) *openPack {
	o := &openPack{p: p, id: id, w: w, off: off, entry: PackEntry{ID: id}}
	o.cond.L = &o.mu
	return o
}

// sealNow seals a pack whose backend publishes whole objects only, unless
// somebody else is about to. One such pack is on its way at a time: what is
// appended meanwhile shares the next.
func (p *packer) sealNow(o *openPack) {
	if !p.isCurrent(o, false) {
		return
	}
	p.early <- struct{}{}
	if p.isCurrent(o, true) {
		o.seal()
	}
	<-p.early
}

// isCurrent reports whether frames are being appended to o. With end nothing
// is appended to it any more.
func (p *packer) isCurrent(o *openPack, end bool) bool {
	p.mu.enter(p.ctx) // cannot fail
	defer p.mu.leave()
	is := p.cur == o
	if is && end {
		p.cur = nil
	}
	return is
}

// addInFlight and land keep track of the chunks between append and index, so that
// uploads side by side share them.
func (p *packer) addInFlight(chunks []ChunkEntry, at place) {
	p.flightMu.Lock()
	defer p.flightMu.Unlock()
	for i := range chunks {
		p.flight[chunks[i].Digest] = at
	}
}

func (p *packer) removeInFlight(chunks []ChunkEntry) {
	p.flightMu.Lock()
	defer p.flightMu.Unlock()
	for i := range chunks {
		delete(p.flight, chunks[i].Digest)
	}
}

// findInFlight finds those of ds that are being written.
func (p *packer) findInFlight(ds []Digest, out []found) {
	p.flightMu.Lock()
	defer p.flightMu.Unlock()
	for i, d := range ds {
		if at, ok := p.flight[d]; ok {
			out[i] = found{true, at}
		}
	}
}

// close makes durable what was appended and takes no more. The last pack
// stays unsealed, to be continued by the next packer.
func (p *packer) close() error {
	p.mu.enter(p.ctx) // cannot fail
	p.closed = true
	o := p.cur // sealNow still has to find it there
	p.mu.leave()
	for range cap(p.sealing) { // waits for the packs being sealed
		p.sealing <- struct{}{}
	}
	for range cap(p.sealing) {
		<-p.sealing
	}
	if o == nil {
		return nil
	}
	o.mu.Lock()
	end := o.off
	o.mu.Unlock()
	err := o.waitDurable(p.ctx, end)
	return errors.Join(err, o.w.Abort())
}
