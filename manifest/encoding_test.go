package manifest_test

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

func randomString(r *rand.Rand) string {
	return []string{"", "a", "ü/ö", "\x00", strings.Repeat("long ", 60), fmt.Sprint(r.Uint64())}[r.IntN(6)]
}

func randomTime(r *rand.Rand) time.Time {
	if r.IntN(3) == 0 {
		return time.Time{}
	}
	return time.UnixMilli(1 + r.Int64N(4e12)).UTC()
}

func randomFile(r *rand.Rand) *manifest.File {
	f := &manifest.File{ID: manifest.NewFileID(), Revision: r.Uint64() >> r.IntN(64), Bucket: randomString(r),
		Folder: randomString(r), Name: randomString(r), State: manifest.State(r.IntN(3)), Owner: randomString(r),
		Current: manifest.NewVersionID(), LastVersion: r.Uint64() >> r.IntN(64), Versions: r.Uint64() >> r.IntN(64),
		TotalSize: r.Int64() >> r.IntN(63), TotalChunks: r.Int64() >> r.IntN(63),
		CreatedAt: randomTime(r), UpdatedAt: randomTime(r), DeletedAt: randomTime(r), ContentAt: randomTime(r),
		CacheControl: randomString(r), Cascaded: r.IntN(2) == 0}
	if r.IntN(3) == 0 {
		f.ID = fixedUUID
	}
	for range r.IntN(3) {
		if f.Held == nil {
			f.Held = make(map[manifest.VersionID]string)
		}
		f.Held[manifest.NewVersionID()] = randomString(r)
	}
	for range r.IntN(3) {
		f.Tags = append(f.Tags, randomString(r))
	}
	for i := range r.IntN(3) {
		if i == 0 {
			f.Access = make(map[string]string)
		}
		f.Access[randomString(r)] = randomString(r)
	}
	if s := randomString(r); s != "" {
		f.Metadata = []byte(s)
	}
	return f
}

func randomManifest(t testing.TB, r *rand.Rand) *manifest.Manifest {
	m := &manifest.Manifest{ID: manifest.NewVersionID(), File: manifest.NewFileID(), Version: r.Uint64() >> r.IntN(64),
		MIMEType: randomString(r), DeclaredMIMEType: randomString(r), CreatedAt: randomTime(r), CreatedBy: randomString(r)}
	m.Content = *newSegments().list(t, randomRefs(r, r.IntN(3)*r.IntN(300)))
	m.Chunker = randomString(r)
	for i := range r.IntN(3) {
		if i == 0 {
			m.Digests = make(map[string][]byte)
		}
		m.Digests[fmt.Sprint(i)] = []byte(randomString(r) + "x")
	}
	return m
}

func randomLink(r *rand.Rand) *manifest.Link {
	l := &manifest.Link{ID: manifest.NewLinkID(), Revision: 1 + r.Uint64()>>(1+r.IntN(63)), Host: "h" + randomString(r), Session: r.Uint64() >> r.IntN(64),
		Bucket: "b" + randomString(r), File: manifest.NewFileID(), Collection: randomString(r), Record: randomString(r), Field: randomString(r),
		OnDelete: manifest.OnDelete(r.IntN(4)), State: manifest.LinkState(r.IntN(4)), Due: r.IntN(2) == 0, Who: randomString(r), At: randomTime(r)}
	if r.IntN(2) == 0 {
		l.File, l.Version = fixedUUID, manifest.NewVersionID()
	}
	return l
}

func randomHost(r *rand.Rand) *manifest.Host {
	h := &manifest.Host{Name: "h" + randomString(r), Session: r.Uint64() >> r.IntN(64), Offered: r.Uint64() >> r.IntN(64), Unreconciled: r.IntN(2) == 0}
	for range r.IntN(20) {
		h.Live = append(h.Live, r.Uint64()>>r.IntN(64))
		h.Buckets = append(h.Buckets, randomString(r))
	}
	slices.Sort(h.Live)
	h.Live = slices.Compact(h.Live)
	if s := randomString(r); s != "" {
		h.ID, h.Fields = [16]byte{7: byte(r.IntN(256))}, []byte(s)
	}
	return h
}

