package pack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
)

// What is not known is an error that names it, if its sum is right, and damage
// if it is not: on the way from frame to frame and by the footer.
func TestUnknown(t *testing.T) {
	setByte := func(at int, v byte) func([]byte) []byte {
		return func(h []byte) []byte { h[at] = v; return h }
	}
	header := func(change func(h []byte) []byte) func(*builder) {
		return func(b *builder) {
			h := change(b.p[:HeaderSize-4])
			binary.LittleEndian.PutUint32(h[8:], uint32(len(h)+4))
			b.p = binary.LittleEndian.AppendUint32(h, Checksum(h))
		}
	}
	frame := func(change func(h []byte) []byte) func(*builder) {
		return func(b *builder) { b.add(KindData, change, "a chunk", "another") }
	}
	longer := func(h []byte) []byte { h[4] = 3; return append(h, "more that version 3 has"...) }
	for _, c := range []struct {
		what  string
		value uint64
		make  func(b *builder)
	}{
		{"pack version", 3, header(func(h []byte) []byte { h[7] = 3; return append(h, "longer"...) })},
		{"pack version", 255, header(setByte(7, 255))},
		{"length of a pack header", 134, header(func(h []byte) []byte { return append(h, "longer"...) })},
		{"pack flags", 4, header(setByte(12, 4))},
		{"reserved field of a pack header", 1, header(setByte(120, 1))},
		{"pack version", 1, func(b *builder) {
			b.p = append([]byte("CAIRNPK\x01"), b.p[16:32]...)
			b.p = append(b.p, 1, 2, 3, 4, 5, 6, 7, 8)
			b.p = binary.LittleEndian.AppendUint32(b.p, Checksum(b.p))
			b.p = append(b.p, make([]byte, 200)...)
		}},
		{"frame version", 3, frame(setByte(4, 3))},
		{"frame version", 3, frame(longer)},
		{"frame version", 1, frame(setByte(4, 1))},
		{"frame kind", 5, frame(setByte(5, 5))},
		{"frame kind", 0, frame(setByte(5, 0))},
		{"frame flags", 2, frame(setByte(7, 2))},
		{"frame flags", 129, frame(setByte(7, 129))},
		{"sources of codec", 1, func(b *builder) {
			f := &Frame{Pack: testPack, Offset: int64(len(b.p)), Kind: KindData, Codec: Zstd, Sources: []Source{{Digest{1}, 2, 3}}}
			h := AppendFrame(nil, f)
			b.lines.Add(f, h)
			b.p = append(b.p, h...)
		}},
	} {
		for _, sealed := range []bool{false, true} {
			b := newBuilder()
			first := b.add(KindData, nil, "known")
			at := int64(0)
			if !strings.Contains(c.what, "pack") {
				at = first.End()
			}
			c.make(b)
			if sealed {
				b.seal()
			}
			_, _, err := walk(t, b.p)
			var ue *UnknownError
			if !errors.As(err, &ue) || !errors.Is(err, ErrUnknown) || *ue != (UnknownError{c.what, c.value, testPack, at}) {
				t.Errorf("%s %d, sealed %v: %v", c.what, c.value, sealed, err)
			}
			if ue != nil && !strings.Contains(ue.Error(), c.what) {
				t.Errorf("%v does not name it", ue)
			}
		}
	}
}

func TestUnknownFooter(t *testing.T) {
	for _, c := range []struct {
		what  string
		value uint64
		at    int
	}{{"footer version", 3, 7}, {"footer flags", 3, 12}, {"length of a footer's trailer", 3, 8}} {
		b := newBuilder()
		b.add(KindData, nil, "known")
		begin := len(b.p)
		b.seal()
		tail := b.p[len(b.p)-tailSize:]
		tail[c.at] = byte(c.value)
		sum := sumFooter(testPack, b.p[begin:len(b.p)-tailSize], tail[:32])
		copy(tail[32:], sum[:])
		_, _, err := walk(t, b.p)
		var ue *UnknownError
		if !errors.As(err, &ue) || *ue != (UnknownError{c.what, c.value, testPack, int64(begin)}) {
			t.Errorf("%s: %v", c.what, err)
		}
		tail[40] ^= 1
		if _, foot, err := walk(t, b.p); err != nil || foot != nil {
			t.Errorf("%s, with a wrong sum: %v, %v", c.what, foot, err)
		}
	}
}

