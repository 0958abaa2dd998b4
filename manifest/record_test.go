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
	} {
		if p, err := manifest.AppendRecords(nil, []manifest.Record{r}); err == nil {
			t.Errorf("%+v is encoded as %x", r, p)
		}
	}
}

func TestDecodeRecordsRefuses(t *testing.T) {
	id := make([]byte, 22)
	record := func(typ byte, body ...byte) []byte {
		return append([]byte{1, typ, byte(len(body))}, body...)
	}
	if rs, err := manifest.DecodeRecords(record(3, id...)); err != nil || len(rs) != 1 {
		t.Fatalf("%d records, %v", len(rs), err)
	}
	tests := map[string][]byte{
		"nothing":              {},
		"another version":      {2},
		"type 0":               record(0),
		"type alone":           {1, 3},
		"longer than the rest": {1, 3, 22, 'f', '_'},
		"length not shortest":  append([]byte{1, 3, 0x80 | 22, 0}, id...),
		"UUID of a version":    record(4, id[:16]...),
		"short ID":             record(3, id[:21]...),
		"doom of no serial":    record(5, make([]byte, 33)...),
		"doom of two serials":  record(5, append(make([]byte, 32), 1, 1)...),
		"doom of no writer":    record(5, make([]byte, 16)...),
		"damaged row":          record(1, 'F', 1, 1),
		"row of no file":       record(1, 'F', 1, 0),
		"home of no bucket":    record(6, envelope('H', 1, field(2, 1))...),
		"manifest of a root":   record(2, envelope('M', 1, field(1, id...), field(2, id...), field(5, make([]byte, 32)...))...),
		"manifest of no file":  record(2, manifestRow()...),
	}
	for name, p := range tests {
		if rs, err := manifest.DecodeRecords(p); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s: %x decodes to %+v, %v", name, p, rs, err)
		}
	}
}

// A record of a type to come stops whoever would pass over it.
func TestDecodeRecordsNamesTheUnknown(t *testing.T) {
	for _, test := range []struct {
		p    []byte
		want manifest.UnknownError
	}{
		{[]byte{1, 7, 1, 0}, manifest.UnknownError{In: "record", What: "type", Value: 7}},
		{append([]byte{1, 1, 3}, envelope('F', 2)...), manifest.UnknownError{In: "file row", What: "version", Value: 2}},
	} {
		rs, err := manifest.DecodeRecords(test.p)
		var u *manifest.UnknownError
		if !errors.Is(err, manifest.ErrUnknown) || errors.Is(err, manifest.ErrFormat) || !errors.As(err, &u) || *u != test.want {
			t.Errorf("%x decodes to %+v, %v", test.p, rs, err)
		}
	}
}
