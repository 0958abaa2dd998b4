package sim

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/pack"
)

// hurt marks a chunk as damaged, as a reader does that has found it so. Rows that
// need it by then are excused.
func (w *world) hurt(ctx context.Context) error {
	w.s.pauseFor(ctx, w.p, "rest", certain, int64(w.damageRest))
	var all []cas.ChunkEntry
	for e, err := range w.db.Index(domainA).AllChunks(ctx) {
		if err != nil {
			return err
		}
		if e.Usable() {
			all = append(all, e)
		}
	}
	if len(all) == 0 || w.p.crashed.Load() {
		return nil
	}
	e := all[w.work.IntN(len(all))]
	w.chunks[domainA].Apply(ctx, &cas.Change{Bad: []cas.ChunkEntry{e}})
	return nil
}

// A toyCodec makes frames of whole sources and of bytes of its own: its payload
// is the numbers of the sources, each in a byte, a byte 255, and the rest.
type toyCodec struct{}

const toy = cas.Codec(200)

func (toyCodec) Decode(dst, payload []byte, sources [][]byte, _ int) ([]byte, error) {
	for i, n := range payload {
		if n == 255 {
			return append(dst, payload[i+1:]...), nil
		}
		if int(n) >= len(sources) {
			return nil, errors.New("no such source")
		}
		dst = append(dst, sources[n]...)
	}
	return dst, nil
}

// makeFrom adds a pack with a frame of one chunk that is made from ranges of two
// others, and puts the same content: it finds the chunk stored.
func (a *actor) makeFrom(ctx context.Context, f *file) error {
	w := a.w
	var from []cas.ChunkEntry
	for e, err := range w.db.Index(domainA).AllChunks(ctx) {
		if err != nil {
			return err
		}
		if e.Usable() && e.Length > 700 && len(from) < 40 {
			from = append(from, e)
		}
	}
	if len(from) < 2 {
		return nil
	}
	var sources []cas.Source
	var content []byte
	chunks := w.chunks[domainA]
	for range 2 {
		e := from[a.rng.IntN(len(from))]
		p, err := chunks.Get(ctx, e.Digest, nil)
		if err != nil {
			return nil
		}
		at := a.rng.IntN(100)
		sources = append(sources, cas.Source{Digest: e.Digest, Offset: uint32(at), Length: 500})
		content = append(content, p[at:at+500]...)
	}
	own := fmt.Appendf(nil, "and %d", a.rng.IntN(1000))
	content = append(content, own...)
	payload := append([]byte{0, 1, 255}, own...)
	id := cas.PackID(pack.NewID())
	writer := [16]byte(pack.NewID())
	text := pack.AppendHeader(nil, &pack.Header{Pack: id, Store: storeID(), Domain: domainIDs()[domainA], Writer: writer, Serial: 1})
	h := &pack.Frame{ID: pack.NewID(), Pack: id, Offset: int64(len(text)), Kind: cas.KindData, Codec: toy, StoredLen: uint32(len(payload)),
		CRC: pack.Checksum(payload), Slots: []cas.Ref{{Digest: cas.Sum(content), Length: uint32(len(content))}}, Sources: sources}
	var lines pack.Lines
	head := pack.AppendFrame(nil, h)
	lines.Add(h, head)
	text = pack.AppendFooter(append(append(text, head...), payload...), id, &lines)
	// The pack is there and indexed at once: one that the index does not know, and
	// whose writer is not this process, may be deleted.
	if w.p.crashed.Load() {
		return nil
	}
	w.disks[domainA].add(id.Key(), text)
	frame := cas.FrameEntry{ID: h.ID, Pack: id, Offset: h.Offset, HeaderLen: uint32(len(head)), StoredLen: h.StoredLen,
		PlainLen: uint32(len(content)), Slots: 1, Kind: h.Kind, Codec: toy, Sources: sources}
	err := w.db.Index(domainA).Apply(ctx, &cas.Change{Frames: []cas.FrameEntry{frame},
		Packs:  []cas.PackEntry{{ID: id, Size: int64(len(text)), Sealed: true, Writer: writer, Serial: 1}},
		Chunks: []cas.ChunkEntry{{Digest: cas.Sum(content), Frame: h.ID, Length: frame.PlainLen, State: cas.Live}}})
	if err != nil {
		return nil // a source is gone
	}
	sum := w.note(content) // before others can see it
	got, err := w.bucket().Put(ctx, f.name, bytes.NewReader(content), nil)
	f.settle(err, sum)
	if err == nil {
		f.id = got.ID
	}
	return nil
}
