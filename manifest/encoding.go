package manifest

import (
	"encoding/binary"
	"fmt"
	"sort"
	"time"
	"unicode/utf8"

	"github.com/cairn-store/cairn/cas"
)

// Rows are envelopes of fields in ascending order of their tags, each a tag
// byte, a length and that many bytes. Empty fields are left out, so that every
// row has one encoding; unknown tags are refused.

// Tags of a manifest row.
const (
	mID = 1 + iota
	mFile
	mVersion
	mSize
	_ // was the root, which follows from the list
	mChunker
	mChunks
	mInline
	mTop
	mDigests
	mMIME
	mDeclared
	mCreatedAt
	mCreatedBy

	mLast = mCreatedBy
)

// Tags of a file row.
const (
	fID = 1 + iota
	fRevision
	fBucket
	fFolder
	fName
	fState
	fOwner
	fAccess
	fMetadata
	fTags
	fCurrent
	fLastVersion
	fVersions
	fTotalSize
	fTotalChunks
	fCreatedAt
	fUpdatedAt
	fDeletedAt

	fLast = fDeletedAt
)

// AppendBinary appends the row's canonical encoding.
func (m *Manifest) AppendBinary(b []byte) ([]byte, error) {
	e := encoder{bad: !m.Content.whole()}
	e.id(mID, string(m.ID), versionPrefix)
	e.id(mFile, string(m.File), filePrefix)
	e.num(mVersion, m.Version)
	e.size(mSize, m.Size)
	e.str(mChunker, m.Chunker)
	e.size(mChunks, m.Chunks)
	e.bytes(mInline, appendRefs(nil, m.Inline))
	e.top(mTop, &m.Content)
	e.pairs(mDigests, digestPairs(m.Digests))
	e.str(mMIME, m.MIMEType)
	e.str(mDeclared, m.DeclaredMIMEType)
	e.time(mCreatedAt, m.CreatedAt)
	e.str(mCreatedBy, m.CreatedBy)
	return e.end(b, tagManifest, "manifest")
}

// UnmarshalBinary reads what AppendBinary wrote.
func (m *Manifest) UnmarshalBinary(p []byte) error {
	d := newDecoder(p, tagManifest, "manifest row", mLast)
	*m = Manifest{}
	m.ID = VersionID(d.id(mID, versionPrefix))
	m.File = FileID(d.id(mFile, filePrefix))
	m.Version = d.num(mVersion)
	m.Size = d.size(mSize)
	m.Chunker = d.str(mChunker)
	m.Chunks = d.size(mChunks)
	m.Inline = d.refs(mInline)
	d.top(mTop, &m.Content)
	for _, kv := range d.pairs(mDigests) {
		if m.Digests == nil {
			m.Digests = make(map[string][]byte)
		}
		m.Digests[kv[0]] = []byte(kv[1])
	}
	m.MIMEType = d.str(mMIME)
	m.DeclaredMIMEType = d.str(mDeclared)
	m.CreatedAt = d.time(mCreatedAt)
	m.CreatedBy = d.str(mCreatedBy)
	if !m.Content.whole() {
		d.fail()
	}
	return d.end()
}

// AppendBinary appends the row's canonical encoding.
func (f *File) AppendBinary(b []byte) ([]byte, error) {
	e := encoder{bad: f.State > Quarantined}
	e.id(fID, string(f.ID), filePrefix)
	e.num(fRevision, f.Revision)
	e.str(fBucket, f.Bucket)
	e.str(fFolder, f.Folder)
	e.str(fName, f.Name)
	e.num(fState, uint64(f.State))
	e.str(fOwner, f.Owner)
	e.pairs(fAccess, sortedPairs(f.Access))
	e.bytes(fMetadata, f.Metadata)
	e.list(fTags, f.Tags)
	e.id(fCurrent, string(f.Current), versionPrefix)
	e.num(fLastVersion, f.LastVersion)
	e.num(fVersions, f.Versions)
	e.size(fTotalSize, f.TotalSize)
	e.size(fTotalChunks, f.TotalChunks)
	e.time(fCreatedAt, f.CreatedAt)
	e.time(fUpdatedAt, f.UpdatedAt)
	e.time(fDeletedAt, f.DeletedAt)
	return e.end(b, tagFile, "file")
}

