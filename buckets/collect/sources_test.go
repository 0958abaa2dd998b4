package collect_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/buckets/collect"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/pack"
	"github.com/cairn-store/cairn/manifest"
)

const toy = cas.Codec(200)

// toyCodec decodes frames whose payload names sources by their numbers, and after
// 255 goes on with bytes of its own.
type toyCodec struct{}

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

// putToy makes a file of one chunk that is made from two others.
func (w *world) putToy(name string, a, b []byte) {
	w.t.Helper()
	ctx := w.t.Context()
	store, err := w.db.StoreID(ctx)
	must(w.t, err)
	id, err := w.db.DomainID(ctx, domain)
	must(w.t, err)
	wr, err := w.meta.Register(ctx, domain)
	must(w.t, err)
	sources := []cas.Source{{Digest: cas.Sum(a), Offset: 10, Length: uint32(len(a) - 10)}, {Digest: cas.Sum(b), Length: 300}}
	chunk := slices.Concat(b[:300], a[10:], []byte("and its own"))
	payload := append([]byte{1, 0, 255}, "and its own"...)
	h := &pack.Frame{ID: pack.NewID(), Pack: cas.PackID(pack.NewID()), Kind: cas.KindData, Codec: toy, StoredLen: uint32(len(payload)),
		CRC: pack.Checksum(payload), Slots: []cas.Ref{{Digest: cas.Sum(chunk), Length: uint32(len(chunk))}}, Sources: sources}
	text := pack.AppendHeader(nil, &pack.Header{Pack: h.Pack, Store: store, Domain: id, Writer: [16]byte{7}, Serial: 1})
	h.Offset = int64(len(text))
	var lines pack.Lines
	head := pack.AppendFrame(nil, h)
	lines.Add(h, head)
	text = pack.AppendFooter(append(append(text, head...), payload...), h.Pack, &lines)
	f, err := w.packs.Create(ctx, cas.PackID(h.Pack).Key())
	must(w.t, err)
	_, err = f.Write(text)
	must(w.t, err)
	must(w.t, f.Commit())
	info, err := w.chunks.Inspect(ctx, cas.PackEntry{ID: h.Pack, Size: int64(len(text))})
	must(w.t, err)
	frame := info.Frames[0]
	must(w.t, w.chunks.Apply(ctx, &cas.Change{Packs: []cas.PackEntry{info.PackEntry}, Frames: []cas.FrameEntry{frame.Entry}, Chunks: frame.Chunks}))
	u := &write{w: w, writer: wr, bytes: chunk, content: &manifest.Content{Size: int64(len(chunk)), Chunks: 1, Inline: frame.Slots, Chunker: "gear1/4096/16384/65536"}}
	must(w.t, u.commit(name))
}

// A chunk that others are made from stays when its own file goes, and goes with
// them: in the same run, sources after what is made from them.
func TestF9SourcesStay(t *testing.T) {
	w := newWorld(t)
	a, b := random(1, 3000), random(2, 3000)
	w.put("a", a)
	w.put("b", b)
	w.putToy("made", a, b)
	for i := range 5 { // the order of digests is not that of need
		w.put(fmt.Sprint("kept", i), random(uint64(10+i), 3000))
	}
	w.purge("a", "b")
	for range 2 {
		r := w.collect(&collect.Options{Full: true})
		w.check()
		if r.DroppedChunks > 0 || r.WaitingChunks != 2 {
			t.Errorf("while something is made from them: %+v", r)
		}
	}
	if n := w.graves(); n != 2 {
		t.Errorf("%d graves are left of two that wait", n)
	}
	w.purge("made")
	if r := w.collect(&collect.Options{Full: true}); r.DroppedChunks != 3 || r.WaitingChunks > 0 {
		t.Errorf("when nothing is made from them: %+v", r)
	}
	w.check()
	w.checkLedger("a", 3000)
}
