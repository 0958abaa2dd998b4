package cas

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/cairn-store/cairn/backend"
	"github.com/cairn-store/cairn/cas/pack"
)

// An openPack is a pack that frames are appended to.
type openPack struct {
	p  *packer
	id PackID
	w  backend.Writer

	serial uint64
	voids  []uint64      // serials that it notes as void
	isCopy bool          // it holds copies of a collector, which waits for it alone
	over   chan struct{} // closed when nothing is written to it any more

	mu      sync.Mutex // guards what follows
	cond    sync.Cond  // is broadcast when durable, busy or err changes
	off     int64      // bytes written
	durable int64      // bytes synced whose frames are indexed
	busy    bool       // a goroutine is syncing or sealing, without mu
	ending  bool       // only sealing makes it durable, and it will be sealed
	err     error      // why nothing more becomes durable
	lines   pack.Lines
	entry   PackEntry // for the index, but for size and seal
	counted bool      // its serial is settled or given up
	pending Change    // what is written and not indexed yet
}

// A place is a point in an open pack: all frames up to end.
type place struct {
	pack *openPack
	end  int64
}

// places is what a batch has to wait for.
type places []place

func (ps *places) add(p place) {
	if p.pack == nil {
		return
	}
	for i := range *ps {
		if (*ps)[i].pack == p.pack {
			(*ps)[i].end = max((*ps)[i].end, p.end)
			return
		}
	}
	*ps = append(*ps, p)
}

// wait returns when everything in ps is durable and indexed.
func (ps places) wait(ctx context.Context) error {
	for _, p := range ps {
		if err := p.pack.waitDurable(ctx, p.end); err != nil {
			return err
		}
	}
	return nil
}

// writeVoids notes which serials of the writer were given up.
func (o *openPack) writeVoids(writer [16]byte) error {
	if len(o.voids) == 0 {
		return nil
	}
	f := &pack.Frame{ID: pack.NewID(), Kind: pack.KindNote}
	var payload []byte
	for _, n := range o.voids {
		note := pack.AppendVoid(nil, pack.Void{Writer: writer, Serial: n})
		payload = append(payload, note...)
		f.Slots = append(f.Slots, Ref{Digest: pack.SumSlot(f.Kind, note), Length: uint32(len(note))})
	}
	f.StoredLen, f.CRC = uint32(len(payload)), pack.Checksum(payload)
	_, err := o.writeFrame(0, f, payload, false)
	return err
}

// countSerial settles the pack's serial or gives it up, the first time that it
// is called; the caller holds mu.
func (o *openPack) countSerial(durable bool) {
	if o.counted {
		return
	}
	o.counted = true
	if durable {
		o.p.serials.settleSerial(o.serial, o.voids)
	} else {
		o.p.serials.giveUp(o.serial, o.voids)
	}
}

// writeFrame appends one frame, which is indexed with the pack unless it is a copy.
// Only the holder of packer.mu calls it.
func (o *openPack) writeFrame(since uint64, h *pack.Frame, payload []byte, isCopy bool) (place, error) {
	o.mu.Lock()
	off, err := o.off, o.err
	o.mu.Unlock()
	if err != nil {
		return place{}, err
	}
	h.Pack, h.Offset = o.id, off
	head := pack.AppendFrame(make([]byte, 0, 4096), h)
	line := head
	if len(payload) <= 64<<10 {
		head, payload = append(head, payload...), nil
	}
	if _, err := o.w.Write(head); err != nil {
		return place{}, err
	}
	if len(payload) > 0 {
		if _, err := o.w.Write(payload); err != nil {
			return place{}, err
		}
	}
	at := place{o, h.End()}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.err != nil { // it failed meanwhile; nobody would remove this frame from those in flight
		return place{}, o.err
	}
	o.off = at.end
	o.lines.Add(h, line)
	o.entry.LastCommit = max(o.entry.LastCommit, h.Last)
	if h.Kind == KindRecord {
		o.entry.Records += at.end - off
	}
	if h.Kind.Indexed() && !isCopy {
		chunks := slotEntries(h)
		o.pending.Frames = append(o.pending.Frames, frameEntry(h))
		o.pending.Chunks = append(o.pending.Chunks, chunks...)
		o.p.addInFlight(chunks, flight{at, since})
	}
	return at, nil
}

// frameEntry is the index entry of a frame.
func frameEntry(h *pack.Frame) FrameEntry {
	return FrameEntry{ID: h.ID, Pack: h.Pack, Offset: h.Offset, HeaderLen: h.HeaderLen, StoredLen: h.StoredLen,
		PlainLen: h.PlainLen(), Slots: uint32(len(h.Slots)), Kind: h.Kind, Codec: h.Codec,
		Key: h.Key, Sources: h.Sources}
}

// slotEntries are the index entries of a frame's chunks. Records are found
// by reading packs, not through the index.
func slotEntries(h *pack.Frame) []ChunkEntry {
	if !h.Kind.Indexed() {
		return nil
	}
	out := make([]ChunkEntry, len(h.Slots))
	var off uint32
	for i, s := range h.Slots {
		out[i] = ChunkEntry{Digest: s.Digest, Frame: h.ID, Slot: uint32(i), Offset: off, Length: s.Length}
		off += s.Length
	}
	return out
}