// UnmarshalBinary reads what AppendBinary wrote.
func (f *File) UnmarshalBinary(p []byte) error {
	d := newDecoder(p, tagFile, "file row", fLast)
	*f = File{}
	f.ID = FileID(d.id(fID, filePrefix))
	f.Revision = d.num(fRevision)
	f.Bucket = d.str(fBucket)
	f.Folder = d.str(fFolder)
	f.Name = d.str(fName)
	f.State = State(d.enum(fState, uint64(Quarantined), "state"))
	f.Owner = d.str(fOwner)
	for _, kv := range d.pairs(fAccess) {
		if f.Access == nil {
			f.Access = make(map[string]string)
		}
		f.Access[kv[0]] = kv[1]
	}
	f.Metadata = d.bytes(fMetadata)
	f.Tags = d.list(fTags)
	f.Current = VersionID(d.id(fCurrent, versionPrefix))
	f.LastVersion = d.num(fLastVersion)
	f.Versions = d.num(fVersions)
	f.TotalSize = d.size(fTotalSize)
	f.TotalChunks = d.size(fTotalChunks)
	f.CreatedAt = d.time(fCreatedAt)
	f.UpdatedAt = d.time(fUpdatedAt)
	f.DeletedAt = d.time(fDeletedAt)
	return d.end()
}

// An encoder appends fields. It refuses what a decoder would: a row that can
// be written can be read.
type encoder struct {
	b   []byte
	bad bool
}

// end appends what was encoded to b, in an envelope.
func (e *encoder) end(b []byte, tag byte, what string) ([]byte, error) {
	if e.bad {
		return nil, fmt.Errorf("manifest: encode %s: a field is out of its range", what)
	}
	return appendEnvelope(b, tag, e.b), nil
}

func (e *encoder) bytes(tag byte, p []byte) {
	if len(p) == 0 {
		return
	}
	e.b = append(e.b, tag)
	e.b = binary.AppendUvarint(e.b, uint64(len(p)))
	e.b = append(e.b, p...)
}

func (e *encoder) str(tag byte, s string) { e.bytes(tag, []byte(s)) }

// id appends an ID, which may be empty, in its binary form.
func (e *encoder) id(tag byte, id, prefix string) {
	if id == "" {
		return
	}
	p, ok := appendID(nil, id, prefix)
	if !ok {
		e.bad = true
	}
	e.bytes(tag, p)
}

func (e *encoder) num(tag byte, n uint64) {
	if n != 0 {
		e.bytes(tag, binary.AppendUvarint(nil, n))
	}
}

func (e *encoder) size(tag byte, n int64) {
	if n < 0 {
		e.bad = true
	}
	e.num(tag, uint64(n))
}

// time keeps milliseconds, as users see them.
func (e *encoder) time(tag byte, t time.Time) {
	if t.IsZero() {
		return
	}
	if t.UnixMilli() <= 0 {
		e.bad = true
	}
	e.num(tag, uint64(t.UnixMilli()))
}

