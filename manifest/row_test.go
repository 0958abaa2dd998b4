package manifest_test

import (
	"encoding"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

type row interface {
	encoding.BinaryAppender
	encoding.BinaryUnmarshaler
}

// typedRows are, by the names of their golden files, rows with every field set
// and rows with as few as can be. A row that gets a field keeps its golden file:
// the new field goes into another row.
func typedRows() map[string]row {
	at := time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)
	const upload = manifest.UploadID("u_0000000000000000000000000000000000i0")
	const link = manifest.LinkID("l_0000000000000000000000000000000000m0")
	const grant = manifest.GrantID("g_0000000000000000000000000000000000k0")
	full := &manifest.Upload{ID: upload, Bucket: "demo", Who: "id anna", Domain: "disk", Header: "h", Name: "ü.txt",
		Folder: "a/b", Target: fixedUUID, MIMEType: "text/plain", Metadata: []byte(`{"k":1}`), Tags: []string{"z", "", "a"},
		OnConflict: "version", SkipUnchanged: true, IfMatch: "*", Digests: []string{"sha256"},
		Sums: map[string][]byte{"sha256": {1, 2}, "size": {9}}, Expect: map[string][]byte{"sha512": {3}}, Chunker: "gear1",
		Length: 1 << 40, Offset: 300, Held: 200, Parts: 7, Partial: true, Joins: []manifest.UploadID{upload, upload},
		Listed: true, Bases: []string{string(fixedFile)}, Chunks: 1 << 20, LastChunk: 1<<32 - 1, NewBytes: 5, StoredBytes: 4,
		Received: 3, Manifest: fixedVersion, Expired: true, Evicted: true, CreatedAt: at, ExpiresAt: at.Add(time.Hour)}
	answered := *full
	answered.Invalid, answered.Answer = true, []byte(`{"ID":"f"}`)
	keyed := answered
	keyed.OnceKey, keyed.OnceRequest = "k", "POST x"
	cached := keyed
	cached.CacheControl = "no-store"
	sent := cached
	sent.Sent = 300
	counted := sent
	counted.SentRefs = 1 << 21
	cause := manifest.Cause{Bucket: "demo", File: fixedFile, Path: "a/ü.txt", At: at}
	charge := manifest.Charge{Pack: cas.PackID{1, 15: 2}, Cause: cause, Bytes: 1 << 40}
	return map[string]row{
		"upload-full": full, "upload-answered": &answered, "upload-keyed": &keyed, "upload-cached": &cached,
		"upload-sent": &sent, "upload-counted": &counted,
		"upload-empty": &manifest.Upload{ID: upload, Length: -1},
		"grant-empty":  &manifest.Grant{ID: grant},
		"grant-full": &manifest.Grant{ID: grant, Bucket: "demo", Op: "upload", File: fixedFile, Manifest: fixedVersion, Folder: "a/b",
			Name: "ü.txt", MaxSize: 1 << 40, Types: []string{"text/plain"}, Disposition: "inline", Filename: "f", IP: "192.0.2.0/24",
			MaxUses: 3, Owner: "anna", Ruled: true, Claims: []byte(`{"r":"x"}`), CreatedAt: at, ExpiresAt: at.Add(time.Hour)},
		"apikey-empty": &manifest.APIKey{ID: "k"},
		"apikey-full": &manifest.APIKey{ID: "0123456789abcdef", Name: "backup", Buckets: []string{"*"}, Ops: []string{"read", "list"},
			Operator: true, Hash: [32]byte{1, 31: 2}, CreatedAt: at, ExpiresAt: at.Add(time.Hour)},
		"signkey": &manifest.SignKey{ID: "0123456789abcdef", Secret: []byte{1, 2, 3}, CreatedAt: at},
		"once": &manifest.Once{Bucket: "demo", Key: [32]byte{1, 31: 2}, Request: "PUT x", Manifest: fixedVersion,
			ExpiresAt: at},
		"once-answered": &manifest.Once{Bucket: "demo", Key: [32]byte{1, 31: 2}, Request: "PUT x", Manifest: fixedVersion,
			Answer: []byte(`{"ID":"f"}`), ExpiresAt: at},
		"grave-empty": &manifest.Grave{Version: fixedVersion},
		"grave-full": &manifest.Grave{ID: manifest.GraveID{Commit: 1 << 40, N: 300}, Bucket: "demo", Path: "a/ü.txt", File: fixedFile,
			Version: fixedVersion, Size: 1 << 40, At: at, Top: cas.Digest{1, 31: 2}, Chunks: []cas.Ref{{Digest: cas.Digest{3}, Length: 300}}},
		"charge-empty":   &manifest.Charge{},
		"charge-full":    &charge,
		"freed-full":     &manifest.Freed{At: at, Domain: "disk", Charge: charge, Copied: true},
		"scrubbed-empty": &manifest.Scrubbed{},
		"scrubbed-full":  &manifest.Scrubbed{Pack: cas.PackID{1, 15: 2}, At: at, Size: 1 << 26, Bytes: 1 << 25, Bad: 3, Failed: "the pack is missing"},
		"point-empty":    &manifest.Point{},
		"point-full": &manifest.Point{Day: at, Domain: "disk", Files: 1, Versions: 2, LogicalBytes: 1 << 40, References: 300, Chunks: 4,
			UniqueBytes: 5, LiveBytes: 6, PackBytes: 1 << 30, RecordBytes: 8, FreedBytes: 9},
		"home-empty": &manifest.Home{Bucket: "demo"},
		"home-full": &manifest.Home{Bucket: "demo", Move: 300, From: "old", Domain: "disk", Been: []string{"old", "older"},
			To: "s3"},
		"link-empty": &manifest.Link{ID: link, Host: "alyx", Bucket: "demo", File: fixedUUID},
		"link-full": &manifest.Link{ID: link, Revision: 300, Host: "alyx", Session: 17, Bucket: "demo", File: fixedFile,
			Version: fixedVersion, Collection: "posts", Record: "ü/1", Field: "cover", OnDelete: manifest.SetNull,
			State: manifest.LinkLetGo, Due: true, Who: "id anna", At: at},
		"host-empty": &manifest.Host{Name: "alyx"},
		"host-full": &manifest.Host{Name: "alyx", ID: [16]byte{1, 15: 2}, Session: 299, Offered: 300, Live: []uint64{0, 17, 300},
			Unreconciled: true, Buckets: []string{"archive", "demo"}, Fields: []byte{1, 2, 3}},
	}
}