// A header of something unknown that is not whole is damage.
func TestUnknownAndDamaged(t *testing.T) {
	b := newBuilder()
	f := b.add(KindData, func(h []byte) []byte { h[4] = 3; return h }, "of version 3")
	b.add(KindData, nil, "behind it")
	b.p[f.Offset+int64(f.HeaderLen)-1] ^= 1
	found, _, err := walk(t, b.p)
	if err != nil || len(found) != 2 || found[0].Damage == nil || found[1].Damage != nil {
		t.Errorf("%+v, %v", found, err)
	}
}

// What was appended is read back, from headers and from footers.
func TestFrames(t *testing.T) {
	b := newBuilder()
	want := []*Frame{
		b.add(KindData, nil, "one", "two", strings.Repeat("three", 10000)),
		b.add(KindSegment, nil, "a segment"),
		b.add(KindRecord, nil, "record", "of two slots"),
		b.add(KindNote, nil, "a note"),
	}
	withSources := &Frame{ID: FrameID{9}, Pack: testPack, Offset: int64(len(b.p)), Kind: KindData, Codec: 77,
		Slots: []Ref{{Digest{1}, 5}}, Sources: []Source{{Digest{2}, 1 << 20, 1 << 30}, {Digest{3}, 0, 1}}}
	sealed := &Frame{ID: FrameID{10}, Pack: testPack, Kind: KindRecord, Codec: Zstd, Key: 1 << 60, First: 1, Last: 1 << 40, Block: []byte("sealed")}
	for _, f := range []*Frame{withSources, sealed} {
		f.Offset = int64(len(b.p))
		h := AppendFrame(nil, f)
		b.lines.Add(f, h)
		b.p = append(b.p, h...)
		want = append(want, f)
	}
	check := func(found []*Found, err error) {
		t.Helper()
		if err != nil || len(found) != len(want) {
			t.Fatalf("%d found, %v", len(found), err)
		}
		for i := range want {
			if found[i].Damage != nil || !reflect.DeepEqual(found[i].Frame, want[i]) {
				t.Errorf("frame %d: %+v, want %+v", i, found[i].Frame, want[i])
			}
		}
	}
	found, foot, err := walk(t, b.p)
	check(found, err)
	if foot != nil {
		t.Error("a footer was found")
	}
	end := int64(len(b.p))
	b.seal()
	found, foot, err = walk(t, b.p)
	check(found, err)
	if foot == nil || foot.Begin != end {
		t.Fatalf("footer %+v", foot)
	}
	i := 0
	for f, err := range foot.Frames() {
		if err != nil {
			t.Fatal(err)
		}
		w := *want[i]
		if w.Kind == KindRecord {
			w.Slots, w.Block = nil, nil
		}
		if !reflect.DeepEqual(f, &w) {
			t.Errorf("line %d: %+v, want %+v", i, f, &w)
		}
		i++
	}
	h, err := ReadHeader(t.Context(), &bytesReader{p: b.p}, testPack, int64(len(b.p)))
	if want := (Header{testPack, [16]byte{1}, [16]byte{2}, [16]byte{3}, 4, ID{}, 2, 5}); err != nil || *h != want {
		t.Errorf("header %+v, %v", h, err)
	}
}

// With a footer a damaged header costs only itself, and what the footer says
// of its frame is known.
func TestDamagedHeaderWithFooter(t *testing.T) {
	b := newBuilder()
	b.add(KindData, nil, "one")
	f := b.add(KindData, nil, "two")
	b.add(KindData, nil, "three")
	b.seal()
	for at := f.Offset; at < f.Offset+int64(f.HeaderLen); at++ {
		p := bytes.Clone(b.p)
		p[at] ^= 4
		found, _, err := walk(t, p)
		if err != nil || len(found) != 3 || found[0].Damage != nil || found[2].Damage != nil {
			t.Fatalf("byte %d: %v, %v", at, found, err)
		}
		if found[1].Damage == nil || !reflect.DeepEqual(found[1].Frame, f) {
			t.Errorf("byte %d: %+v", at, found[1])
		}
	}
}

