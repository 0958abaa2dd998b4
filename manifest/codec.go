package manifest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/cairn-store/cairn/cas"
)

// A row is stored as an envelope of fields in ascending order of their tags,
// each a tag byte, a length and that many bytes. Empty fields are left out, so
// that every row has exactly one encoding. Unknown tags are refused.
//
// fields calls a method of the codec for each field, in ascending order of
// tags. It serves encoding and decoding, so that the two cannot differ.
type row interface{ codeFields(c *codec) }

// A codec encodes or decodes the fields of one row. Encoding fails where
// decoding the result would fail. After a failure decoding yields zero values.
type codec struct {
	encoding bool
	out      []byte // the fields encoded so far
	decoder         // of the fields not decoded yet
	in       string // names the row in errors
	err      error  // the failure, if it is not ErrFormat
}

// appendRow appends the canonical encoding of r, in an envelope, to b.
func appendRow(b []byte, tag byte, in string, r row) ([]byte, error) {
	c := &codec{encoding: true}
	r.codeFields(c)
	if c.bad {
		return nil, fmt.Errorf("manifest: encode %s: a field is out of its range", in)
	}
	return appendEnvelope(b, tag, c.out), nil
}

// parseRow decodes p into r, which must be zero. The tags of fields are known
// up to lastTag.
func parseRow(p []byte, tag byte, in string, lastTag byte, r row) error {
	body, err := openEnvelope(p, tag, in)
	if err == nil {
		err = checkFields(body, in, lastTag)
	}
	if err == nil {
		c := &codec{decoder: decoder{p: body}, in: in}
		r.codeFields(c)
		if err = c.err; err == nil && (c.bad || len(c.p) > 0) {
			err = ErrFormat
		}
	}
	if err != nil {
		return fmt.Errorf("manifest: decode %s: %w", in, err)
	}
	return nil
}

// putField appends a field, unless its value is empty.
func (c *codec) putField(tag byte, value []byte) {
	if len(value) == 0 {
		return
	}
	c.out = append(c.out, tag)
	c.out = binary.AppendUvarint(c.out, uint64(len(value)))
	c.out = append(c.out, value...)
}

func (c *codec) bytes(tag byte, p *[]byte) {
	if c.encoding {
		c.putField(tag, *p)
		return
	}
	*p = append([]byte(nil), c.takeField(tag)...)
}

func (c *codec) text(tag byte, s *string) {
	if c.encoding {
		c.putField(tag, []byte(*s))
		return
	}
	*s = string(c.takeField(tag))
}

// sum is a field of 32 bytes, which is never left out.
func (c *codec) sum(tag byte, sum *[32]byte) {
	if c.encoding {
		c.putField(tag, sum[:])
		return
	}
	v := c.takeField(tag)
	c.must(len(v) == len(sum))
	copy(sum[:], v)
}

// digest is a digest that may be zero.
func (c *codec) digest(tag byte, d *cas.Digest) { fixedField(c, tag, d[:]) }

// packID is the ID of a pack, which may be zero.
func (c *codec) packID(tag byte, id *cas.PackID) { fixedField(c, tag, id[:]) }

// fixedField is as many bytes as p has. It is left out if all are zero.
func fixedField(c *codec, tag byte, p []byte) {
	zero := make([]byte, len(p))
	if c.encoding {
		if !bytes.Equal(p, zero) {
			c.putField(tag, p)
		}
		return
	}
	if v := c.takeField(tag); v != nil {
		c.must(len(v) == len(p) && !bytes.Equal(v, zero))
		copy(p, v)
	}
}

func (c *codec) fileID(tag byte, id *FileID)       { idField(c, tag, id, filePrefix) }
func (c *codec) versionID(tag byte, id *VersionID) { idField(c, tag, id, versionPrefix) }
func (c *codec) grantID(tag byte, id *GrantID)     { idField(c, tag, id, grantPrefix) }
func (c *codec) uploadID(tag byte, id *UploadID)   { idField(c, tag, id, uploadPrefix) }

// idField is an ID in its binary form. It may be empty.
func idField[T ~string](c *codec, tag byte, id *T, prefix string) {
	if c.encoding {
		if *id != "" {
			p, ok := appendID(nil, string(*id), prefix)
			c.must(ok)
			c.putField(tag, p)
		}
		return
	}
	if v := c.takeField(tag); v != nil {
		text, ok := idText(v, prefix)
		c.must(ok)
		*id = T(text)
	}
}

// uploadIDs are IDs one after another.
func (c *codec) uploadIDs(tag byte, ids *[]UploadID) {
	if c.encoding {
		var b []byte
		for _, id := range *ids {
			p, ok := appendID(b, string(id), uploadPrefix)
			c.must(ok)
			b = p
		}
		c.putField(tag, b)
		return
	}
	v := c.takeField(tag)
	c.must(len(v)%idBytes == 0)
	for p := range slices.Chunk(v, idBytes) {
		id, ok := idText(p, uploadPrefix)
		c.must(ok)
		*ids = append(*ids, UploadID(id))
	}
}

func (c *codec) number(tag byte, n *uint64) {
	if c.encoding {
		if *n != 0 {
			c.putField(tag, binary.AppendUvarint(nil, *n))
		}
		return
	}
	if v := c.takeField(tag); v != nil {
		in := decoder{p: v}
		*n = in.takeNumber()
		c.must(!in.bad && len(in.p) == 0 && *n != 0)
	}
}

