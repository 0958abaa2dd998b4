package cas

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// A packer appends frames to packs: one pack at a time, for all batches. A
// pack is its own journal: its bytes never change once written, a group of
// small commits shares one Sync, and a pack that has reached its size is
// sealed with a footer. Frames are indexed only when they are durable.
type packer struct {
	b    backend.Backend
	ix   Index
	size int64 // at which a pack is sealed

	store, domain [16]byte
	serials       serials
	made          bool // chunks may be made from others, as some codec does

	ctx context.Context // for work that outlives a call; never cancelled

	most int64 // bytes of packs beyond which only records are appended, 0 for no bound

	// mu makes appends happen one after another, and guards what follows.
	// appendFrame holds it while it waits for the backend, so it is a gate.
	mu     gate
	taken  int64     // bytes of all packs
	cur    *openPack // nil before the first append
	copies *openPack // of a collector, apart, so that no upload waits until they are durable
	closed bool

	sealing chan struct{} // has a token for each full pack that is being sealed
	early   chan struct{} // has one for a pack that is sealed before it is full

	flightMu sync.Mutex        // guards flight
	flight   map[Digest]flight // chunks appended and not indexed yet

	growMu  sync.Mutex           // guards what follows
	growing map[PackID]*openPack // packs that something may still be written to
	strays  bool                 // there may be packs that the index does not know
	leaving map[PackID]int64     // sizes of packs that are being deleted
}

// remoteSeals is how many full packs of a remote backend may be on their way at
// a time. It bounds the memory that they take.
const remoteSeals = 3

func newPacker(ctx context.Context, b backend.Backend, ix Index, opts *Options, size int64, seals int) *packer {
	p := &packer{ctx: ctx, mu: make(gate, 1), b: b, ix: ix, size: size, store: opts.Store, domain: opts.Domain, made: len(opts.Codecs) > 0, most: opts.MaxBytes,
		sealing: make(chan struct{}, seals), early: make(chan struct{}, 1),
		flight: make(map[Digest]flight), growing: make(map[PackID]*openPack), strays: true, leaving: make(map[PackID]int64)}
	p.serials.open = make(map[uint64]bool)
	rand.Read(p.serials.writer[:])
	return p
}

// appendFrame writes a frame, for a writer that began in the epoch since, and
// returns its place. The frame is durable when a wait for that place has succeeded.
// ctx ends only the wait for other appends: the call may hang in the backend.
func (p *packer) appendFrame(ctx context.Context, since uint64, h *pack.Frame, payload []byte) (place, error) {
	return p.appendNext(ctx, since, h, payload, false)
}

// appendCopy is appendFrame for a copy of what is stored: it is neither indexed
// with the pack, since only the collector can say what it takes the place of,
// nor refused because content has a bound, since the copied pack will go.
func (p *packer) appendCopy(ctx context.Context, h *pack.Frame, payload []byte) (place, error) {
	return p.appendNext(ctx, 0, h, payload, true)
}

func (p *packer) appendNext(ctx context.Context, since uint64, h *pack.Frame, payload []byte, isCopy bool) (place, error) {
	if err := p.mu.enter(ctx); err != nil {
		return place{}, err
	}
	defer p.mu.leave()
	if p.closed {
		return place{}, ErrClosed
	}
	if h.Kind.Indexed() {
		if err := p.checkRoom(int64(len(payload)), isCopy); err != nil {
			return place{}, err
		}
	}
	cur := &p.cur
	if isCopy {
		cur = &p.copies
	}
	if *cur != nil && (*cur).hasFailed() {
		(*cur).giveUp(nil)
		*cur = nil
	}
	if *cur == nil {
		o, err := p.createPack()
		if err != nil {
			return place{}, err
		}
		o.isCopy = isCopy
		*cur = o
	}
	o := *cur
	at, err := o.writeFrame(since, h, payload, isCopy)
	if err != nil {
		*cur = nil
		o.giveUp(err)
		return place{}, err
	}
	p.taken += h.End() - h.Offset
	if at.end >= p.size || o.lines.Full() {
		*cur = nil
		p.sealFull(o)
	}
	return at, nil
}