// One flipped bit in a header, before bytes that a user has made to look like
// headers, costs little more than reading the pack once: with and without
// right checks, which nobody can make who does not know the pack's ID.
func TestResyncIsBounded(t *testing.T) {
	race.LeaveOut(t)
	for _, c := range []struct {
		name  string
		every int
		right bool
	}{{"no right check", 32, false}, {"right checks", 64, true}, {"tags only", 4, false}} {
		b := newBuilder()
		b.add(KindData, nil, strings.Repeat("x", 4<<20)) // its bytes are made below, when they have a place
		chunk := b.p[len(b.p)-4<<20:]
		for i := 0; i+frameFixed <= len(chunk); i += c.every {
			if c.every < frameFixed {
				copy(chunk[i:], frameTag)
				continue
			}
			h := chunk[i : i+frameFixed]
			copy(h, frameTag+"\x02\x01")
			binary.LittleEndian.PutUint32(h[8:], maxHeader-1<<20)
			binary.LittleEndian.PutUint32(h[12:], uint32(i))
			if c.right {
				binary.LittleEndian.PutUint32(h[checkAt:], checkOf(h, testPack, int64(len(b.p)-len(chunk)+i)))
			}
		}
		last := b.add(KindData, nil, strings.Repeat("y", 4<<20))
		b.p[HeaderSize+20] ^= 1
		r := &bytesReader{p: b.p}
		var found []*Found
		if _, err := Walk(t.Context(), r, testPack, int64(len(b.p)), func(f *Found) error {
			found = append(found, f)
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if len(found) == 0 || found[0].Damage == nil {
			t.Errorf("%s: %d found", c.name, len(found))
		}
		if !c.right && (len(found) != 2 || !reflect.DeepEqual(found[1].Frame, last)) {
			t.Errorf("%s: the frame behind is not found", c.name)
		}
		if most := 3*int64(len(b.p)) + maxHeader; r.read > most {
			t.Errorf("%s: %d bytes read of a pack of %d", c.name, r.read, len(b.p))
		}
	}
}

// Many small frames cost no more than reading the pack twice.
func TestWalkIsBounded(t *testing.T) {
	race.LeaveOut(t)
	for _, size := range []int{1, 100, 5000, 20000} {
		for _, slots := range []int{1, 300, 500} {
			b := newBuilder()
			for len(b.p) < 2<<20 {
				chunks := make([]string, slots)
				chunks[0] = strings.Repeat("x", size)
				b.add(KindData, nil, chunks...)
			}
			r := &bytesReader{p: b.p}
			if _, err := Walk(t.Context(), r, testPack, int64(len(b.p)), func(*Found) error { return nil }); err != nil {
				t.Fatal(err)
			}
			if r.read > 2*int64(len(b.p))+tailMost+windowSize {
				t.Errorf("frames of %d slots and %d bytes: %d bytes read of %d", slots, size, r.read, len(b.p))
			}
		}
	}
}

// The longest header that a writer makes can be read.
func TestLongestHeader(t *testing.T) {
	race.LeaveOut(t)
	b := newBuilder()
	f := &Frame{ID: FrameID{1}, Pack: testPack, Offset: int64(len(b.p)), Kind: KindData, Codec: 9}
	for i := range MaxSlots {
		f.Slots = append(f.Slots, Ref{Digest{byte(i), byte(i >> 8)}, 255})
	}
	for range MaxSources {
		f.Sources = append(f.Sources, Source{Digest{1}, 1<<32 - 1, 1<<32 - 1})
	}
	h := AppendFrame(nil, f)
	b.lines.Add(f, h)
	b.p = append(b.p, h...)
	if found, _, err := walk(t, b.p); err != nil || len(found) != 1 || !reflect.DeepEqual(found[0].Frame, f) {
		t.Fatalf("%d found, %v", len(found), err)
	}
	if len(h) > maxHeader {
		t.Errorf("%d bytes", len(h))
	}
	for !b.lines.Full() {
		f.Offset = int64(len(b.p))
		b.lines.Add(f, AppendFrame(nil, f))
		b.p = append(b.p, h...)
	}
	b.seal()
	if foot, err := ReadFooter(t.Context(), &bytesReader{p: b.p}, testPack, int64(len(b.p))); err != nil || foot == nil {
		t.Errorf("a footer that was just full: %v", err)
	}
}
