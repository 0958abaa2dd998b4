package cas_test

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cairn-store/cairn/backend/membackend"
	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/cas/castest"
	"github.com/cairn-store/cairn/cas/pack"
	"github.com/cairn-store/cairn/chunker/blake3"
	"github.com/cairn-store/cairn/internal/race"
)

// signFrame gives a header check and sum as FORMAT.md has them.
func signFrame(h []byte, id cas.PackID, off int64) {
	place := binary.LittleEndian.AppendUint64(id[:], uint64(off))
	binary.LittleEndian.PutUint32(h[36:], pack.Checksum(append(place, h[:36]...)))
	d := blake3.NewDerived("cairn-store/cairn 2026 frame header v2")
	d.Write(place[:24])
	d.Write(h[:len(h)-16])
	copy(h[len(h)-16:], d.Sum(nil))
}

// newerPack is a pack with a good frame and one that is changed at a byte.
func newerPack(id cas.PackID, at int, value byte) (text []byte, good, newer *pack.Frame) {
	text = pack.AppendHeader(nil, &pack.Header{Pack: id, Serial: 1})
	if at < 0 {
		text[-at] = value
		binary.LittleEndian.PutUint32(text[124:], pack.Checksum(text[:124]))
	}
	for i, chunk := range []string{"good", "newer"} {
		f := &pack.Frame{ID: pack.FrameID{byte(i + 1)}, Pack: id, Offset: int64(len(text)), Kind: pack.KindData, StoredLen: uint32(len(chunk)),
			CRC: pack.Checksum([]byte(chunk)), Slots: []pack.Ref{{Digest: pack.Sum([]byte(chunk)), Length: uint32(len(chunk))}}}
		head := pack.AppendFrame(nil, f)
		if i == 0 {
			good = f
		} else if newer = f; at > 0 {
			head[at] = value
			signFrame(head, id, f.Offset)
		}
		text = append(append(text, head...), chunk...)
	}
	return text, good, newer
}

// What a newer program has written is an error that names it, whoever meets
// it: a walk, an inspection, a survey, the opening of a store. Nothing of it is indexed.
func TestNewerIsNamed(t *testing.T) {
	for _, c := range []struct {
		what  string
		at    int // in the frame's header, or, below 0, in the pack's
		value byte
	}{{"frame version", 4, 3}, {"frame kind", 5, 9}, {"codec", 6, 9}, {"frame flags", 7, 2}, {"pack version", -7, 3}, {"pack flags", -12, 1}} {
		id := cas.PackID{1}
		text, _, newer := newerPack(id, c.at, c.value)
		b, p := packOf(t, text)
		names := func(who string, err error) {
			t.Helper()
			var ue *cas.UnknownError
			if !errors.Is(err, cas.ErrUnknown) || !errors.As(err, &ue) || ue.What != c.what || ue.Value != uint64(c.value) || ue.Pack != id {
				t.Errorf("%s: %s: %v", c.what, who, err)
			} else if c.at > 0 && ue.Offset != newer.Offset {
				t.Errorf("%s: %s: at %d, want %d", c.what, who, ue.Offset, newer.Offset)
			}
		}
		s, err := cas.Open(t.Context(), b, castest.NewMemIndex(), nil)
		if err != nil {
			t.Fatal(err)
		}
		_, err = s.Walk(t.Context(), p, func(*cas.Frame) error { return nil })
		names("walk", err)
		_, err = s.Inspect(t.Context(), p)
		names("inspect", err)
		_, err = s.Survey(t.Context(), nil)
		names("survey", err)
		closeStore(t, s)

		ix := castest.NewMemIndex()
		if err := ix.Apply(t.Context(), &cas.Change{Packs: []cas.PackEntry{{ID: id, Size: pack.HeaderSize}}}); err != nil {
			t.Fatal(err)
		}
		_, err = cas.Open(t.Context(), b, ix, &cas.Options{Exclusive: true})
		names("open", err)
		for f, err := range ix.AllFrames(t.Context()) {
			t.Errorf("%s: indexed: %+v, %v", c.what, f, err)
		}
	}
}

