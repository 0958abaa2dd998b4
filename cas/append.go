package cas

import "context"

// An appended tells where the chunks of a frame lie, and what they took.
type appended struct {
	at     places
	added  int64 // plain bytes that were new
	stored int64 // bytes in the pack
}

// appendNew appends a frame. Chunks that other uploads have brought since they
// were looked up are left out: nothing is stored twice, however close two
// uploads of it are.
func (b *Batch) appendNew(p *pending) (out appended, err error) {
	s, e := b.s, p.e
	if e.err != nil {
		return out, e.err
	}
	if err := s.fresh.enter(b.ctx); err != nil {
		return out, err
	}
	defer s.fresh.leave()
	rest, slots := p.plain, e.h.Slots
	if b.others() != p.since {
		if rest, slots, err = s.stillNew(b.ctx, p.plain, e.h.Slots, &out.at); err != nil || len(slots) == 0 {
			return out, err
		}
	}
	if len(slots) < len(e.h.Slots) {
		e = s.enc.encode(e.h.Kind, p.how, rest, slots)
		defer s.enc.free(e)
		if e.err != nil {
			return out, e.err
		}
	}
	at, err := s.pack.append(b.ctx, e.h, e.payload)
	b.appended.Add(1) // first: others never takes it for another's
	s.appended.Add(1)
	out.at.add(at)
	out.added, out.stored = int64(len(rest)), int64(e.size())
	return out, err
}

// stillNew returns the chunks of a frame that are not stored. Where the
// others are being written is added to at.
func (s *Store) stillNew(ctx context.Context, plain []byte, slots []Ref, at *places) ([]byte, []Ref, error) {
	ds, known := make([]Digest, len(slots)), make([]found, len(slots))
	for i := range slots {
		ds[i] = slots[i].Digest
	}
	if err := s.find(ctx, ds, known); err != nil {
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