// trip encodes from, decodes that into to, and encodes that again.
func trip(t *testing.T, from encoding.BinaryAppender, to interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}) {
	t.Helper()
	p, err := from.AppendBinary([]byte("before"))
	if err != nil {
		t.Fatalf("encode %+v: %v", from, err)
	}
	p, ok := bytes.CutPrefix(p, []byte("before"))
	if !ok {
		t.Fatal("what stood before the row is gone")
	}
	if err := to.UnmarshalBinary(p); err != nil || !reflect.DeepEqual(from, to) {
		t.Fatalf("%+v\ncame back as\n%+v, %v", from, to, err)
	}
	if again, err := to.AppendBinary(nil); err != nil || !bytes.Equal(again, p) {
		t.Fatalf("%+v encodes to %x, then to %x, %v", from, p, again, err)
	}
}

func TestRowsSurvive(t *testing.T) {
	r := seeded(t)
	for range 500 {
		trip(t, randomFile(r), &manifest.File{Name: "left over", Tags: []string{"x"}})
		trip(t, randomManifest(t, r), &manifest.Manifest{MIMEType: "left over"})
		trip(t, randomLink(r), &manifest.Link{Field: "left over"})
		trip(t, randomHost(r), &manifest.Host{Live: []uint64{1}})
	}
	trip(t, &manifest.File{Revision: math.MaxUint64, TotalSize: math.MaxInt64}, new(manifest.File))
}

func TestTimesKeepMilliseconds(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 6789123, time.FixedZone("", 3600))
	p, err := (&manifest.File{CreatedAt: at}).AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	var f manifest.File
	if err := f.UnmarshalBinary(p); err != nil || !f.CreatedAt.Equal(at.Truncate(time.Millisecond)) || f.CreatedAt.Location() != time.UTC {
		t.Errorf("%v came back as %v, %v", at, f.CreatedAt, err)
	}
}

// What could not be read back must not be written: a row that is lost is
// worse than a change that fails.
func TestEncodeRefuses(t *testing.T) {
	ref := cas.Ref{Length: 5}
	tests := map[string]encoding.BinaryAppender{
		"negative size":      &manifest.File{TotalSize: -1},
		"negative chunks":    &manifest.File{TotalChunks: -1},
		"unknown state":      &manifest.File{State: 3},
		"time before 1970":   &manifest.File{CreatedAt: time.Unix(-1, 0)},
		"the year 1970":      &manifest.Manifest{CreatedAt: time.Unix(0, 0)},
		"not an ID":          &manifest.File{ID: "f_short"},
		"ID of a version":    &manifest.File{ID: manifest.FileID(fixedVersion)},
		"UUID of a version":  &manifest.File{Current: "00000000-0000-4000-8000-000000000000"},
		"UUID in upper case": &manifest.File{ID: "ABCDEF00-0000-4000-8000-000000000000"},
		"key not UTF-8":      &manifest.File{Access: map[string]string{"\xff": "true"}},
		"size without list":  &manifest.Manifest{Content: manifest.Content{Size: 5, Chunks: 1}},
		"wrong size":         &manifest.Manifest{Content: manifest.Content{Size: 6, Chunks: 1, Inline: []cas.Ref{ref}}},
		"wrong chunks":       &manifest.Manifest{Content: manifest.Content{Size: 5, Chunks: 2, Inline: []cas.Ref{ref}}},
		"chunk of nothing":   &manifest.Manifest{Content: manifest.Content{Chunks: 1, Inline: []cas.Ref{{}}}},
		"tree of nothing":    &manifest.Manifest{Content: manifest.Content{Top: cas.Digest{1}}},
		"tree in vain":       &manifest.Manifest{Content: manifest.Content{Top: cas.Digest{1}, Chunks: 32, Size: 32}},
		"tree too high":      &manifest.Manifest{Content: manifest.Content{Top: cas.Digest{1}, Chunks: 64, Size: 64, Height: 1}},
		"height below zero":  &manifest.Manifest{Content: manifest.Content{Top: cas.Digest{1}, Chunks: 64, Size: 64, Height: -1}},
		"height eleven":      &manifest.Manifest{Content: manifest.Content{Top: cas.Digest{1}, Chunks: 1 << 62, Size: 1 << 62, Height: 11}},
		"height of nothing":  &manifest.Manifest{Content: manifest.Content{Height: 1}},
		"chunks too small":   &manifest.Manifest{Content: manifest.Content{Top: cas.Digest{1}, Chunks: 64, Size: 63}},
		"chunks too large":   &manifest.Manifest{Content: manifest.Content{Top: cas.Digest{1}, Chunks: 64, Size: 64<<22 + 1}},
		"too many in the row": &manifest.Manifest{Content: manifest.Content{Size: 33 * 5, Chunks: 33,
			Inline: slices.Repeat([]cas.Ref{ref}, 33)}},
		"two lists": &manifest.Manifest{Content: manifest.Content{Size: 5, Chunks: 1, Inline: []cas.Ref{ref}, Top: cas.Digest{1}}},
	}
	for name, row := range tests {
		if p, err := row.AppendBinary(nil); err == nil {
			t.Errorf("%s: encoded as %x", name, p)
		}
	}
}

