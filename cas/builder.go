package cas

import "slices"

// A frameBuilder gathers the new chunks of a batch into frames.
type frameBuilder struct {
	b     *Batch
	kind  Kind
	how   Compression
	plain []byte
	unit  *unit // that plain is the bytes of, nil if it is gathered
	slots []Ref
	since int64 // frames of others when slots were looked up, the earliest
}

// add takes a chunk over, sending the frame on its way when it is full.
func (f *frameBuilder) add(r Ref, chunk []byte, since int64) error {
	if len(f.plain) > 0 && len(f.plain)+len(chunk) > FrameSize {
		if err := f.send(); err != nil {
			return err
		}
	}
	if f.plain == nil {
		f.plain = f.b.s.bufs.get(0)
	}
	if len(f.slots) == 0 || since < f.since { // units are looked up side by side
		f.since = since
	}
	f.plain = append(f.plain, chunk...)
	f.slots = append(f.slots, r)
	f.b.mine[r.Digest] = true
	if len(f.b.mine) >= mineLimit {
		return f.forget()
	}
	return nil
}

// wholeLimit is how many chunks a unit may have to become a frame as it lies:
// to compare more of them with each other costs more than to copy them.
const wholeLimit = 256

// takesWhole reports whether all chunks of u are new and many enough to be a
// frame as they lie: they are not copied then.
func (f *frameBuilder) takesWhole(u *unit) bool {
	if len(u.buf) < FrameSize/2 || len(u.buf) > FrameSize || len(u.ds) > wholeLimit || len(f.plain) > 0 && len(f.plain) < FrameSize/2 {
		return false
	}
	for i, d := range u.ds {
		if u.found[i].known || f.b.mine[d] || slices.Contains(u.ds[:i], d) {
			return false
		}
	}
	return true
}

// sendUnit sends u on its way as a frame, behind what has been gathered.
func (f *frameBuilder) sendUnit(u *unit) error {
	if len(f.plain) > 0 {
		if err := f.send(); err != nil {
			return err
		}
	}
	for i, d := range u.ds {
		f.slots = append(f.slots, Ref{Digest: d, Length: uint32(len(u.chunk(i)))})
		f.b.mine[d] = true
	}
	f.plain, f.unit, f.since = u.buf, u, u.since
	u.users.Add(1)
	if err := f.send(); err != nil {
		return err
	}
	if len(f.b.mine) >= mineLimit {
		return f.forget()
	}
	return nil
}

// send hands the frame to the encoder, or writes it at once when the steps of
// the batch do not run.
func (f *frameBuilder) send() error {
	plain, slots := f.plain, f.slots
	b := f.b
	p := &pending{kind: f.kind, how: f.how, plain: plain, unit: f.unit, since: f.since, ready: make(chan struct{})}
	f.plain, f.unit, f.slots = nil, nil, nil
	if !b.started {
		p.e = b.s.enc.encode(f.kind, f.how, plain, slots)
		return b.append(p)
	}
	if err := b.s.frameRoom.take(b.ctx, &b.framesHeld); err != nil {
		return b.cause()
	}
	if err := b.send(p); err != nil {
		return err
	}
	b.g.Go(func() error {
		defer close(p.ready)
		how := f.how
		if b.rawRun.Load() >= rawRun && !b.s.enc.isWorthEncoding(how, plain) {
			how = Compression{}
		}
		p.e = b.s.enc.encode(f.kind, how, plain, slots)
		if p.e.err == nil && p.e.h.Codec == Raw {
			b.rawRun.Add(1)
		} else {
			b.rawRun.Store(0)
		}
		return nil
	})
	return nil
}

// forget waits until all chunks of the batch are in the index, so that it
// need not remember them itself.
func (f *frameBuilder) forget() error {
	b := f.b
	if !b.started {
		return nil // a batch this small ends soon
	}
	for _, g := range []*frameBuilder{b.data, b.segs} {
		if len(g.plain) > 0 {
			if err := g.send(); err != nil {
				return err
			}
		}
	}
	p := &pending{sync: make(chan struct{})}
	if err := b.send(p); err != nil {
		return err
	}
	select {
	case <-p.sync:
	case <-b.ctx.Done():
		return b.cause()
	}
	clear(b.mine)
	b.appended.Store(0) // as others' from now on: some units were looked up before the index knew them
	return nil
}

// finish writes what is left. A small rest joins those of other uploads.
func (f *frameBuilder) finish() error {
	if len(f.plain) == 0 {
		return nil
	}
	if len(f.plain) >= smallTail {
		return f.send()
	}
	it := &groupItem{kind: f.kind, how: f.how, plain: f.plain, slots: f.slots}
	f.slots = nil
	plain := f.plain
	f.plain = nil
	if err := f.b.s.group.submit(f.b.ctx, it); err != nil {
		return err // the group may still be at it
	}
	f.b.s.bufs.put(plain)
	for _, at := range it.at {
		f.b.at.add(at)
	}
	if f.kind == KindData {
		f.b.stats.newBytes.Add(it.added)
	}
	f.b.stats.stored.Add(it.stored)
	return nil
}