// sealFull lets a pack be sealed. The caller holds mu. A collector has no more than
// one full pack on its way, and uploads do not wait for it.
func (p *packer) sealFull(o *openPack) {
	if o.isCopy {
		go o.seal()
		return
	}
	p.sealing <- struct{}{}
	go func() {
		o.seal()
		<-p.sealing
	}()
}

// checkRoom fails where n bytes of content would take of the room for records, or
// new content would be more than may be. The caller holds mu.
func (p *packer) checkRoom(n int64, isCopy bool) error {
	if all := p.taken + n; p.most > 0 && all > p.most && !isCopy {
		return fmt.Errorf("cas: packs of %d bytes where %d may be: %w", all, p.most, backend.ErrNoSpace)
	}
	if b, ok := p.b.(backend.Limited); ok {
		return b.CheckRoom(n, isCopy)
	}
	return nil
}

func (p *packer) createPack() (*openPack, error) {
	id := PackID(pack.NewID())
	w, err := p.b.Create(p.ctx, id.Key()) // the pack belongs to all batches
	if err != nil {
		return nil, err
	}
	o := p.newOpenPack(id, w, pack.HeaderSize)
	p.noteGrowing(o) // before it has a serial: see listEnded
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
	o := &openPack{p: p, id: id, w: w, off: off, entry: PackEntry{ID: id}, over: make(chan struct{})}
	o.cond.L = &o.mu
	return o
}

// sealNow seals a pack of a backend that publishes whole objects only, unless
// another call does. Only one such pack is on its way at a time, so what is
// appended meanwhile shares the next pack.
func (p *packer) sealNow(o *openPack) {
	if !p.isCurrent(o, false) {
		return
	}
	if !o.isCopy {
		p.early <- struct{}{}
		defer func() { <-p.early }()
	}
	if p.isCurrent(o, true) {
		o.seal()
	}
}

// isCurrent reports whether frames are being appended to o. With end it makes
// sure that none are from now on.
func (p *packer) isCurrent(o *openPack, end bool) bool {
	p.mu.enter(p.ctx) // cannot fail
	defer p.mu.leave()
	for _, cur := range []**openPack{&p.cur, &p.copies} {
		if *cur != o {
			continue
		}
		if end {
			*cur = nil
		}
		return true
	}
	return false
}

// addInFlight and removeInFlight keep track of the chunks that are appended and
// not indexed yet, so that uploads side by side share them.
func (p *packer) addInFlight(chunks []ChunkEntry, f flight) {
	p.flightMu.Lock()
	defer p.flightMu.Unlock()
	for i := range chunks {
		p.flight[chunks[i].Digest] = f
	}
}

func (p *packer) removeInFlight(chunks []ChunkEntry) {
	p.flightMu.Lock()
	defer p.flightMu.Unlock()
	for i := range chunks {
		delete(p.flight, chunks[i].Digest)
	}
}

// A flight is what is known of a chunk that is appended and not indexed yet.
type flight struct {
	at    place
	since uint64 // epoch in which the writer that appended it began, or earlier
}

// findInFlight finds those of ds that are being written, and will be stamped with
// the epoch since or a later one. What an earlier writer appends may be indexed
// already, and may have been collected since then, before anybody here has learnt
// of either: it does not count, and is written once more.
func (p *packer) findInFlight(ds []Digest, since uint64, out []found) {
	p.flightMu.Lock()
	defer p.flightMu.Unlock()
	for i, d := range ds {
		if f, ok := p.flight[d]; ok && f.since >= since {
			out[i] = found{true, f.at}
		}
	}
}

// close makes durable what was appended, and refuses further frames. The last
// pack stays unsealed: the next packer appends to it. That of copies is sealed.
func (p *packer) close() error {
	p.mu.enter(p.ctx) // cannot fail
	p.closed = true
	o, copies := p.cur, p.copies // they stay there, for sealNow to find
	p.mu.leave()
	if copies != nil && p.isCurrent(copies, true) {
		copies.seal() // whoever waits for it learns of an error
	}
	_, growing := p.listGrowing()
	for _, g := range growing {
		if g != o { // it is being sealed
			<-g.over
		}
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