// waitDurable returns when all frames before end are durable and indexed, or
// ctx is done. One Sync serves all callers: the first that finds nobody busy
// starts a goroutine for it, which may hang longer than anybody waits.
func (o *openPack) waitDurable(ctx context.Context, end int64) error {
	stop := context.AfterFunc(ctx, func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.cond.Broadcast()
	})
	defer stop()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.durable < end && o.err == nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if !o.busy && !o.ending {
			o.busy = true
			off, change := o.takePending()
			go o.syncFrames(off, change)
		}
		o.cond.Wait()
	}
	if o.durable >= end {
		return nil
	}
	return o.err
}

// syncFrames makes the pack durable up to off, and then indexes change. If the
// backend cannot sync, the pack is sealed instead.
func (o *openPack) syncFrames(off int64, change *Change) {
	err := o.w.Sync()
	if err == nil {
		err = o.indexFrames(change, false)
	}
	o.mu.Lock()
	o.busy = false
	if errors.Is(err, errors.ErrUnsupported) {
		o.putBackPending(change)
		o.ending = true
		o.cond.Broadcast() // seal and fail wait until nobody is busy
		o.mu.Unlock()
		o.p.sealNow(o)
		return
	}
	o.settleSync(off, err)
	if err != nil {
		o.p.removeInFlight(change.Chunks) // before mu is given up and those who wait see the error
	}
	o.mu.Unlock()
}

// takePending returns what is pending, to be indexed; the caller holds mu and has
// set busy.
func (o *openPack) takePending() (off int64, c *Change) {
	pending := o.pending
	o.pending = Change{}
	entry := o.entry
	entry.Size = o.off
	pending.Packs = []PackEntry{entry}
	return o.off, &pending
}

func (o *openPack) putBackPending(c *Change) {
	o.pending.Frames = append(c.Frames, o.pending.Frames...)
	o.pending.Chunks = append(c.Chunks, o.pending.Chunks...)
}

func (o *openPack) settleSync(off int64, err error) {
	o.countSerial(err == nil)
	if err == nil {
		o.durable = max(o.durable, off)
	} else {
		if o.err == nil {
			o.err = err
		}
		o.p.removeInFlight(o.pending.Chunks) // they will not become durable here
		o.pending = Change{}
	}
	o.cond.Broadcast()
}

// indexFrames adds durable frames to the index. Then their chunks are no longer
// in flight.
func (o *openPack) indexFrames(c *Change, sealed bool) error {
	c.Packs[0].Sealed = sealed
	if err := o.p.ix.Apply(o.p.ctx, c); err != nil {
		return fmt.Errorf("index pack %s: %w", o.id, err)
	}
	o.p.removeInFlight(c.Chunks)
	return nil
}

// seal ends the pack with a footer. Nobody appends to it any more. The footer
// is written when all before it is durable, so that a crash cannot leave a whole
// footer behind frames that are not.
func (o *openPack) seal() {
	defer o.p.noteEnded(o)
	o.mu.Lock()
	for o.busy {
		o.cond.Wait()
	}
	if o.err != nil {
		o.mu.Unlock()
		o.w.Abort() // err is what callers learn
		return
	}
	o.busy = true
	foot := pack.AppendFooter(nil, o.id, &o.lines)
	o.mu.Unlock()

	err := o.w.Sync()
	if err == nil || errors.Is(err, errors.ErrUnsupported) {
		_, err = o.w.Write(foot)
	}
	if err == nil {
		err = o.w.Commit()
	}
	o.mu.Lock()
	o.off += int64(len(foot))
	off, change := o.takePending()
	o.mu.Unlock()
	if err == nil {
		err = o.indexFrames(change, true)
	} else {
		err = errors.Join(err, o.w.Abort())
	}
	if err != nil {
		o.p.removeInFlight(change.Chunks)
	}
	o.mu.Lock()
	o.busy = false
	o.settleSync(off, err)
	o.mu.Unlock()
}

// failure returns why nothing more becomes durable, nil if it does.
func (o *openPack) failure() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.err
}

func (o *openPack) hasFailed() bool { return o.failure() != nil }

// flushWritten lets the backend bring what was written to the disk, if it can do
// so before the pack is whole. It makes nothing known.
func (o *openPack) flushWritten() error {
	o.mu.Lock()
	for o.busy {
		o.cond.Wait()
	}
	if err := o.err; err != nil || o.ending || o.durable >= o.off { // sealed, perhaps
		o.mu.Unlock()
		return err
	}
	o.busy = true
	o.mu.Unlock()
	err := o.w.Sync()
	if errors.Is(err, errors.ErrUnsupported) {
		err = nil
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.busy = false
	if o.err == nil {
		o.err = err
	}
	o.cond.Broadcast()
	return o.err
}

// giveUp ends the pack after a failure. What was synced stays good; the batches
// that wait for the rest fail with err.
func (o *openPack) giveUp(err error) {
	defer o.p.noteEnded(o)
	o.mu.Lock()
	for o.busy {
		o.cond.Wait()
	}
	lost := o.pending.Chunks
	o.pending = Change{}
	if o.err == nil {
		o.err = err
	}
	o.countSerial(false)
	o.cond.Broadcast()
	o.mu.Unlock()
	o.p.removeInFlight(lost)
	o.w.Abort() // err is what callers learn
}