// field is a field of a row.
func field(tag byte, value ...byte) []byte {
	return append([]byte{tag, byte(len(value))}, value...)
}

// envelope is what FORMAT.md calls so, of a body of under 16 KiB.
func envelope(tag, version byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	b := []byte{tag, version, byte(len(body))}
	if len(body) > 127 {
		b = []byte{tag, version, byte(len(body)) | 0x80, byte(len(body) >> 7)}
	}
	return append(b, body...)
}

func fileRow(fields ...[]byte) []byte { return envelope('F', 1, fields...) }

func manifestRow(fields ...[]byte) []byte {
	return envelope('M', 1, fields...)
}

// Tags of FORMAT.md.
const (
	tagID       = 1
	tagRevision = 2
	tagBucket   = 3
	tagFolder   = 4
	tagState    = 6
	tagAccess   = 8
	tagTags     = 10
	tagCurrent  = 11
	tagSize     = 14
	tagCreated  = 16

	tagChunks  = 7
	tagInline  = 8
	tagTop     = 9
	tagDigests = 10
)

func TestDecodeFileRefuses(t *testing.T) {
	good := fileRow(field(tagRevision, 1), field(tagBucket, 'b'), field(tagAccess, 1, 'a', 0, 1, 'b', 0))
	var f manifest.File
	if err := f.UnmarshalBinary(good); err != nil {
		t.Fatalf("%x: %v", good, err)
	}
	tests := map[string][]byte{
		"nothing":                 {},
		"tag and version alone":   {'F', 1},
		"version 0":               {'F', 0, 0},
		"a manifest":              {'M', 1, 0},
		"bytes after it":          {'F', 1, 0, 0},
		"length not its shortest": {'F', 1, 0x80, 0},
		"ID of 21 bytes":          fileRow(field(tagID, make([]byte, 21)...)),
		"ID of 15 bytes":          fileRow(field(tagID, make([]byte, 15)...)),
		"version of 16 bytes":     fileRow(field(tagCurrent, make([]byte, 16)...)),
		"unknown tag twice":       fileRow(field(23, 1), field(23, 1)),
		"unknown tag cut off":     fileRow([]byte{19, 2, 1}),
		"tag 0":                   fileRow(field(0, 1)),
		"fields out of order":     fileRow(field(tagFolder, 'f'), field(tagBucket, 'b')),
		"field twice":             fileRow(field(tagBucket, 'b'), field(tagBucket, 'b')),
		"empty field":             fileRow(field(tagBucket)),
		"tag alone":               fileRow([]byte{tagBucket}),
		"longer than the row":     fileRow([]byte{tagBucket, 2, 'b'}),
		"length not shortest":     fileRow([]byte{tagBucket, 0x81, 0x00, 'b'}),
		"length over 64 bits":     fileRow([]byte{tagBucket, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2, 'b'}),
		"length near 64 bits":     fileRow([]byte{tagBucket, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 'b'}),
		"number zero":             fileRow(field(tagRevision, 0)),
		"number not shortest":     fileRow(field(tagRevision, 0x81, 0)),
		"two numbers":             fileRow(field(tagRevision, 1, 1)),
		"half a number":           fileRow(field(tagRevision, 0x81)),
		"negative size":           fileRow(field(tagSize, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1)),
		"negative time":           fileRow(field(tagCreated, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1)),
		"list ends early":         fileRow(field(tagTags, 2, 'a')),
		"list length not shorter": fileRow(field(tagTags, 0x81, 0, 'a')),
		"key without value":       fileRow(field(tagAccess, 1, 'a')),
		"keys out of order":       fileRow(field(tagAccess, 1, 'b', 0, 1, 'a', 0)),
		"key twice":               fileRow(field(tagAccess, 1, 'a', 0, 1, 'a', 0)),
		"key not UTF-8":           fileRow(field(tagAccess, 1, 0xff, 0)),
	}
	for name, p := range tests {
		if err := f.UnmarshalBinary(p); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s: %x decodes to %+v, %v", name, p, f, err)
		}
	}
}