func empty(r row) row { return reflect.New(reflect.TypeOf(r).Elem()).Interface().(row) }

func TestGoldenTypedRows(t *testing.T) {
	for name, want := range typedRows() {
		p, err := want.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		golden(t, name, p)
		got := empty(want)
		if err := got.UnmarshalBinary(p); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s decodes to\n%+v, %v\nwant\n%+v", name, got, err, want)
		}
	}
}

// Every row with every field set: a field that the encoding has forgotten is
// noticed.
func TestTypedRowsAreFull(t *testing.T) {
	for _, name := range []string{"upload-counted", "grave-full", "charge-full", "freed-full", "scrubbed-full", "point-full", "grant-full", "apikey-full", "signkey", "once-answered", "home-full", "link-full", "host-full"} {
		v := reflect.ValueOf(typedRows()[name]).Elem()
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("%s: field %s is not set", name, v.Type().Field(i).Name)
			}
		}
	}
}

// What is cut short, has more behind it or a byte of its frame changed is
// refused.
func TestTypedRowsRefuse(t *testing.T) {
	for name, r := range typedRows() {
		p, err := r.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		for n := range p {
			if err := empty(r).UnmarshalBinary(p[:n]); !errors.Is(err, manifest.ErrFormat) {
				t.Errorf("%s cut to %d bytes: %v", name, n, err)
			}
		}
		if err := empty(r).UnmarshalBinary(append(p, 0)); !errors.Is(err, manifest.ErrFormat) {
			t.Errorf("%s and a byte: %v", name, err)
		}
		newer := append([]byte{p[0], 2}, p[2:]...)
		if err := empty(r).UnmarshalBinary(newer); !errors.Is(err, manifest.ErrUnknown) {
			t.Errorf("%s of version 2: %v", name, err)
		}
		if err := empty(r).UnmarshalBinary(envelopeWith(p, 200)); !errors.Is(err, manifest.ErrUnknown) {
			t.Errorf("%s with field 200: %v", name, err)
		}
	}
}

// envelopeWith adds a field to an envelope whose body is under 16 KiB.
func envelopeWith(p []byte, tag byte) []byte {
	body := p[3:]
	if p[2] >= 0x80 {
		body = p[4:]
	}
	return envelope(p[0], 1, body, field(tag, 1))
}