// size is a number that is not negative.
func (c *codec) size(tag byte, n *int64) {
	if c.encoding {
		c.must(*n >= 0)
	}
	v := uint64(*n)
	c.number(tag, &v)
	if !c.encoding {
		*n = int64(v)
		c.must(*n >= 0)
	}
}

// sizeOrUnknown is a size, or -1 for one that is not known. It is stored one
// higher, so that the unknown size is left out.
func (c *codec) sizeOrUnknown(tag byte, n *int64) {
	if c.encoding {
		c.must(*n >= -1 && *n < math.MaxInt64)
		v := *n + 1
		c.size(tag, &v)
		return
	}
	c.size(tag, n)
	*n--
}

func (c *codec) uint32(tag byte, n *uint32) {
	v := uint64(*n)
	c.number(tag, &v)
	if !c.encoding {
		*n = uint32(v)
		c.must(v <= math.MaxUint32)
	}
}

// flag is the number 1, or left out.
func (c *codec) flag(tag byte, set *bool) {
	v := uint64(0)
	if *set {
		v = 1
	}
	c.number(tag, &v)
	if !c.encoding {
		*set = v == 1
		c.must(v <= 1)
	}
}

// state is a number of which those above Quarantined are unknown.
func (c *codec) state(tag byte, s *State) {
	enumField(c, tag, s, uint64(Quarantined)+1, "state")
}

// enumField is a number below n. Higher ones are unknown; what names them.
func enumField[T ~uint8](c *codec, tag byte, e *T, n uint64, what string) {
	v := uint64(*e)
	c.number(tag, &v)
	switch {
	case v < n:
		if !c.encoding {
			*e = T(v)
		}
	case c.encoding:
		c.fail()
	default:
		c.err = &UnknownError{c.in, what, v}
		c.fail()
	}
}

// numbers are numbers one after another, in strictly ascending order.
func (c *codec) numbers(tag byte, ns *[]uint64) {
	if c.encoding {
		var b []byte
		for i, n := range *ns {
			c.must(i == 0 || n > (*ns)[i-1])
			b = binary.AppendUvarint(b, n)
		}
		c.putField(tag, b)
		return
	}
	in := decoder{p: c.takeField(tag)}
	for len(in.p) > 0 && !in.bad {
		n := in.takeNumber()
		c.must(len(*ns) == 0 || n > (*ns)[len(*ns)-1])
		*ns = append(*ns, n)
	}
	c.must(!in.bad)
}

// time is kept in milliseconds, in UTC.
func (c *codec) time(tag byte, t *time.Time) {
	if c.encoding {
		if !t.IsZero() {
			n := t.UnixMilli()
			c.must(n > 0)
			c.size(tag, &n)
		}
		return
	}
	n := int64(0)
	if c.size(tag, &n); n > 0 {
		*t = time.UnixMilli(n).UTC()
	}
}

// list is strings, each after its length.
func (c *codec) list(tag byte, ss *[]string) {
	if c.encoding {
		var b []byte
		for _, s := range *ss {
			b = binary.AppendUvarint(b, uint64(len(s)))
			b = append(b, s...)
		}
		c.putField(tag, b)
		return
	}
	in := decoder{p: c.takeField(tag)}
	for len(in.p) > 0 {
		*ss = append(*ss, string(in.takeBytes(in.takeNumber())))
	}
	c.must(!in.bad)
}

// mapField is a list of keys and values in turn, in order of keys.
func mapField[K ~string, V ~string | ~[]byte](c *codec, tag byte, m *map[K]V) {
	var ss []string
	if c.encoding {
		for _, k := range slices.Sorted(maps.Keys(*m)) {
			c.must(utf8.ValidString(string(k)))
			ss = append(ss, string(k), string((*m)[k]))
		}
		c.list(tag, &ss)
		return
	}
	c.list(tag, &ss)
	if len(ss) == 0 {
		return
	}
	c.must(len(ss)%2 == 0)
	*m = make(map[K]V, len(ss)/2)
	for i := 0; i+1 < len(ss); i += 2 {
		c.must((i == 0 || ss[i-2] < ss[i]) && utf8.ValidString(ss[i]))
		(*m)[K(ss[i])] = V(ss[i+1])
	}
}

// inlineRefs are the references of a chunk list that stands in its row.
func (c *codec) inlineRefs(tag byte, refs *[]cas.Ref) {
	if c.encoding {
		c.putField(tag, AppendRefs(nil, *refs))
		return
	}
	if v := c.takeField(tag); v != nil {
		found, err := ParseRefs(v)
		c.must(err == nil && len(found) <= inlineChunks)
		*refs = found
	}
}

// treeTop is the digest of a tree's top, and its height.
func (c *codec) treeTop(tag byte, of *Content) {
	if c.encoding {
		if !of.Top.IsZero() {
			c.putField(tag, binary.AppendUvarint(of.Top[:], uint64(of.Height)))
		}
		return
	}
	if v := c.takeField(tag); v != nil {
		in := decoder{p: v}
		in.takeInto(of.Top[:])
		height := in.takeNumber()
		of.Height = int(height)
		c.must(!in.bad && len(in.p) == 0 && height <= maxHeight && !of.Top.IsZero())
	}
}
