package cas

import "slices"

// wholeLimit is how many chunks a unit may have to become a frame as it lies:
// to compare more of them with each other costs more than to copy them.
const wholeLimit = 256

// A frameBuilder gathers the new chunks of a batch into frames of one kind. The
// goroutine that emits units owns it.
type frameBuilder struct {
	b    *Batch
	kind Kind
	how  Compression

	plain []byte
	slots []Ref
	since int64 // as in newFrame
}

// addChunk adds a chunk, after sending the frame on its way if the chunk does not
// fit in.
func (f *frameBuilder) addChunk(r Ref, chunk []byte, since int64) error {
	if len(f.plain) > 0 && len(f.plain)+len(chunk) > FrameSize {
		if err := f.sendFrame(); err != nil {
			return err
		}
	}
	if len(f.slots) == 0 || since < f.since { // units are looked up side by side
		f.since = since
	}
	f.plain = append(f.b.s.bufs.grow(f.plain, len(chunk)), chunk...)
	f.slots = append(f.slots, r)
	return f.rememberChunks(r.Digest)
}

// rememberChunks notes chunks as new ones of this batch, and forgets them all when
// there are too many.
func (f *frameBuilder) rememberChunks(ds ...Digest) error {
	for _, d := range ds {
		f.b.mine[d] = true
	}
	if len(f.b.mine) >= mineLimit {
		return f.b.w.forgetChunks()
	}
	return nil
}

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
	if err := f.sendFrame(); err != nil {
		return err
	}
	slots := make([]Ref, len(u.ds))
	for i, d := range u.ds {
		slots[i] = Ref{Digest: d, Length: uint32(len(u.chunk(i)))}
	}
	u.users.Add(1)
	err := f.b.w.putFrame(&newFrame{kind: f.kind, how: f.how, plain: u.buf, slots: slots, since: u.since, unit: u})
	if err != nil {
		return err
	}
	return f.rememberChunks(u.ds...)
}

// sendFrame sends what has been gathered on its way, if there is anything.
func (f *frameBuilder) sendFrame() error {
	if len(f.plain) == 0 {
		return nil
	}
	n := &newFrame{kind: f.kind, how: f.how, plain: f.plain, slots: f.slots, since: f.since}
	f.plain, f.slots = nil, nil
	return f.b.w.putFrame(n)
}

// writeRest writes what is left. A small rest joins those of other uploads.
func (f *frameBuilder) writeRest() error {
	if len(f.plain) == 0 || len(f.plain) >= smallTail {
		return f.sendFrame()
	}
	b := f.b
	it := &groupItem{kind: f.kind, how: f.how, plain: f.plain, slots: f.slots, since: b.opts.Since}
	f.plain, f.slots = nil, nil
	if err := b.s.group.writeItem(b.ctx, it); err != nil {
		return err // the group may still read it
	}
	b.s.bufs.put(it.plain)
	b.noteAppended(f.kind, appendedFrame{it.at, it.added, it.stored})
	return nil
}
