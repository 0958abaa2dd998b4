package pebblestore

import (
	"context"
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
)

// Apply does not wait for the log. A later commit of rows comes after it in the
// same log, so it makes the change durable too.
func (x *index) Apply(ctx context.Context, c *cas.Change) error {
	if err := x.d.life.Enter(); err != nil {
		return fmt.Errorf("pebblestore: apply: %w", err)
	}
	defer x.d.life.Leave()
	if err := x.d.lockChanges(ctx); err != nil {
		return fmt.Errorf("pebblestore: apply: %w", err)
	}
	b := x.d.db.NewBatch()
	if err := x.applyTo(ctx, b, c); err != nil {
		x.d.unlockChanges()
		return fmt.Errorf("pebblestore: apply: %w", errors.Join(err, b.Close()))
	}
	if err := x.d.commitBatch(b, false); err != nil {
		return fmt.Errorf("pebblestore: apply: %w", err)
	}
	return nil
}

// An application is a change being made: the entries that it touches, as they
// are now and as they will be. DB.lock is held, so the entries in the database
// do not change meanwhile.
type application struct {
	*index
	*cas.Change
	ctx      context.Context
	counters counters
	removed  bool // whether some usable chunk became unusable, by what raises the count

	ds     []cas.Digest // of chunks, each once
	at     map[cas.Digest]int
	chunks []touchedChunk
	ids    []cas.FrameID // of frames, each once
	frames map[cas.FrameID]*touchedFrame
	packs  map[cas.PackID]*touchedPack
}

// A touchedChunk has zero for old or now if the index has no entry then.
type touchedChunk struct{ old, now cas.ChunkEntry }

// isMoved reports whether what lies in frames changes.
func (e *touchedChunk) isMoved() bool {
	return e.old.Frame != e.now.Frame || e.old.Length != e.now.Length
}

type touchedFrame struct{ old, now cas.FrameEntry }

type touchedPack struct{ old, now cas.PackEntry }

// applyTo writes c to b, and the new count of removals with it.
func (x *index) applyTo(ctx context.Context, b *pebble.Batch, c *cas.Change) error {
	w := &application{index: x, Change: c, ctx: ctx}
	var err error
	if w.counters, err = x.d.readCounters(x.domain); err != nil {
		return err
	}
	if c.Collector != 0 && c.Collector != w.counters.lease {
		return cas.ErrFenced
	}
	if err := w.loadEntries(); err != nil {
		return err
	}
	if err := w.markBad(); err != nil {
		return err
	}
	if err := w.dropChunks(); err != nil {
		return err
	}
	for _, d := range c.Stamp {
		w.stampChunk(d)
	}
	w.addFrames()
	w.addChunks()
	w.moveEntries()
	for _, step := range []func() error{w.countChunks, w.checkSources, w.countPacks} {
		if err := step(); err != nil {
			return err
		}
	}
	return w.writeEntries(b)
}

// loadEntries reads all entries that the change touches, but for frames that it
// does not name, and packs.
func (w *application) loadEntries() error {
	n := len(w.Bad) + len(w.Drop) + len(w.Stamp) + len(w.Change.Chunks) + len(w.Relocated)
	w.at = make(map[cas.Digest]int, n)
	w.ds = make([]cas.Digest, 0, n)
	want := func(d cas.Digest) {
		if _, ok := w.at[d]; !ok {
			w.at[d] = len(w.ds)
			w.ds = append(w.ds, d)
		}
	}
	for _, es := range [][]cas.ChunkEntry{w.Bad, w.Drop, w.Change.Chunks} {
		for i := range es {
			want(es[i].Digest)
		}
	}
	for i := range w.Relocated {
		want(w.Relocated[i].From.Digest)
	}
	for _, d := range w.Stamp {
		want(d)
	}
	var ids []cas.FrameID
	for i := range w.Change.Frames {
		ids = append(ids, w.Change.Frames[i].ID)
		for _, s := range w.Change.Frames[i].Sources {
			want(s.Digest)
		}
	}
	for i := range w.Moved {
		ids = append(ids, w.Moved[i].ID)
	}
	old := make([]cas.ChunkEntry, len(w.ds))
	if err := w.index.Chunks(w.ctx, w.ds, old); err != nil {
		return err
	}
	w.chunks = make([]touchedChunk, len(w.ds))
	for i := range old {
		w.chunks[i] = touchedChunk{old[i], old[i]}
	}
	w.frames = make(map[cas.FrameID]*touchedFrame, len(ids))
	return w.loadFrames(ids)
}

