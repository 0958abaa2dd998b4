package manifest_test

import (
	"bytes"
	"encoding/binary"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

var update = flag.Bool("update", false, "write golden files anew")

// golden compares got with testdata/name.golden. What is written there is on
// disks out there, so a difference means a new format version.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
	if *update {
		if err := os.WriteFile(path, lines(got), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if text := lines(got); !bytes.Equal(text, want) {
		t.Errorf("%s encodes to\n%swant\n%s", name, text, want)
	}
}

// lines is p in hexadecimal, 32 bytes a line.
func lines(p []byte) []byte {
	var b bytes.Buffer
	for len(p) > 32 {
		fmt.Fprintf(&b, "%x\n", p[:32])
		p = p[32:]
	}
	fmt.Fprintf(&b, "%x\n", p)
	return b.Bytes()
}

func TestGoldenRows(t *testing.T) {
	files, manifests := fixedRows(t)
	for name, f := range files {
		p, err := f.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, p)
		var back manifest.File
		if err := back.UnmarshalBinary(p); err != nil || !reflect.DeepEqual(&back, f) {
			t.Errorf("%s decodes to\n%+v, %v\nwant\n%+v", name, back, err, *f)
		}
	}
	for name, m := range manifests {
		p, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, p)
		var back manifest.Manifest
		if err := back.UnmarshalBinary(p); err != nil || !reflect.DeepEqual(&back, m) {
			t.Errorf("%s decodes to\n%+v, %v\nwant\n%+v", name, back, err, *m)
		}
	}
}

// fixedRecords holds every type of record, but for those that came later and have
// slots of their own.
func fixedRecords(t testing.TB) []manifest.Record {
	files, manifests := fixedRows(t)
	return []manifest.Record{
		{Manifest: manifests["manifest-inline"]},
		{File: files["file-full"]},
		{Purged: fixedFile},
		{Dropped: fixedVersion},
		{Doomed: &manifest.Doom{Pack: cas.PackID{1, 2, 3, 15: 16}, Writer: [16]byte{15: 9}, Serial: 300}},
		{Purged: fixedUUID},
		{Home: &manifest.Home{Bucket: "archive", Move: 2, From: "disk"}},
	}
}

// fixedSlots holds every type of slot.
func fixedSlots(t testing.TB) map[string]*manifest.Slot {
	id := [16]byte{1, 15: 2}
	return map[string]*manifest.Slot{
		"slot-commit":     {Commit: 300, Part: 1, Parts: 1, Records: fixedRecords(t)},
		"slot-part":       {Commit: 301, Part: 2, Parts: 3, Records: []manifest.Record{{Purged: fixedFile}}},
		"slot-checkpoint": {Checkpoint: id, Base: 298, Part: 200, Records: []manifest.Record{{Home: &manifest.Home{Bucket: "b", Move: 1}}}},
		"slot-census": {Commit: 302, Part: 1, Parts: 1, Records: []manifest.Record{
			{Census: &manifest.Census{Writer: [16]byte{15: 9}, Ranges: []manifest.SerialRange{{1, 1}, {3, 300}, {1 << 40, 1 << 41}}}}}},
		"slot-link": {Commit: 303, Part: 1, Parts: 1, Records: []manifest.Record{{Link: typedRows()["link-full"].(*manifest.Link)}}},
		"slot-end":  {Checkpoint: id, Base: 298, Parts: 200, Digest: cas.Sum([]byte("parts"))},
	}
}

func TestGoldenSlots(t *testing.T) {
	for name, want := range fixedSlots(t) {
		p, err := manifest.EncodeSlot(want)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, p)
		got, err := manifest.DecodeSlot(p)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s decodes to %+v, %v", name, got, err)
		}
	}
}

func TestGoldenSegment(t *testing.T) {
	s := newSegments()
	c := s.list(t, slices.Concat(fixedRefs(300), slices.Repeat(fixedRefs(1), 300)))
	names := map[byte]string{0: "segment-leaf", 1: "segment-top"}
	for d, p := range s.m {
		// The level stands behind the length of the body.
		_, n := binary.Uvarint(p[2:])
		level := p[2+n]
		if d != c.Top && level == 1 || names[level] == "" || level == 0 && d != lastLeaf(t, s, c) {
			continue
		}
		golden(t, names[level], p)
		if again, err := manifest.CheckNode(p); err != nil || !bytes.Equal(again, p) {
			t.Errorf("segment encodes to %x, %v", again, err)
		}
	}
}

func lastLeaf(t *testing.T, s *segments, c *manifest.Content) (last cas.Digest) {
	err := c.Walk(t.Context(), s, func(g manifest.Segment) error {
		last = g.Digest
		return nil
	}, func([]cas.Ref) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	return last
}

// Roots are strong ETags and what equal contents are found by: they must stay
// the same for ever.
func TestGoldenRoots(t *testing.T) {
	var b strings.Builder
	for _, n := range []int{0, 1, 32, 33, 128, 2048, 50000} {
		s := newSegments()
		c := s.list(t, fixedRefs(n))
		fmt.Fprintf(&b, "%d chunks in %d segments: %s\n", n, len(s.m), c.Root())
	}
	path := filepath.Join("testdata", "roots.txt")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() != string(want) {
		t.Errorf("roots are\n%swant\n%s", b.String(), want)
	}
}