func TestDecodeManifestRefuses(t *testing.T) {
	digest := make([]byte, 32)
	ref := append(slices.Clone(digest), 5)
	top := append(slices.Repeat([]byte{7}, 32), 1)
	size, chunks := field(4, 5), field(tagChunks, 1)
	row := func(fields ...[]byte) []byte {
		return envelope('M', 1, append([][]byte{size, chunks}, fields...)...)
	}
	tree := func(fields ...[]byte) []byte {
		return envelope('M', 1, append([][]byte{field(4, 0xff, 0xff, 1), field(tagChunks, 65)}, fields...)...)
	}
	var m manifest.Manifest
	for _, p := range [][]byte{manifestRow(), row(field(tagInline, ref...)), tree(field(tagTop, top...))} {
		if err := m.UnmarshalBinary(p); err != nil {
			t.Fatalf("%x: %v", p, err)
		}
	}
	tests := map[string][]byte{
		"ID in UUID form":       manifestRow(field(1, make([]byte, 16)...)),
		"half a reference":      row(field(tagInline, ref[:20]...)),
		"reference to nothing":  row(field(tagInline, append(slices.Clone(digest), 0)...)),
		"no list":               row(),
		"a root":                fileRow(field(5, digest...)),
		"two lists":             row(field(tagInline, ref...), field(tagTop, top...)),
		"wrong size":            row(field(tagInline, append(slices.Clone(digest), 6)...)),
		"wrong chunks":          manifestRow(field(tagInline, ref...)),
		"half a top":            tree(field(tagTop, top[:31]...)),
		"top without height":    tree(field(tagTop, top[:32]...)),
		"top of zeros":          tree(field(tagTop, make([]byte, 33)...)),
		"a byte behind the top": tree(field(tagTop, append(slices.Clone(top), 0)...)),
		"top too high":          tree(field(tagTop, append(slices.Clone(top[:32]), 2)...)),
		"height over 64 bits":   tree(field(tagTop, append(slices.Clone(top[:32]), 255, 255, 255, 255, 255, 255, 255, 255, 255, 2)...)),
		"height not shortest":   tree(field(tagTop, append(slices.Clone(top[:32]), 0x81, 0)...)),
		"top of few chunks":     row(field(tagTop, top...)),
		"digests out of order":  manifestRow(field(tagDigests, 1, 'b', 1, 'x', 1, 'a', 1, 'x')),
		"digest without a name": manifestRow(field(tagDigests, 1)),
	}
	for name, p := range tests {
		if err := m.UnmarshalBinary(p); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s: %x decodes to %+v, %v", name, p, m, err)
		}
	}
}

// linkRow is a link of as few fields as can be, with a field more unless tag is 0.
func linkRow(tag byte, value ...byte) []byte {
	fields := [][]byte{field(1, make([]byte, 22)...), nil, field(3, 'h'), field(5, 'b'), field(6, make([]byte, 22)...)}
	switch {
	case tag == 2:
		fields[1] = field(tag, value...)
	case tag > 6:
		fields = append(fields, field(tag, value...))
	}
	return envelope('J', 1, fields...)
}