// loadFrames reads those of ids that were not read before.
func (w *application) loadFrames(ids []cas.FrameID) error {
	var lacking []cas.FrameID
	for _, id := range ids {
		if w.frames[id] == nil {
			w.frames[id] = &touchedFrame{}
			lacking = append(lacking, id)
		}
	}
	if len(lacking) == 0 {
		return nil
	}
	old := make([]cas.FrameEntry, len(lacking))
	if err := w.index.Frames(w.ctx, lacking, old); err != nil {
		return err
	}
	for i, id := range lacking {
		*w.frames[id] = touchedFrame{old[i], old[i]}
	}
	w.ids = append(w.ids, lacking...)
	return nil
}

func (w *application) chunkNow(d cas.Digest) *cas.ChunkEntry { return &w.chunks[w.at[d]].now }

func (w *application) markBad() error {
	ids := make([]cas.FrameID, len(w.Bad))
	for i := range w.Bad {
		ids[i] = w.Bad[i].Frame
	}
	anywhere := w.BadIn == cas.PackID{}
	if !anywhere {
		if err := w.loadFrames(ids); err != nil {
			return err
		}
	}
	for i, id := range ids {
		e := w.chunkNow(w.Bad[i].Digest)
		if e.Usable() && e.Frame == id && e.Slot == w.Bad[i].Slot && (anywhere || w.frames[id].old.Pack == w.BadIn) {
			e.State = cas.Bad
			w.removed = true
		}
	}
	return nil
}

func (w *application) dropChunks() error {
	if len(w.Drop) == 0 {
		return nil
	}
	it, err := w.d.newPrefixCursor(domainKey(keySource, w.domain, nil))
	if err != nil {
		return err
	}
	defer it.Close()
	for i := range w.Drop {
		e := w.chunkNow(w.Drop[i].Digest)
		if *e != w.Drop[i] || hasDependant(it.Iterator, sourcePrefix(w.domain, e.Digest)) {
			continue
		}
		w.removed = w.removed || e.Usable() && w.Collector == 0
		*e = cas.ChunkEntry{}
	}
	return asDamageIfCorrupt(it.Error())
}

// addFrames adds the frames, or puts them in place of those that are known. What
// is live of them does not change by that.
func (w *application) addFrames() {
	for i := range w.Change.Frames {
		f := &w.frames[w.Change.Frames[i].ID].now
		live, bytes := f.Live, f.LiveBytes
		*f = w.Change.Frames[i]
		f.Live, f.LiveBytes = live, bytes
	}
}

func (w *application) addChunks() {
	for i := range w.Change.Chunks {
		if e := w.chunkNow(w.Change.Chunks[i].Digest); !e.Usable() {
			*e = w.Change.Chunks[i]
		}
		w.stampChunk(w.Change.Chunks[i].Digest)
	}
}

func (w *application) stampChunk(d cas.Digest) {
	if e := w.chunkNow(d); e.Frame != (cas.FrameID{}) {
		e.Stamp = w.counters.epoch
	}
}

