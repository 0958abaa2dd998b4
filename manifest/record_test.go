package manifest_test

import (
	"errors"
	"reflect"
	"testing"

	"github.com/cairn-store/cairn/manifest"
)

func TestRecordsSurvive(t *testing.T) {
	r := seeded(t)
	for range 50 {
		var want []manifest.Record
		for range r.IntN(10) {
			all := append(fixedRecords(t), manifest.Record{File: randomFile(r)},
				manifest.Record{Manifest: randomManifest(t, r)}, manifest.Record{Purged: manifest.NewFileID()},
				manifest.Record{Dropped: manifest.NewVersionID()})
			want = append(want, all[r.IntN(len(all))])
		}
		p, err := manifest.AppendRecords([]byte("before"), want)
		if err != nil {
			t.Fatal(err)
		}
		if string(p[:6]) != "before" {
			t.Fatal("what stood before the records is gone")
		}
		got, err := manifest.DecodeRecords(p[6:])
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\ncame back as\n%+v, %v", want, got, err)
		}
	}
}

// Records that are decoded must not change with the buffer they came in.
func TestDecodedRecordsAreCopies(t *testing.T) {
	want := fixedRecords(t)
	p, err := manifest.AppendRecords(nil, want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := manifest.DecodeRecords(p)
	if err != nil {
		t.Fatal(err)
	}
	clear(p)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("records change with the bytes they were decoded from: %+v", got)
	}
}

func TestAppendRecordsRefuses(t *testing.T) {
	for _, r := range []manifest.Record{
		{},
		{Purged: "f_short"},
		{Purged: manifest.FileID(fixedVersion)},
		{Dropped: manifest.VersionID(fixedFile)},
		{File: &manifest.File{TotalSize: -1}},
		{Manifest: &manifest.Manifest{Content: manifest.Content{Size: 1}}},
		{Home: &manifest.Home{Bucket: "b"}},
		{Home: &manifest.Home{Move: 1}},
	} {
		if p, err := manifest.AppendRecords(nil, []manifest.Record{r}); err == nil {
			t.Errorf("%+v is encoded as %x", r, p)
		}
	}
}

func TestDecodeRecordsRefuses(t *testing.T) {
	id := []byte(fixedFile)
	record := func(typ byte, body ...byte) []byte {
		return append([]byte{1, typ, byte(len(body))}, body...)
	}
	if rs, err := manifest.DecodeRecords(record(3, id...)); err != nil || len(rs) != 1 {
		t.Fatalf("%d records, %v", len(rs), err)
	}
	tests := map[string][]byte{
		"nothing":              {},
		"another version":      {2},
		"unknown type":         record(7, 1),
		"type 0":               record(0),
		"type alone":           {1, 3},
		"longer than the rest": {1, 3, 38, 'f', '_'},
		"length not shortest":  append([]byte{1, 3, 0x80 | 38, 0}, id...),
		"ID of another kind":   record(4, id...),
		"short ID":             record(3, id[:37]...),
		"short pack ID":        record(5, make([]byte, 15)...),
		"damaged row":          record(1, 1, 1),
		"home of no bucket":    record(6, 1, 2, 1, 1),
		"manifest of no root":  record(2, 1),
	}
	for name, p := range tests {
		if rs, err := manifest.DecodeRecords(p); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s: %x decodes to %+v, %v", name, p, rs, err)
		}
	}
}
