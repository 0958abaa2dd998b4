package cas

import "context"

// An appendedFrame tells where the chunks of a frame lie, and what they took.
type appendedFrame struct {
	at     places
	added  int64 // plain bytes that were new
	stored int64 // bytes in the pack
}

// appendOrLeave appends an encoded frame and gives back what it takes. If the
// batch is cancelled meanwhile, the frame is left to the goroutine that may
// hang in the backend with it.
func (b *Batch) appendOrLeave(f *newFrame) error {
	var a appendedFrame
	left, err := waitOrLeave(b.ctx, func() (err error) {
		a, err = b.appendNew(f)
		return err
	})
	if left {
		return err
	}
	b.s.enc.freeFrame(f.e)
	if f.unit != nil {
		b.releaseUnit(f.unit)
	} else {
		b.s.bufs.put(f.plain)
	}
	b.noteAppended(f.kind, a)
	return err
}

// noteAppended makes Flush wait for a frame, and counts what it added.
func (b *Batch) noteAppended(kind Kind, a appendedFrame) {
	for _, at := range a.at {
		b.at.add(at)
	}
	if kind == KindData { // segments are not of the upload's bytes
		b.stats.newBytes.Add(a.added)
	}
	b.stats.stored.Add(a.stored)
}

// appendNew appends a frame. Chunks that other batches have brought since they
// were looked up are left out, so that nothing is stored twice: Store.fresh is
// held meanwhile.
func (b *Batch) appendNew(f *newFrame) (out appendedFrame, err error) {
	s, e := b.s, f.e
	if e.err != nil {
		return out, e.err
	}
	if err := s.fresh.enter(b.ctx); err != nil {
		return out, err
	}
	defer s.fresh.leave()
	rest, slots := f.plain, e.h.Slots
	if b.countOthers() != f.since {
		if rest, slots, err = s.pack.dropStored(b.ctx, b.opts.Since, f.plain, e.h.Slots, &out.at); err != nil || len(slots) == 0 {
			return out, err
		}
	}
	if len(slots) < len(e.h.Slots) {
		e = s.enc.encodeFrame(e.h.Kind, f.how, rest, slots)
		defer s.enc.freeFrame(e)
		if e.err != nil {
			return out, e.err
		}
	}
	at, err := s.pack.appendFrame(b.ctx, b.opts.Since, e.h, e.payload)
	b.appended.Add(1) // first, so that countOthers never counts it as another's
	s.appended.Add(1)
	out.at.add(at)
	out.added, out.stored = int64(len(rest)), int64(e.size())
	return out, err
}

// countOthers counts the frames that other batches have appended. It never
// counts one that is appended after the call. A frame of b's own that is just
// being appended may lower it.
func (b *Batch) countOthers() int64 {
	all := b.s.appended.Load()
	return all - b.appended.Load()
}

// A found is the answer to: is this chunk stored?
type found struct {
	known bool
	at    place // to wait for, if it is on its way
}

// findChunks looks up whether each of ds is stored or on its way to the index,
// for a writer that began in the epoch since. It looks at those on their way
// first: a chunk leaves them only when the index has had it. The index is asked about
// those too: an entry that it has may have an earlier stamp.
func (p *packer) findChunks(ctx context.Context, since uint64, ds []Digest, out []found) error {
	p.findInFlight(ds, since, out)
	entries := make([]ChunkEntry, len(ds))
	if err := p.hitChunks(ctx, since, ds, entries); err != nil {
		return err
	}
	for i := range entries {
		if entries[i].Usable() {
			out[i] = found{known: true}
		}
	}
	return nil
}

// dropStored returns the chunks of a frame that are not stored, for a writer that
// began in the epoch since. Where the others are being written is added to at.
func (p *packer) dropStored(ctx context.Context, since uint64, plain []byte, slots []Ref, at *places) ([]byte, []Ref, error) {
	ds, known := make([]Digest, len(slots)), make([]found, len(slots))
	for i := range slots {
		ds[i] = slots[i].Digest
	}
	if err := p.findChunks(ctx, since, ds, known); err != nil {
		return nil, nil, err
	}
	n := 0
	for _, f := range known {
		if f.known {
			at.add(f.at)
			n++
		}
	}
	if n == 0 {
		return plain, slots, nil
	}
	var rest []byte
	var left []Ref
	for i, r := range slots {
		if !known[i].known {
			rest, left = append(rest, plain[:r.Length]...), append(left, r)
		}
		plain = plain[r.Length:]
	}
	return rest, left, nil
}
