package manifest_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/cairn-store/cairn/internal/race"
	"github.com/cairn-store/cairn/manifest"
)

func randomRecords(t testing.TB, r *rand.Rand, n int) (rs []manifest.Record) {
	for range n {
		all := append(fixedRecords(t), manifest.Record{File: randomFile(r)},
			manifest.Record{Manifest: randomManifest(t, r)}, manifest.Record{Purged: manifest.NewFileID()},
			manifest.Record{Dropped: manifest.NewVersionID()}, manifest.Record{Census: randomCensus(r)},
			manifest.Record{Link: randomLink(r)})
		rs = append(rs, all[r.IntN(len(all))])
	}
	return rs
}

// randomCensus counts some serials, by chance many in a row.
func randomCensus(r *rand.Rand) *manifest.Census {
	c := &manifest.Census{Writer: [16]byte{byte(r.IntN(256))}}
	for range 1 + r.IntN(20) {
		c.Add(1 + r.Uint64N(1<<(1+r.IntN(40))))
	}
	return c
}

// joined are the records of the slots of one commit, and fails if they are not
// those of a commit of the number seq.
func joined(t *testing.T, seq uint64, slots [][]byte) (rs []manifest.Record) {
	t.Helper()
	for i, p := range slots {
		s, err := manifest.DecodeSlot(p)
		if err != nil {
			t.Fatal(err)
		}
		if s.Commit != seq || s.Part != uint64(i+1) || s.Parts != uint64(len(slots)) || len(p) > manifest.MaxSlot {
			t.Fatalf("slot %d of %d: %d bytes, part %d of %d of commit %d", i, len(slots), len(p), s.Part, s.Parts, s.Commit)
		}
		rs = append(rs, s.Records...)
	}
	return rs
}

func TestCommitsSurvive(t *testing.T) {
	race.LeaveOut(t)
	r := seeded(t)
	for range 50 {
		want := randomRecords(t, r, 1+r.IntN(10))
		seq := 1 + r.Uint64()>>r.IntN(63)
		slots, err := manifest.EncodeCommit(seq, want)
		if err != nil {
			t.Fatal(err)
		}
		if got := joined(t, seq, slots); len(slots) != 1 || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\ncame back in %d slots as\n%+v", want, len(slots), got)
		}
	}
}

// fat is a record of exactly n bytes.
func fat(t *testing.T, n int) manifest.Record {
	t.Helper()
	for pad := max(n-40, 0); ; pad++ {
		r := manifest.Record{File: &manifest.File{ID: fixedFile, Metadata: bytes.Repeat([]byte{'x'}, pad)}}
		p, err := manifest.EncodeSlot(&manifest.Slot{Commit: 1, Part: 1, Parts: 1, Records: []manifest.Record{r}})
		if err != nil {
			t.Fatal(err)
		}
		body := len(p) - 4 // type and numbers
		for size := body; size > 0; size >>= 7 {
			body-- // the length of the slot
		}
		if body -= 2; body >= n {
			if body > n {
				t.Fatalf("no record has %d bytes", n)
			}
			return r
		}
	}
}

// What a commit may cost is bounded, and what fits is always written.
func TestCommitBounds(t *testing.T) {
	race.LeaveOut(t)
	tests := map[string]struct {
		sizes []int // of records, in bytes
		slots int   // 0 if it is refused
	}{
		"one small record":       {[]int{200}, 1},
		"a slot, full":           {slices.Repeat([]int{2048}, 511), 1},
		"a slot and one more":    {slices.Repeat([]int{2048}, 512), 2},
		"the largest record":     {[]int{manifest.MaxRecord}, 1},
		"two large records":      {[]int{manifest.MaxRecord, manifest.MaxRecord}, 2},
		"a record too large":     {[]int{manifest.MaxRecord + 1}, 0},
		"one of three too large": {[]int{300, manifest.MaxRecord + 1, 300}, 0},
		"the largest commit":     {slices.Repeat([]int{manifest.MaxRecord - 64}, 64), 32},
		"a commit too large":     {slices.Repeat([]int{manifest.MaxRecord}, 64), 0},
		"large and small":        {slices.Repeat([]int{manifest.MaxRecord, 600 << 9, 300 << 10}, 20), 30},
	}
	for name, test := range tests {
		var want []manifest.Record
		made := make(map[int]manifest.Record)
		for _, n := range test.sizes {
			if made[n].File == nil {
				made[n] = fat(t, n)
			}
			want = append(want, made[n])
		}
		slots, err := manifest.EncodeCommit(7, want)
		if test.slots == 0 {
			if !errors.Is(err, manifest.ErrTooLarge) || slots != nil {
				t.Errorf("%s: %d slots, %v", name, len(slots), err)
			}
			continue
		}
		if err != nil || len(slots) > manifest.MaxParts {
			t.Errorf("%s: %d slots, %v", name, len(slots), err)
			continue
		}
		total := 0
		for _, p := range slots {
			total += len(p)
		}
		if got := joined(t, 7, slots); !reflect.DeepEqual(got, want) || total > manifest.MaxCommit || len(slots) != test.slots {
			t.Errorf("%s: %d records of %d bytes in %d slots", name, len(got), total, len(slots))
		}
	}
}