// Reading a chunk whose frame is of an unknown codec or kind marks nothing.
func TestReadOfNewerMarksNothing(t *testing.T) {
	for _, remote := range []bool{false, true} {
		for _, c := range []struct {
			what  string
			entry func(f *cas.FrameEntry)
		}{
			{"codec", func(f *cas.FrameEntry) { f.Codec = 9 }},
			{"frame kind", func(f *cas.FrameEntry) { f.Kind = 9 }},
		} {
			id := cas.PackID{1}
			text, good, newer := newerPack(id, 6, 9)
			b, p := packOf(t, text)
			ix := castest.NewMemIndex()
			change := &cas.Change{Packs: []cas.PackEntry{p}}
			for _, f := range []*pack.Frame{good, newer} {
				e := cas.FrameEntry{ID: f.ID, Pack: id, Offset: f.Offset, HeaderLen: f.HeaderLen, StoredLen: f.StoredLen,
					PlainLen: f.StoredLen, Slots: 1, Kind: cas.KindData}
				if f == newer {
					c.entry(&e)
				}
				change.Frames = append(change.Frames, e)
				change.Chunks = append(change.Chunks, cas.ChunkEntry{Digest: f.Slots[0].Digest, Frame: f.ID, Length: f.StoredLen})
			}
			if err := ix.Apply(t.Context(), change); err != nil {
				t.Fatal(err)
			}
			s, err := cas.Open(t.Context(), b, ix, &cas.Options{Remote: remote})
			if err != nil {
				t.Fatal(err)
			}
			d := newer.Slots[0].Digest
			_, err = s.Get(t.Context(), d, nil)
			var ue *cas.UnknownError
			if !errors.As(err, &ue) || ue.What != c.what || ue.Value != 9 || ue.Pack != id || ue.Offset != newer.Offset {
				t.Errorf("%s, remote %v: %v", c.what, remote, err)
			}
			out := make([]cas.ChunkEntry, 1)
			if err := ix.Chunks(t.Context(), []cas.Digest{d}, out); err != nil || !out[0].Usable() {
				t.Errorf("%s, remote %v: %+v, %v", c.what, remote, out[0], err)
			}
			checkGet(t, s, []byte("good"))
			closeStore(t, s)
		}
	}
}

// A pack is sealed before its footer is longer than readers accept, however
// large packs may be.
func TestSealedBeforeFooterIsTooLong(t *testing.T) {
	race.LeaveOut(t)
	b := membackend.New(nil)
	w := &world{mem: b, ix: castest.NewMemIndex(), b: b}
	s := w.open(t, &cas.Options{PackSize: 1 << 40})
	all := noise(seeded(t), 16*280_000)
	var chunks [][]byte
	for p := all; len(p) > 0; p = p[16:] {
		chunks = append(chunks, p[:16])
	}
	put(t, s, cas.Raw, chunks...)
	closeStore(t, s)
	infos := inspect(t, w)
	if len(infos) != 2 || !infos[0].Sealed || infos[0].Damage != nil {
		t.Fatalf("%d packs", len(infos))
	}
	n := 0
	for _, info := range infos {
		for _, f := range info.Frames {
			n += len(f.Chunks)
		}
	}
	if n != len(chunks) {
		t.Errorf("%d chunks in the packs of %d", n, len(chunks))
	}
}

// Balanced chunks, 64 KiB on average, cost at most 80 bytes each in packs.
func TestCostOfAChunk(t *testing.T) {
	race.LeaveOut(t)
	w := newWorld(t)
	s := w.open(t, &cas.Options{PackSize: 32 << 20})
	r := seeded(t)
	var chunks [][]byte
	total := 0
	for total < 80<<20 {
		c := noise(r, 16<<10+int(r.Uint64()%(96<<10)))
		chunks = append(chunks, c)
		total += len(c)
	}
	put(t, s, cas.Raw, chunks...)
	closeStore(t, s)
	var stored int64
	for _, p := range w.packs(t) {
		stored += p.Size
	}
	if cost := float64(stored-int64(total)) / float64(len(chunks)); cost > 80 {
		t.Errorf("%.1f bytes a chunk", cost)
	} else {
		t.Logf("%.1f bytes a chunk", cost)
	}
}