func TestDecodeLinkRefuses(t *testing.T) {
	host := func(tag byte, value ...byte) []byte { return envelope('V', 1, field(1, 'h'), field(tag, value...)) }
	for name, p := range map[string][]byte{"link": linkRow(0), "revision": linkRow(2, 1), "state": linkRow(12, 3)} {
		if err := new(manifest.Link).UnmarshalBinary(p); err != nil {
			t.Errorf("%s: %x: %v", name, p, err)
		}
	}
	for name, p := range map[string][]byte{
		"revision 0":        linkRow(2, 0),
		"version of a UUID": linkRow(7, make([]byte, 16)...),
		"due twice":         linkRow(13, 2),
		"not due":           linkRow(13, 0),
		"a host":            envelope('V', 1, field(1, 'h')),
		"no file":           envelope('J', 1, field(1, make([]byte, 22)...), field(3, 'h'), field(5, 'b')),
		"ID of a UUID":      envelope('J', 1, field(1, make([]byte, 16)...), field(3, 'h'), field(5, 'b'), field(6, make([]byte, 22)...)),
	} {
		if err := new(manifest.Link).UnmarshalBinary(p); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s: %x: %v", name, p, err)
		}
	}
	for name, p := range map[string][]byte{
		"no name":              envelope('V', 1),
		"ID of zeros":          host(2, make([]byte, 16)...),
		"ID of 15 bytes":       host(2, append(make([]byte, 14), 1)...),
		"session twice":        host(5, 1, 1),
		"sessions descending":  host(5, 2, 1),
		"half a session":       host(5, 0x81),
		"session not shortest": host(5, 0x81, 0),
		"session over 64 bits": host(5, 255, 255, 255, 255, 255, 255, 255, 255, 255, 2),
		"bucket cut off":       host(7, 2, 'b'),
	} {
		if err := new(manifest.Host).UnmarshalBinary(p); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s: %x: %v", name, p, err)
		}
	}
}

// What is whole and unknown is named, and is no damage.
func TestDecodeRowNamesTheUnknown(t *testing.T) {
	tests := map[string]struct {
		row  encoding.BinaryUnmarshaler
		p    []byte
		want manifest.UnknownError
	}{
		"version of a file":     {new(manifest.File), envelope('F', 2, []byte{99}), manifest.UnknownError{In: "file row", What: "version", Value: 2}},
		"version of a manifest": {new(manifest.Manifest), envelope('M', 9), manifest.UnknownError{In: "manifest row", What: "version", Value: 9}},
		"version of a home":     {new(manifest.Home), envelope('H', 2), manifest.UnknownError{In: "home", What: "version", Value: 2}},
		"tag":                   {new(manifest.File), envelope('Q', 1), manifest.UnknownError{In: "file row", What: "tag", Value: 'Q'}},
		"field of a file":       {new(manifest.File), fileRow(field(tagBucket, 'b'), field(23, 1)), manifest.UnknownError{In: "file row", What: "field", Value: 23}},
		// The unknown field may stand for one that is missing.
		"field of a manifest": {new(manifest.Manifest), envelope('M', 1, field(15, 1), field(200, 1)), manifest.UnknownError{In: "manifest row", What: "field", Value: 200}},
		"field of a home":     {new(manifest.Home), envelope('H', 1, field(7, 1)), manifest.UnknownError{In: "home", What: "field", Value: 7}},
		"state":               {new(manifest.File), fileRow(field(tagState, 3)), manifest.UnknownError{In: "file row", What: "state", Value: 3}},
		"field of a link":     {new(manifest.Link), linkRow(16, 1), manifest.UnknownError{In: "link", What: "field", Value: 16}},
		"field of a host":     {new(manifest.Host), envelope('V', 1, field(1, 'h'), field(9, 1)), manifest.UnknownError{In: "host", What: "field", Value: 9}},
		"policy of a link":    {new(manifest.Link), linkRow(11, 4), manifest.UnknownError{In: "link", What: "policy", Value: 4}},
		"state of a link":     {new(manifest.Link), linkRow(12, 4), manifest.UnknownError{In: "link", What: "state", Value: 4}},
		"state 256":           {new(manifest.File), fileRow(field(tagState, 0x80, 2)), manifest.UnknownError{In: "file row", What: "state", Value: 256}},
	}
	for name, test := range tests {
		err := test.row.UnmarshalBinary(test.p)
		var u *manifest.UnknownError
		if !errors.Is(err, manifest.ErrUnknown) || errors.Is(err, manifest.ErrFormat) || !errors.As(err, &u) || *u != test.want {
			t.Errorf("%s: %x decodes to %+v, %v", name, test.p, test.row, err)
		}
	}
}

// No prefix of a row is a row, and neither is a row with a byte changed,
// unless it is the one encoding of another.
func TestDamagedRows(t *testing.T) {
	r := seeded(t)
	for range 50 {
		p, err := randomFile(r).AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		for range 200 {
			q := slices.Clone(p)
			q[r.IntN(len(q))] ^= 1 << r.IntN(8)
			checkFile(t, q)
		}
	}
}
