package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
)

// Apply does not wait for the log. A later commit of rows comes after it in the
// same log, so it makes the change durable too.
func (x *index) Apply(ctx context.Context, c *cas.Change) error {
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
	ctx      context.Context
	counters counters
	removed  bool // whether some usable chunk became unusable

	ds     []cas.Digest // of chunks, each once
	at     map[cas.Digest]int
	chunks []touchedChunk
	ids    []cas.FrameID // of frames, each once
	frames map[cas.FrameID]*touchedFrame
}

// A touchedChunk has zero for old or now if the index has no entry then.
type touchedChunk struct{ old, now cas.ChunkEntry }

type touchedFrame struct{ old, now cas.FrameEntry }

// applyTo writes c to b, and the new count of removals with it.
func (x *index) applyTo(ctx context.Context, b *pebble.Batch, c *cas.Change) error {
	w := &application{index: x, ctx: ctx}
	var err error
	if w.counters, err = x.d.readCounters(x.domain); err != nil {
		return err
	}
	if err := w.loadEntries(c); err != nil {
		return err
	}
	for _, id := range c.DropFrames {
		w.frames[id].now = cas.FrameEntry{}
	}
	w.markBad(c.Bad)
	if err := w.dropChunks(c.Drop); err != nil {
		return err
	}
	for _, d := range c.Stamp {
		w.stampChunk(d)
	}
	for i := range c.Frames {
		w.frames[c.Frames[i].ID].now = c.Frames[i]
	}
	w.addChunks(c.Chunks)
	if err := w.checkSources(c.Frames); err != nil {
		return err
	}
	return w.writeEntries(b, c)
}

// loadEntries reads all entries that c touches.
func (w *application) loadEntries(c *cas.Change) error {
	n := len(c.Bad) + len(c.Drop) + len(c.Stamp) + len(c.Chunks)
	w.at = make(map[cas.Digest]int, n)
	w.ds = make([]cas.Digest, 0, n)
	want := func(d cas.Digest) {
		if _, ok := w.at[d]; !ok {
			w.at[d] = len(w.ds)
			w.ds = append(w.ds, d)
		}
	}
	for _, es := range [][]cas.ChunkEntry{c.Bad, c.Drop, c.Chunks} {
		for i := range es {
			want(es[i].Digest)
		}
	}
	for _, d := range c.Stamp {
		want(d)
	}
	ids := slices.Clone(c.DropFrames)
	for i := range c.Frames {
		ids = append(ids, c.Frames[i].ID)
		for _, s := range c.Frames[i].Sources {
			want(s.Digest)
		}
	}
	old := make([]cas.ChunkEntry, len(w.ds))
	if err := w.Chunks(w.ctx, w.ds, old); err != nil {
		return err
	}
	w.chunks = make([]touchedChunk, len(w.ds))
	for i := range old {
		w.chunks[i] = touchedChunk{old[i], old[i]}
	}
	w.frames = make(map[cas.FrameID]*touchedFrame, len(ids))
	return w.loadFrames(ids)
}

func (w *application) loadFrames(ids []cas.FrameID) error {
	if len(ids) == 0 {
		return nil
	}
	old := make([]cas.FrameEntry, len(ids))
	if err := w.Frames(w.ctx, ids, old); err != nil {
		return err
	}
	for i, id := range ids {
		if w.frames[id] == nil {
			w.ids = append(w.ids, id)
			w.frames[id] = &touchedFrame{old[i], old[i]}
		}
	}
	return nil
}

func (w *application) chunkNow(d cas.Digest) *cas.ChunkEntry { return &w.chunks[w.at[d]].now }

func (w *application) markBad(bad []cas.ChunkEntry) {
	for i := range bad {
		e := w.chunkNow(bad[i].Digest)
		if e.Usable() && e.Frame == bad[i].Frame && e.Slot == bad[i].Slot {
			e.State = cas.Bad
			w.removed = true
		}
	}
}

func (w *application) dropChunks(gone []cas.ChunkEntry) error {
	if len(gone) == 0 {
		return nil
	}
	it, err := w.d.newIter(domainKey(keySource, w.domain, nil))
	if err != nil {
		return err
	}
	defer it.Close()
	for i := range gone {
		e := w.chunkNow(gone[i].Digest)
		if *e != gone[i] || slices.ContainsFunc(appendDependants(nil, it, sourcePrefix(w.domain, e.Digest)), w.frameStays) {
			continue
		}
		w.removed = w.removed || e.Usable()
		*e = cas.ChunkEntry{}
	}
	return asDamageIfCorrupt(it.Error())
}

// frameStays reports whether a frame of the index is not being dropped.
func (w *application) frameStays(id cas.FrameID) bool {
	f := w.frames[id]
	return f == nil || f.now.Known()
}

func (w *application) addChunks(chunks []cas.ChunkEntry) {
	for i := range chunks {
		if e := w.chunkNow(chunks[i].Digest); !e.Usable() {
			*e = chunks[i]
		}
		w.stampChunk(chunks[i].Digest)
	}
}

func (w *application) stampChunk(d cas.Digest) {
	if e := w.chunkNow(d); e.Frame != (cas.FrameID{}) {
		e.Stamp = w.counters.epoch
	}
}

// checkSources checks the sources of frames as cas.Change demands.
func (w *application) checkSources(frames []cas.FrameEntry) error {
	var ids []cas.FrameID
	for i := range frames {
		for _, s := range frames[i].Sources {
			if id := w.chunkNow(s.Digest).Frame; w.frames[id] == nil {
				ids = append(ids, id)
			}
		}
	}
	if err := w.loadFrames(ids); err != nil {
		return err
	}
	for i := range frames {
		for _, s := range frames[i].Sources {
			e := w.chunkNow(s.Digest)
			if in := w.frames[e.Frame]; !e.Usable() || !in.now.Known() || len(in.now.Sources) > 0 {
				return fmt.Errorf("frame %s, source %s: %w", frames[i].ID, s.Digest, cas.ErrSource)
			}
			w.stampChunk(s.Digest)
		}
	}
	return nil
}

// writeEntries writes the changed entries to b. The methods of a batch do not
// fail.
func (w *application) writeEntries(b *pebble.Batch, c *cas.Change) error {
	for _, id := range c.DropPacks {
		b.Delete(packKey(w.domain, id), nil)
	}
	for i := range c.Packs {
		b.Set(packKey(w.domain, c.Packs[i].ID), appendPack(nil, &c.Packs[i]), nil)
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
	if f.old.Equal(&f.now) {
		return
	}
	if f.old.Known() {
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
	b.Set(placeKey(w.domain, &f.now), nil, nil)
	for _, s := range f.now.Sources {
		b.Set(sourceKey(w.domain, s.Digest, id), nil, nil)
	}
}
