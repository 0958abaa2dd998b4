package pebblestore_test

import (
	"encoding/binary"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest/manifesttest"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// BenchmarkApply adds frames of 16 chunks each to a pack.
func BenchmarkApply(b *testing.B) {
	d, err := openIn(b)
	if err != nil {
		b.Fatal(err)
	}
	ix, p := d.Index("x"), cas.PackEntry{ID: cas.PackID{1}, Serial: 1}
	n := uint64(0)
	for b.Loop() {
		n++
		f := cas.FrameEntry{ID: idOf(n), Pack: p.ID, Offset: p.Size, HeaderLen: 1000, StoredLen: 1 << 20, PlainLen: 1 << 20, Slots: 16}
		p.Size += 1<<20 + 1000
		c := &cas.Change{Packs: []cas.PackEntry{p}, Frames: []cas.FrameEntry{f}}
		for i := range uint32(16) {
			e := cas.ChunkEntry{Digest: digestOf(16*n + uint64(i)), Frame: f.ID, Slot: i, Offset: i << 16, Length: 1 << 16}
			c.Chunks = append(c.Chunks, e)
		}
		if err := ix.Apply(b.Context(), c); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkPage(b *testing.B) {
	d, err := openIn(b)
	if err != nil {
		b.Fatal(err)
	}
	manifesttest.BenchmarkPage(b, d)
}

func idOf(n uint64) cas.FrameID {
	d := digestOf(n)
	return cas.FrameID(d[:16])
}

func digestOf(n uint64) cas.Digest { return cas.Sum(binary.BigEndian.AppendUint64(nil, n)) }

func openIn(b *testing.B) (*pebblestore.DB, error) {
	d, err := pebblestore.Open(b.TempDir(), nil)
	if err == nil {
		b.Cleanup(func() { d.Close() })
	}
	return d, err
}