// moveEntries gives frames and chunks that were copied their new places.
func (w *application) moveEntries() {
	for i := range w.Moved {
		m := &w.Moved[i]
		if f := &w.frames[m.ID].now; f.Known() && f.Pack == m.From {
			f.Pack, f.Offset = m.Pack, m.Offset
		}
	}
	for i := range w.Relocated {
		from, to := &w.Relocated[i].From, &w.Relocated[i].To
		e := w.chunkNow(from.Digest)
		if e.Frame == from.Frame && e.Slot == from.Slot && e.Frame != (cas.FrameID{}) {
			e.Frame, e.Slot, e.Offset, e.Length = to.Frame, to.Slot, to.Offset, to.Length
		}
	}
}

// countChunks counts what is live of the frames that chunks come to or leave. A
// frame that none is left of leaves the index.
func (w *application) countChunks() error {
	var ids []cas.FrameID
	for i := range w.chunks {
		if e := &w.chunks[i]; e.isMoved() {
			for _, id := range []cas.FrameID{e.old.Frame, e.now.Frame} {
				if id != (cas.FrameID{}) && w.frames[id] == nil {
					ids = append(ids, id)
				}
			}
		}
	}
	if err := w.loadFrames(ids); err != nil {
		return err
	}
	for i := range w.chunks {
		e := &w.chunks[i]
		if !e.isMoved() {
			continue
		}
		if f := w.frames[e.old.Frame]; f != nil && f.now.Known() {
			f.now.Live--
			f.now.LiveBytes -= e.old.Length
		}
		if e.now.Frame == (cas.FrameID{}) {
			continue
		}
		f := &w.frames[e.now.Frame].now
		if !f.Known() {
			return fmt.Errorf("chunk %s lies in frame %s, which the index does not have", e.now.Digest, e.now.Frame)
		}
		f.Live++
		f.LiveBytes += e.now.Length
	}
	for _, f := range w.frames {
		if f.now.Live == 0 {
			f.now = cas.FrameEntry{}
		}
	}
	return nil
}

// checkSources checks the sources of frames as cas.Change demands.
func (w *application) checkSources() error {
	var ids []cas.FrameID
	for i := range w.Change.Frames {
		for _, s := range w.Change.Frames[i].Sources {
			ids = append(ids, w.chunkNow(s.Digest).Frame)
		}
	}
	if err := w.loadFrames(ids); err != nil {
		return err
	}
	for i := range w.Change.Frames {
		for _, s := range w.Change.Frames[i].Sources {
			e := w.chunkNow(s.Digest)
			if in := w.frames[e.Frame]; !e.Usable() || !in.now.Known() || len(in.now.Sources) > 0 {
				return fmt.Errorf("frame %s, source %s: %w", w.Change.Frames[i].ID, s.Digest, cas.ErrSource)
			}
			w.stampChunk(s.Digest)
		}
	}
	return nil
}

// countPacks makes the changes of packs, and counts what is live of those that
// frames come to, leave, or change in.
func (w *application) countPacks() error {
	if err := w.loadPacks(); err != nil {
		return err
	}
	for _, id := range w.DropPacks {
		w.packs[id].now = cas.PackEntry{}
	}
	for i := range w.Packs {
		if err := w.putPack(&w.Packs[i]); err != nil {
			return err
		}
	}
	for i := range w.Change.Frames {
		if f := &w.Change.Frames[i]; w.packs[f.Pack].now.Doomed {
			return fmt.Errorf("frame %s, pack %s: %w", f.ID, f.Pack, cas.ErrDoomed)
		}
	}
	for i := range w.Moved {
		if f := &w.Moved[i]; w.packs[f.Pack].now.Doomed {
			return fmt.Errorf("frame %s, pack %s: %w", f.ID, f.Pack, cas.ErrDoomed)
		}
	}
	for _, f := range w.frames {
		if f.old.Known() {
			w.packs[f.old.Pack].now.Live -= f.old.LiveStored()
		}
		if f.now.Known() {
			w.packs[f.now.Pack].now.Live += f.now.LiveStored()
		}
	}
	return nil
}