func (e *encoder) list(tag byte, ss []string) {
	var b []byte
	for _, s := range ss {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	e.bytes(tag, b)
}

func (e *encoder) pairs(tag byte, kvs [][2]string) {
	var ss []string
	for _, kv := range kvs {
		if !utf8.ValidString(kv[0]) {
			e.bad = true
		}
		ss = append(ss, kv[0], kv[1])
	}
	e.list(tag, ss)
}

func sortedPairs(m map[string]string) (kvs [][2]string) {
	for k, v := range m {
		kvs = append(kvs, [2]string{k, v})
	}
	sort.Slice(kvs, func(i, j int) bool { return kvs[i][0] < kvs[j][0] })
	return kvs
}

func digestPairs(m map[string][]byte) [][2]string {
	s := make(map[string]string, len(m))
	for k, v := range m {
		s[k] = string(v)
	}
	return sortedPairs(s)
}

// A decoder takes fields off in order of tags. After a failure every method
// returns zero and end reports it.
type decoder struct {
	in  string // what is decoded
	p   []byte
	bad bool
	err error // why, if it is not ErrFormat
}

// newDecoder decodes the fields of an envelope, whose tags are known up to last.
func newDecoder(p []byte, tag byte, in string, last byte) *decoder {
	body, err := openEnvelope(p, tag, in)
	if err == nil {
		err = checkFields(body, in, last)
	}
	if err != nil {
		return &decoder{in: in, bad: true, err: err}
	}
	return &decoder{in: in, p: body}
}

func (d *decoder) fail() { d.bad, d.p = true, nil }

func (d *decoder) end() error {
	switch {
	case d.err != nil:
		return fmt.Errorf("manifest: decode %s: %w", d.in, d.err)
	case d.bad || len(d.p) > 0:
		return fmt.Errorf("manifest: decode %s: %w", d.in, ErrFormat)
	}
	return nil
}

// uvarint takes a number in its shortest form.
func (d *decoder) uvarint() uint64 {
	n, k := binary.Uvarint(d.p)
	if k <= 0 || (k > 1 && d.p[k-1] == 0) {
		d.fail()
		return 0
	}
	d.p = d.p[k:]
	return n
}

// raw takes the field tag if it is next; its bytes belong to the input.
func (d *decoder) raw(tag byte) []byte {
	if d.bad || len(d.p) == 0 || d.p[0] != tag {
		return nil
	}
	d.p = d.p[1:]
	n := d.uvarint()
	if d.bad || n == 0 || n > uint64(len(d.p)) {
		d.fail()
		return nil
	}
	v := d.p[:n]
	d.p = d.p[n:]
	return v
}

func (d *decoder) bytes(tag byte) []byte { return append([]byte(nil), d.raw(tag)...) }

func (d *decoder) str(tag byte) string { return string(d.raw(tag)) }

func (d *decoder) id(tag byte, prefix string) string {
	v := d.raw(tag)
	if v == nil {
		return ""
	}
	id, ok := idText(v, prefix)
	if !ok {
		d.fail()
	}
	return id
}

// enum takes a number of which those beyond last are unknown.
func (d *decoder) enum(tag byte, last uint64, what string) uint64 {
	n := d.num(tag)
	if n > last {
		d.err = &UnknownError{d.in, what, n}
		d.fail()
	}
	return n
}

func (d *decoder) num(tag byte) uint64 {
	v := d.raw(tag)
	if v == nil {
		return 0
	}
	in := &decoder{p: v}
	n := in.uvarint()
	if in.bad || len(in.p) > 0 || n == 0 {
		d.fail()
		return 0
	}
	return n
}

func (d *decoder) size(tag byte) int64 {
	n := int64(d.num(tag))
	if n < 0 {
		d.fail()
		return 0
	}
	return n
}

func (d *decoder) time(tag byte) time.Time {
	n := d.size(tag)
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMilli(n).UTC()
}

func (d *decoder) list(tag byte) (ss []string) {
	in := &decoder{p: d.raw(tag)}
	for len(in.p) > 0 {
		n := in.uvarint()
		if in.bad || n > uint64(len(in.p)) {
			d.fail()
			return nil
		}
		ss = append(ss, string(in.p[:n]))
		in.p = in.p[n:]
	}
	if in.bad {
		d.fail()
	}
	return ss
}

func (d *decoder) pairs(tag byte) (kvs [][2]string) {
	ss := d.list(tag)
	if len(ss)%2 != 0 {
		d.fail()
		return nil
	}
	for i := 0; i < len(ss); i += 2 {
		if i > 0 && ss[i-2] >= ss[i] || !utf8.ValidString(ss[i]) {
			d.fail()
			return nil
		}
		kvs = append(kvs, [2]string{ss[i], ss[i+1]})
	}
	return kvs
}

func (d *decoder) refs(tag byte) []cas.Ref {
	v := d.raw(tag)
	if v == nil {
		return nil
	}
	refs, err := parseRefs(v)
	if err != nil || len(refs) > inlineChunks {
		d.fail()
	}
	return refs
}

// top is the digest of a tree's top and its height.
func (e *encoder) top(tag byte, c *Content) {
	if !c.Top.IsZero() {
		e.bytes(tag, binary.AppendUvarint(c.Top[:], uint64(c.Height)))
	}
}

func (d *decoder) top(tag byte, c *Content) {
	v := d.raw(tag)
	if v == nil {
		return
	}
	in := &decoder{p: v[min(len(v), copy(c.Top[:], v)):]}
	height := in.uvarint()
	if c.Height = int(height); in.bad || len(in.p) > 0 || height > maxHeight || c.Top.IsZero() {
		d.fail()
	}
}