func TestTypedRowsOutOfRange(t *testing.T) {
	for why, r := range map[string]row{
		"upload without an ID":      &manifest.Upload{},
		"upload of a bad ID":        &manifest.Upload{ID: "u_1"},
		"upload of another's ID":    &manifest.Upload{ID: manifest.UploadID(fixedFile)},
		"upload of length -2":       &manifest.Upload{ID: manifest.NewUploadID(), Length: -2},
		"upload that holds -1":      &manifest.Upload{ID: manifest.NewUploadID(), Held: -1},
		"upload of a bad part":      &manifest.Upload{ID: manifest.NewUploadID(), Joins: []manifest.UploadID{"u_1"}},
		"upload before 1970":        &manifest.Upload{ID: manifest.NewUploadID(), CreatedAt: time.Unix(-1, 0)},
		"grant without an ID":       &manifest.Grant{},
		"grant of a negative size":  &manifest.Grant{ID: manifest.NewGrantID(), MaxSize: -1},
		"API key without an ID":     &manifest.APIKey{},
		"signing key without one":   &manifest.SignKey{},
		"home of no bucket":         &manifest.Home{},
		"link without an ID":        &manifest.Link{Host: "h", Bucket: "b", File: fixedFile},
		"link of no host":           &manifest.Link{ID: manifest.NewLinkID(), Bucket: "b", File: fixedFile},
		"link of no bucket":         &manifest.Link{ID: manifest.NewLinkID(), Host: "h", File: fixedFile},
		"link of no file":           &manifest.Link{ID: manifest.NewLinkID(), Host: "h", Bucket: "b"},
		"link of a bad version":     &manifest.Link{ID: manifest.NewLinkID(), Host: "h", Bucket: "b", File: fixedFile, Version: "m_1"},
		"link of policy 4":          &manifest.Link{ID: manifest.NewLinkID(), Host: "h", Bucket: "b", File: fixedFile, OnDelete: 4},
		"link of state 4":           &manifest.Link{ID: manifest.NewLinkID(), Host: "h", Bucket: "b", File: fixedFile, State: 4},
		"host without a name":       &manifest.Host{},
		"host of one session twice": &manifest.Host{Name: "h", Live: []uint64{1, 1}},
		"host of sessions anyhow":   &manifest.Host{Name: "h", Live: []uint64{2, 1}},
		"grave of no version":       &manifest.Grave{},
		"grave of size -1":          &manifest.Grave{Version: manifest.NewVersionID(), Size: -1},
		"charge of -1 bytes":        &manifest.Charge{Bytes: -1},
		"once of no version's ID":   &manifest.Once{Manifest: "m_1"},
	} {
		if p, err := r.AppendBinary(nil); err == nil {
			t.Errorf("%s encodes to %x", why, p)
		}
	}
}

func fuzzRow(f *testing.F, names ...string) {
	var r row
	for _, name := range names {
		r = typedRows()[name]
		p, err := r.AppendBinary(nil)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, p []byte) { checkRow(t, p, empty(r)) })
}

func FuzzUpload(f *testing.F)   { fuzzRow(f, "upload-empty", "upload-full") }
func FuzzGrant(f *testing.F)    { fuzzRow(f, "grant-empty", "grant-full") }
func FuzzAPIKey(f *testing.F)   { fuzzRow(f, "apikey-empty", "apikey-full") }
func FuzzSignKey(f *testing.F)  { fuzzRow(f, "signkey") }
func FuzzOnce(f *testing.F)     { fuzzRow(f, "once") }
func FuzzGrave(f *testing.F)    { fuzzRow(f, "grave-empty", "grave-full") }
func FuzzCharge(f *testing.F)   { fuzzRow(f, "charge-empty", "charge-full") }
func FuzzFreed(f *testing.F)    { fuzzRow(f, "freed-full") }
func FuzzScrubbed(f *testing.F) { fuzzRow(f, "scrubbed-empty", "scrubbed-full") }
func FuzzPoint(f *testing.F)    { fuzzRow(f, "point-empty", "point-full") }
func FuzzHome(f *testing.F)     { fuzzRow(f, "home-empty", "home-full") }
func FuzzLink(f *testing.F)     { fuzzRow(f, "link-empty", "link-full") }
func FuzzHost(f *testing.F)     { fuzzRow(f, "host-empty", "host-full") }
