package cas

import (
	"container/list"
	"context"
	"fmt"
)

// A Forecast tells what reads would cost that follow each other, as those of one
// reader, if nothing of them was in a cache before. It looks up where chunks lie, and
// reads none. What frames are made from is not counted, and how many frames a cache
// holds depends a little on which buffers it uses again. It is not for concurrent use.
type Forecast struct {
	s       *Store
	decoded frameMemory // what the cache of decoded frames would hold
	met     frameMemory // frames that were read lately, whether they are cached or not
	last    FrameEntry  // the last that was read and had not been met
}

// A ReadCost is what reads cost.
type ReadCost struct {
	// Ranges are the runs of frames, in the order in which they are needed, that
	// follow each other directly in a pack. A frame that was needed shortly before
	// is not counted again.
	Ranges   int64
	Requests int64 // to the backend
	Bytes    int64 // that those fetch
}

// Add adds another cost.
func (c *ReadCost) Add(o ReadCost) {
	c.Ranges += o.Ranges
	c.Requests += o.Requests
	c.Bytes += o.Bytes
}

// NewForecast returns a Forecast that begins with empty caches.
func (s *Store) NewForecast() *Forecast {
	limit := s.load.frames.limit
	return &Forecast{s: s, decoded: newFrameMemory(limit), met: newFrameMemory(limit)}
}

// Read tells what Store.Read of these chunks would cost after the reads before.
func (f *Forecast) Read(ctx context.Context, refs []Ref) (cost ReadCost, err error) {
	l := f.s.load
	chunks := make([]wantChunk, len(refs))
	for i, r := range refs {
		chunks[i].ChunkEntry = ChunkEntry{Digest: r.Digest, Length: r.Length}
	}
	wants, err := l.planChunks(ctx, chunks)
	if err != nil {
		return cost, fmt.Errorf("cas: forecast: %w", err)
	}
	var pieces []*piece
	for _, w := range wants {
		if !f.met.keepFrame(&w.frame) {
			if w.frame.Pack != f.last.Pack || w.frame.Offset != f.last.end() {
				cost.Ranges++
			}
			f.last = w.frame
		}
		if storedPlain(&w.frame) {
			pieces = append(pieces, l.rawPieces(w)...)
		} else if !f.decoded.keepFrame(&w.frame) {
			pieces = append(pieces, &piece{want: w, off: w.payload(), n: int(w.frame.StoredLen)})
		}
	}
	for _, run := range splitRuns(pieces, l.gap) {
		cost.Requests++
		cost.Bytes += run[len(run)-1].end() - run[0].off
	}
	return cost, nil
}

// A frameMemory knows the frames that a frameCache would hold.
type frameMemory struct {
	limit int64
	kept  map[FrameID]*list.Element
	order *list.List // of rememberedFrame, the latest first
	size  int64
}

type rememberedFrame struct {
	id   FrameID
	size int64
}

func newFrameMemory(limit int64) frameMemory {
	return frameMemory{limit: limit, kept: make(map[FrameID]*list.Element), order: list.New()}
}

// keepFrame notes that a frame is decoded, and reports whether it was kept from
// before.
func (m *frameMemory) keepFrame(fe *FrameEntry) bool {
	if e := m.kept[fe.ID]; e != nil {
		m.order.MoveToFront(e)
		return true
	}
	size := int64(max(fe.PlainLen, minCached))
	if fe.PlainLen > FrameSize/2 { // as frameCache.takeBuffer takes room
		size = max(size, FrameSize)
	}
	m.kept[fe.ID] = m.order.PushFront(rememberedFrame{fe.ID, size})
	for m.size += size; m.size > m.limit && m.order.Len() > 1; {
		last := m.order.Remove(m.order.Back()).(rememberedFrame)
		delete(m.kept, last.id)
		m.size -= last.size
	}
	return false
}