func (w *application) loadPacks() error {
	w.packs = make(map[cas.PackID]*touchedPack)
	var ids []cas.PackID
	want := func(id cas.PackID) {
		if w.packs[id] == nil {
			w.packs[id] = &touchedPack{}
			ids = append(ids, id)
		}
	}
	for _, id := range w.DropPacks {
		want(id)
	}
	for i := range w.Packs {
		want(w.Packs[i].ID)
	}
	for i := range w.Change.Frames {
		want(w.Change.Frames[i].Pack)
	}
	for i := range w.Moved {
		want(w.Moved[i].Pack)
	}
	for _, f := range w.frames {
		for _, e := range []*cas.FrameEntry{&f.old, &f.now} {
			if e.Known() {
				want(e.Pack)
			}
		}
	}
	old := make([]cas.PackEntry, len(ids))
	if err := w.lookUpPacks(w.ctx, ids, old); err != nil {
		return err
	}
	for i, id := range ids {
		*w.packs[id] = touchedPack{old[i], old[i]}
	}
	return nil
}

// putPack sets all of a pack but what the index keeps. Frames of a pack that was
// unknown may have been indexed before it.
func (w *application) putPack(e *cas.PackEntry) error {
	p := &w.packs[e.ID].now
	live, doomed := p.Live, p.Doomed
	if p.ID != e.ID {
		live, doomed = 0, false
		for f, err := range w.PackFrames(w.ctx, e.ID) {
			if err != nil {
				return err
			}
			live += f.LiveStored()
		}
	}
	*p = *e
	p.Live, p.Doomed = live, doomed
	return nil
}

// writeEntries writes the changed entries to b. The methods of a batch do not
// fail.
func (w *application) writeEntries(b *pebble.Batch) error {
	for id, p := range w.packs {
		switch known := p.now.ID == id && id != (cas.PackID{}); {
		case known && p.now != p.old:
			b.Set(packKey(w.domain, id), appendPack(nil, &p.now), nil)
		case !known && p.old.ID == id:
			b.Delete(packKey(w.domain, id), nil)
		}
	}
	for _, id := range w.ids {
		w.writeFrame(b, id, w.frames[id])
	}
	key, value := domainKey(keyChunk, w.domain, nil), []byte(nil)
	prefix := len(key)
	for i, d := range w.ds {
		e := &w.chunks[i]
		key = append(key[:prefix], d[:]...)
		switch {
		case e.old == e.now:
		case e.now.Frame == cas.FrameID{}:
			b.Delete(key, nil)
			if f := &w.frames[e.old.Frame].old; !f.Known() || f.Kind == cas.KindSegment {
				b.Delete(domainKey(keySegment, w.domain, d[:]), nil)
			}
		default:
			value = appendChunk(value[:0], &e.now)
			b.Set(key, value, nil)
		}
	}
	if !w.removed {
		return nil
	}
	w.counters.removals++
	return b.Set(domainKey(keyDomain, w.domain, nil), w.counters.append(nil), nil)
}

// writeFrame writes the entry of a frame and the keys that find it by place and
// by source.
func (w *application) writeFrame(b *pebble.Batch, id cas.FrameID, f *touchedFrame) {
	same := f.old.Equal(&f.now)
	if same && f.old.Live == f.now.Live && f.old.LiveBytes == f.now.LiveBytes {
		return
	}
	if f.old.Known() && !same {
		b.Delete(placeKey(w.domain, &f.old), nil)
		for _, s := range f.old.Sources {
			b.Delete(sourceKey(w.domain, s.Digest, id), nil)
		}
	}
	if !f.now.Known() {
		b.Delete(frameKey(w.domain, id), nil)
		return
	}
	b.Set(frameKey(w.domain, id), appendFrame(nil, &f.now), nil)
	if same {
		return
	}
	b.Set(placeKey(w.domain, &f.now), nil, nil)
	for _, s := range f.now.Sources {
		b.Set(sourceKey(w.domain, s.Digest, id), nil, nil)
	}
}
