package formattest

import (
	"bytes"
	"unicode/utf8"
)

// fieldKind is one of the kinds of values that the page on rows lists.
type fieldKind int

const (
	_ fieldKind = iota
	text
	octets
	ident     // 22 bytes
	fileIdent // 22 bytes, or the 16 of a UUID
	number
	size
	flag
	list
	dict
	idents
	numbers
	sum32
	id16Field // left out if all zeros, and so is
	sum32OrNot
	refs
	top
)

const timeField = size

// The fields of every row, by tag from 1; a zero is a tag that is not used.
var rowFields = map[byte][]fieldKind{
	'M': {ident, fileIdent, number, size, 0, text, size, refs, top, dict, text, text, timeField, text},
	'F': {fileIdent, number, text, text, text, number, text, dict, octets, list, ident, number, number, size, size,
		timeField, timeField, timeField, timeField, text, flag, dict},
	'J': {ident, number, text, number, text, fileIdent, ident, text, text, text, number, number, flag, text, timeField},
	'V': {text, id16Field, number, number, numbers, flag, list, octets},
	'H': {text, number, text, text, list, text},
	'U': {ident, text, text, text, text, text, text, fileIdent, text, octets, list, text, flag, text, list, dict, dict,
		text, size, size, size, number, flag, idents, flag, list, size, number, size, size, size, ident, flag, flag,
		timeField, timeField, flag, octets, text, text, text, number, size},
	'G': {ident, text, text, fileIdent, ident, text, text, size, list, text, text, text, size, text, flag, octets,
		timeField, timeField},
	'K': {text, text, list, list, flag, sum32, timeField, timeField},
	'Y': {text, octets, timeField},
	'O': {text, sum32, text, ident, timeField, octets},
	'D': {number, number, text, text, fileIdent, ident, size, timeField, sum32OrNot, refs},
	'C': {id16Field, text, fileIdent, text, timeField, size},
	'L': {id16Field, text, fileIdent, text, timeField, size, timeField, text, flag},
	'B': {id16Field, timeField, size, size, size, text},
	'P': {timeField, text, size, size, size, size, size, size, size, size, size, size},
}

// A field is the value of a tag, in the shape of its kind.
type field struct {
	raw   []byte
	num   uint64
	list  []string
	dict  map[string]string
	refs  []ref
	depth byte // of a top
}

type row struct {
	tag    byte
	fields map[byte]field
}

func (r *row) text(tag byte) string { return string(r.fields[tag].raw) }
func (r *row) num(tag byte) uint64  { return r.fields[tag].num }

// parseEnvelope returns tag and body.
func parseEnvelope(b []byte) (byte, []byte, error) {
	c := &cursor{rest: b}
	tag, version := c.octet(), c.octet()
	body := c.sized()
	if err := c.end(); err != nil {
		return 0, nil, err
	}
	if bytes.IndexByte([]byte("MFHRSUGKYODCLBPJV"), tag) < 0 {
		return 0, nil, unknown("tag %q", tag)
	}
	if version != 1 {
		return 0, nil, unknown("version %d of %q", version, tag)
	}
	return tag, body, nil
}

// parseRow reads a row that has one of these tags.
func parseRow(b []byte, tags string) (*row, error) {
	tag, body, err := parseEnvelope(b)
	if err != nil {
		return nil, err
	}
	if bytes.IndexByte([]byte(tags), tag) < 0 {
		return nil, damage("tag %q where one of %q stands", tag, tags)
	}
	kinds := rowFields[tag]
	r := &row{tag: tag, fields: map[byte]field{}}
	c := &cursor{rest: body}
	var before byte
	for len(c.rest) > 0 {
		t := c.octet()
		value := c.sized()
		if c.err != nil {
			return nil, c.err
		}
		if t <= before {
			return nil, damage("field %d after field %d", t, before)
		}
		before = t
		if int(t) > len(kinds) {
			return nil, unknown("field %d of %q", t, tag)
		}
		if kinds[t-1] == 0 {
			return nil, damage("field %d of %q", t, tag)
		}
		if r.fields[t], err = parseField(kinds[t-1], value); err != nil {
			return nil, err
		}
	}
	return r, r.check()
}

