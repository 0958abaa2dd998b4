package cas

import (
	"context"
	"slices"
	"sync"

	"github.com/cairn-store/cairn/cas/pack"
)

// A group merges the rests of uploads that finish at the same time: their last
// chunks share frames, one write and, later, one Sync. Items that come while a
// round is being written form the next round.
type group struct {
	s *Store

	mu    sync.Mutex   // guards what follows
	queue []*groupItem // items that wait
	busy  bool         // whether a goroutine is writing rounds
}

// A groupItem is what one caller wants written.
type groupItem struct {
	kind         Kind
	how          Compression
	plain        []byte
	slots        []Ref
	since        uint64 // as BatchOptions.Since
	commit, base uint64 // of records

	// Valid once writeItem has returned without an error.
	at     places // where it lies
	added  int64  // plain bytes that were new
	stored int64  // its share of the bytes written
	err    error
	done   chan struct{} // closed when written
}

const groupRound = 4 << 20 // plain bytes served in a round

// writeItem returns when the item is appended to a pack, not yet durable, or ctx
// is done. After an error a round may still read the item, so the caller must
// not use its memory again.
func (g *group) writeItem(ctx context.Context, it *groupItem) error {
	it.done = make(chan struct{})
	g.mu.Lock()
	g.queue = append(g.queue, it)
	if !g.busy {
		g.busy = true
		go g.writeRounds()
	}
	g.mu.Unlock()
	select {
	case <-it.done:
		return it.err
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue = slices.DeleteFunc(g.queue, func(q *groupItem) bool { return q == it })
	return context.Cause(ctx)
}

// writeRounds writes rounds until no item waits.
func (g *group) writeRounds() {
	for {
		g.mu.Lock()
		round := g.takeRound()
		g.busy = len(round) > 0
		g.mu.Unlock()
		if len(round) == 0 {
			return
		}
		g.writeRound(g.s.ctx, round)
	}
}

// takeRound takes items off the queue; the caller holds mu.
func (g *group) takeRound() []*groupItem {
	size, n := 0, 0
	for n < len(g.queue) && (size < groupRound || n == 0) {
		size += len(g.queue[n].plain)
		n++
	}
	round := append([]*groupItem(nil), g.queue[:n]...)
	g.queue = append([]*groupItem(nil), g.queue[n:]...)
	return round
}

// writeRound writes a round: items of one kind and compression share frames. It
// holds Store.fresh, so that no batch appends the same chunks meanwhile.
func (g *group) writeRound(ctx context.Context, round []*groupItem) {
	g.s.fresh.enter(ctx) // cannot fail
	defer g.s.fresh.leave()
	type class struct {
		kind Kind
		how  Compression
		base uint64
	}
	open := make(map[class]*groupFrame)
	for _, it := range round {
		c := class{it.kind, it.how, it.base}
		f := open[c]
		if f != nil && (len(f.plain)+len(it.plain) > FrameSize || len(f.slots)+len(it.slots) > pack.MaxSlots) {
			g.finishFrame(ctx, f)
			f = nil
		}
		if f == nil {
			f = &groupFrame{kind: it.kind, how: it.how, have: make(map[Digest]bool)}
			open[c] = f
		}
		f.addItem(ctx, g.s, it)
	}
	for _, f := range open {
		g.finishFrame(ctx, f)
	}
	for _, it := range round {
		close(it.done)
	}
}

// A groupFrame is a frame that several items share.
type groupFrame struct {
	kind  Kind
	how   Compression
	plain []byte
	slots []Ref
	have  map[Digest]bool
	items []*groupItem

	since             uint64 // the newest of the items'
	first, last, base uint64 // of records
}

// addItem adds the chunks of an item that are still new.
func (f *groupFrame) addItem(ctx context.Context, s *Store, it *groupItem) {
	if it.kind == KindRecord {
		if len(f.items) == 0 {
			f.first = it.commit
		}
		f.first, f.last, f.base = min(f.first, it.commit), max(f.last, it.commit), it.base
	}
	f.items = append(f.items, it)
	f.since = max(f.since, it.since)
	found := make([]found, len(it.slots))
	if it.kind != KindRecord {
		ds := make([]Digest, len(it.slots))
		for i := range it.slots {
			ds[i] = it.slots[i].Digest
		}
		if it.err = s.pack.findChunks(ctx, it.since, ds, found); it.err != nil {
			return
		}
	}
	p := it.plain
	for i, r := range it.slots {
		chunk := p[:r.Length]
		p = p[r.Length:]
		if found[i].known {
			it.at.add(found[i].at)
			continue
		}
		if f.have[r.Digest] {
			continue
		}
		f.have[r.Digest] = true
		f.plain = append(f.plain, chunk...)
		f.slots = append(f.slots, r)
		it.added += int64(r.Length)
	}
}

func (g *group) finishFrame(ctx context.Context, f *groupFrame) {
	var at place
	var stored int
	var err error
	if len(f.slots) > 0 {
		at, stored, err = g.encodeAndAppend(ctx, f)
	}
	for _, it := range f.items {
		it.at.add(at)
		if it.err == nil {
			it.err = err
		}
		if len(f.plain) > 0 {
			it.stored += int64(stored) * it.added / int64(len(f.plain))
		}
	}
}

// encodeAndAppend encodes a frame and appends it, returning its place and the
// bytes it takes.
func (g *group) encodeAndAppend(ctx context.Context, f *groupFrame) (place, int, error) {
	s := g.s
	e := s.enc.encodeFrame(f.kind, f.how, f.plain, f.slots)
	defer s.enc.freeFrame(e)
	if e.err != nil {
		return place{}, 0, e.err
	}
	e.h.First, e.h.Last, e.h.Base = f.first, f.last, f.base
	at, err := s.pack.appendFrame(ctx, f.since, e.h, e.payload)
	s.appended.Add(1)
	return at, e.size(), err
}