// EncodeSome takes what fits, so that any number of records can be written.
func TestEncodeSome(t *testing.T) {
	race.LeaveOut(t)
	want := slices.Repeat([]manifest.Record{fat(t, 300<<10)}, 250)
	commits := 0
	for rest := want; len(rest) > 0; commits++ {
		slots, n, err := manifest.EncodeSome(9, rest)
		if err != nil || n == 0 {
			t.Fatalf("%d records, %v", n, err)
		}
		if got := joined(t, 9, slots); len(got) != n {
			t.Fatalf("%d records came back, want %d", len(got), n)
		}
		rest = rest[n:]
	}
	if commits != 3 {
		t.Errorf("%d commits", commits)
	}
}

// Records that are decoded must not change with the buffer they came in.
func TestDecodedRecordsAreCopies(t *testing.T) {
	want := fixedRecords(t)
	slots, err := manifest.EncodeCommit(1, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.DecodeSlot(slots[0])
	if err != nil {
		t.Fatal(err)
	}
	clear(slots[0])
	if !reflect.DeepEqual(got.Records, want) {
		t.Errorf("records change with the bytes they were decoded from: %+v", got.Records)
	}
}

func TestEncodeCommitRefuses(t *testing.T) {
	if _, err := manifest.EncodeCommit(0, fixedRecords(t)); err == nil {
		t.Error("commit 0 is encoded")
	}
	if _, err := manifest.EncodeCommit(1, nil); err == nil {
		t.Error("a commit of nothing is encoded")
	}
	for _, r := range []manifest.Record{
		{},
		{File: &manifest.File{}},
		{Manifest: &manifest.Manifest{}},
		{Manifest: &manifest.Manifest{ID: fixedVersion}},
		{Doomed: &manifest.Doom{}},
		{Dropped: manifest.VersionID(fixedUUID)},
		{Purged: "f_short"},
		{Purged: manifest.FileID(fixedVersion)},
		{Dropped: manifest.VersionID(fixedFile)},
		{File: &manifest.File{ID: fixedFile, TotalSize: -1}},
		{Manifest: &manifest.Manifest{ID: fixedVersion, File: fixedFile, Content: manifest.Content{Size: 1}}},
		{Home: &manifest.Home{Bucket: "b"}},
		{Home: &manifest.Home{Move: 1}},
		{Census: &manifest.Census{}},
		{Census: &manifest.Census{Ranges: []manifest.SerialRange{{0, 1}}}},
		{Census: &manifest.Census{Ranges: []manifest.SerialRange{{3, 2}}}},
		{Census: &manifest.Census{Ranges: []manifest.SerialRange{{1, 2}, {3, 4}}}},
		{Census: &manifest.Census{Ranges: []manifest.SerialRange{{5, 6}, {1, 2}}}},
	} {
		if p, err := manifest.EncodeCommit(1, []manifest.Record{r}); err == nil {
			t.Errorf("%+v is encoded as %x", r, p)
		}
	}
}

func TestDecodeSlotRefuses(t *testing.T) {
	id := make([]byte, 22)
	slot := func(body ...byte) []byte { return envelope('R', 1, body) }
	record := func(typ byte, body ...byte) []byte {
		return slot(append([]byte{1, 1, 1, 1, typ, byte(len(body))}, body...)...)
	}
	purged := append([]byte{3, 22}, id...)
	part := func(head ...byte) []byte { return slot(append(head, purged...)...) }
	checkpoint := func(typ byte, rest ...byte) []byte { return slot(append(append([]byte{typ}, id[:16]...), rest...)...) }
	digest := make([]byte, 32)
	for _, p := range [][]byte{record(3, id...), part(1, 5, 2, 2), part(append(append([]byte{2}, id[:16]...), 1, 9)...),
		checkpoint(3, append([]byte{1, 0}, digest...)...)} {
		if _, err := manifest.DecodeSlot(p); err != nil {
			t.Fatalf("%x: %v", p, err)
		}
	}
	tests := map[string][]byte{
		"nothing":                      {},
		"an envelope of nothing":       slot(),
		"a row":                        envelope('F', 1),
		"bytes after it":               append(record(3, id...), 0),
		"type 0 of slot":               part(0, 1, 1, 1),
		"commit 0":                     part(1, 0, 1, 1),
		"part 0":                       part(1, 1, 0, 1),
		"part beyond":                  part(1, 1, 2, 1),
		"129 parts":                    part(1, 1, 1, 0x81, 1),
		"number not shortest":          part(1, 0x81, 0, 1, 1),
		"commit of nothing":            slot(1, 1, 1, 1),
		"head alone":                   slot(1, 1, 1),
		"checkpoint of no base":        checkpoint(2, append([]byte{0, 1}, purged...)...),
		"checkpoint's part 0":          checkpoint(2, append([]byte{1, 0}, purged...)...),
		"checkpoint of nothing":        checkpoint(2, 1, 1),
		"half an ID of checkpoint":     slot(append([]byte{2}, id[:15]...)...),
		"end of no base":               checkpoint(3, append([]byte{0, 1}, digest...)...),
		"end without digest":           checkpoint(3, append([]byte{1, 1}, digest[:31]...)...),
		"end with records":             checkpoint(3, append(append([]byte{1, 1}, digest...), purged...)...),
		"type 0":                       record(0),
		"type alone":                   slot(1, 1, 1, 1, 3),
		"longer than the rest":         slot(1, 1, 1, 1, 3, 22, 1),
		"length not shortest":          slot(append([]byte{1, 1, 1, 1, 3, 0x80 | 22, 0}, id...)...),
		"UUID of a version":            record(4, id[:16]...),
		"short ID":                     record(3, id[:21]...),
		"doom of no serial":            record(5, make([]byte, 33)...),
		"doom of two serials":          record(5, append(make([]byte, 32), 1, 1)...),
		"doom of no writer":            record(5, make([]byte, 16)...),
		"damaged row":                  record(1, 'F', 1, 1),
		"row of no file":               record(1, 'F', 1, 0),
		"home of no bucket":            record(6, envelope('H', 1, field(2, 1))...),
		"manifest of no file":          record(2, manifestRow()...),
		"census of nobody":             record(7, make([]byte, 15)...),
		"link of revision 0":           record(8, linkRow(2, 0)...),
		"link of revision 0, left out": record(8, linkRow(0)...),
		"link that is a host":          record(8, envelope('V', 1, field(1, 'h'))...),
		"census of nothing":            record(7, make([]byte, 16)...),
		"census of serial 0":           record(7, append(make([]byte, 16), 0, 1)...),
		"census of half a range":       record(7, append(make([]byte, 16), 5)...),
		"census of ranges that touch":  record(7, append(make([]byte, 16), 5, 1, 1, 0)...),
		"census of one range twice":    record(7, append(make([]byte, 16), 5, 1, 0, 1)...),
		"census that is cut off":       record(7, append(make([]byte, 16), 5, 0x80)...),
		"census over 64 bits":          record(7, append(make([]byte, 16), 5, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1)...),
	}
	// What is larger than a commit's slots and records are is damage.
	big, err := manifest.EncodeSlot(&manifest.Slot{Commit: 1, Part: 1, Parts: 1, Records: slices.Repeat([]manifest.Record{fat(t, 256<<10)}, 4)})
	if err != nil {
		t.Fatal(err)
	}
	tests["slot too large"] = big
	if tests["record too large"], err = manifest.EncodeSlot(&manifest.Slot{Commit: 1, Part: 1, Parts: 1,
		Records: []manifest.Record{fat(t, manifest.MaxRecord+1)}}); err != nil {
		t.Fatal(err)
	}
	for name, p := range tests {
		if s, err := manifest.DecodeSlot(p); !errors.Is(err, manifest.ErrFormat) || errors.Is(err, manifest.ErrUnknown) {
			t.Errorf("%s: %.100x decodes to %+v, %v", name, p, s, err)
		}
	}
}

// What is to come stops whoever would pass over it.
func TestDecodeSlotNamesTheUnknown(t *testing.T) {
	for _, test := range []struct {
		p    []byte
		want manifest.UnknownError
	}{
		{envelope('R', 2, []byte{1}), manifest.UnknownError{In: "record slot", What: "version", Value: 2}},
		{envelope('Z', 1, []byte{1}), manifest.UnknownError{In: "record slot", What: "tag", Value: 'Z'}},
		{envelope('R', 1, []byte{4, 0}), manifest.UnknownError{In: "record slot", What: "type", Value: 4}},
		{envelope('R', 1, []byte{1, 1, 1, 1, 9, 1, 0}), manifest.UnknownError{In: "record", What: "type", Value: 9}},
		{envelope('R', 1, []byte{1, 1, 1, 1}, append([]byte{8, byte(len(linkRow(11, 4)))}, linkRow(11, 4)...)), manifest.UnknownError{In: "link", What: "policy", Value: 4}},
		{envelope('R', 1, []byte{1, 1, 1, 1, 1, 3}, envelope('F', 2)), manifest.UnknownError{In: "file row", What: "version", Value: 2}},
	} {
		s, err := manifest.DecodeSlot(test.p)
		var u *manifest.UnknownError
		if !errors.Is(err, manifest.ErrUnknown) || errors.Is(err, manifest.ErrFormat) || !errors.As(err, &u) || *u != test.want {
			t.Errorf("%x decodes to %+v, %v", test.p, s, err)
		}
	}
}