func parseField(kind fieldKind, value []byte) (field, error) {
	f := field{raw: value}
	if len(value) == 0 {
		return f, damage("field of no bytes")
	}
	c := &cursor{rest: value}
	switch kind {
	case text, octets:
		c.rest = nil
	case ident, fileIdent:
		if len(value) == 22 || len(value) == 16 && kind == fileIdent {
			c.rest = nil
		}
	case idents:
		if len(value)%22 == 0 {
			c.rest = nil
		}
	case sum32:
		c.take(32)
	case id16Field, sum32OrNot:
		n := map[fieldKind]uint64{id16Field: 16, sum32OrNot: 32}[kind]
		if c.take(n); len(bytes.Trim(value, "\x00")) == 0 {
			c.fail("%d zeros", n)
		}
	case number, flag:
		f.num = c.number()
		if f.num == 0 || kind == flag && f.num != 1 {
			c.fail("number %d", f.num)
		}
	case numbers:
		for before := uint64(0); c.err == nil && len(c.rest) > 0; before = f.num {
			first := len(c.rest) == len(value)
			if f.num = c.number(); f.num <= before && !first {
				c.fail("number %d behind %d", f.num, before)
			}
		}
	case size:
		f.num = c.size(1)
	case list, dict:
		for len(c.rest) > 0 {
			f.list = append(f.list, string(c.sized()))
		}
	case refs:
		for len(c.rest) > 0 {
			f.refs = append(f.refs, c.ref())
		}
		if len(f.refs) > maxInline {
			c.fail("%d references in a row", len(f.refs))
		}
	case top:
		c.digest()
		n := c.number()
		if n > maxHeight {
			c.fail("height %d", n)
		}
		f.depth = byte(n)
	}
	if kind == dict && c.err == nil {
		f.dict = map[string]string{}
		if len(f.list)%2 != 0 {
			c.fail("map of %d strings", len(f.list))
		}
		for i := 0; i+1 < len(f.list); i += 2 {
			if !utf8.ValidString(f.list[i]) || i > 0 && f.list[i-2] >= f.list[i] {
				c.fail("key %q of a map", f.list[i])
			}
			f.dict[f.list[i]] = f.list[i+1]
		}
	}
	return f, c.end()
}

// check verifies what holds between the fields of a row.
func (r *row) check() error {
	switch r.tag {
	case 'F':
		if r.num(6) > 2 {
			return unknown("state %d", r.num(6))
		}
	case 'J':
		if r.num(11) > 3 || r.num(12) > 3 {
			return unknown("policy %d, state %d", r.num(11), r.num(12))
		}
		return r.require(1, 3, 5, 6)
	case 'V':
		return r.require(1)
	case 'H':
		if r.text(1) == "" {
			return damage("home without a bucket")
		}
	case 'K':
		return r.require(6)
	case 'O':
		return r.require(2)
	case 'U':
		if r.num(28) >= 1<<32 {
			return damage("last chunk of %d bytes", r.num(28))
		}
	case 'M':
		return r.checkContent()
	case 'D':
		if r.num(2) >= 1<<32 {
			return damage("place %d among those of a commit", r.num(2))
		}
		return r.require(6)
	}
	return nil
}

func (r *row) require(tags ...byte) error {
	for _, t := range tags {
		if _, ok := r.fields[t]; !ok {
			return damage("row %q without field %d", r.tag, t)
		}
	}
	return nil
}

// checkContent verifies the sums of a manifest.
func (r *row) checkContent() error {
	bytesOf, chunks := r.num(4), r.num(7)
	_, inline := r.fields[8]
	at, tree := r.fields[9]
	if inline && tree {
		return damage("two chunk lists")
	}
	if tree {
		if chunks <= maxInline {
			return damage("tree of %d references", chunks)
		}
		return checkSums(chunks, bytesOf, at.depth)
	}
	var want uint64
	for _, f := range r.fields[8].refs {
		want += f.length
	}
	if bytesOf != want || chunks != uint64(len(r.fields[8].refs)) {
		return damage("%d bytes in %d chunks, where %d in %d are listed", bytesOf, chunks, want, len(r.fields[8].refs))
	}
	return nil
}
