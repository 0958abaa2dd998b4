package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
)

// Every row, record slot and segment is stored in an envelope: a tag, a version,
// the length of the body, and the body, with nothing after it. All versions keep
// this layout, so that unknown encodings can be told from damaged ones.
const (
	tagManifest = 'M'
	tagFile     = 'F'
	tagHome     = 'H'
	tagSlot     = 'R'
	tagUpload   = 'U'
	tagGrant    = 'G'
	tagAPIKey   = 'K'
	tagSignKey  = 'Y'
	tagOnce     = 'O'
	tagGrave    = 'D'
	tagCharge   = 'C'
	tagFreed    = 'L'
	tagScrubbed = 'B'
	tagPoint    = 'P'
	tagLink     = 'J'
	tagHost     = 'V'

	// knownTags are the tags of all envelopes, of every kind.
	knownTags = "MFHRSUGKYODCLBPJV"

	// FormatVersion is that of the rows and records that this program writes.
	FormatVersion = 1

	envelopeVersion = FormatVersion
)

var (
	// ErrFormat reports an encoding that is damaged or not canonical.
	ErrFormat = errors.New("encoding is damaged")
	// ErrUnknown reports an encoding that is whole but written by a newer
	// program. An UnknownError names the part that is not known.
	ErrUnknown = errors.New("written by a newer program")
)

// An UnknownError names the unknown part of an encoding. It matches ErrUnknown.
type UnknownError struct {
	In    string // "file row", "record slot", …
	What  string // "version", "field", "record type", …
	Value uint64
}

func (e *UnknownError) Error() string {
	return fmt.Sprintf("%s has %s %d, which this program does not know", e.In, e.What, e.Value)
}

// Is reports whether target is ErrUnknown.
func (e *UnknownError) Is(target error) bool { return target == ErrUnknown }

// appendEnvelope appends body in its envelope.
func appendEnvelope(b []byte, tag byte, body []byte) []byte {
	b = append(b, tag, envelopeVersion)
	b = binary.AppendUvarint(b, uint64(len(body)))
	return append(b, body...)
}

// openEnvelope returns the body of an envelope with a tag. The body shares the
// memory of p. in names the encoding in errors.
func openEnvelope(p []byte, tag byte, in string) ([]byte, error) {
	if len(p) < 3 {
		return nil, ErrFormat
	}
	d := &decoder{p: p[2:]}
	n := d.takeNumber()
	switch {
	case d.bad || n != uint64(len(d.p)):
		return nil, ErrFormat
	case p[0] != tag && strings.IndexByte(knownTags, p[0]) < 0:
		return nil, &UnknownError{in, "tag", uint64(p[0])}
	case p[0] != tag:
		return nil, ErrFormat
	case p[1] == 0:
		return nil, ErrFormat
	case p[1] != envelopeVersion:
		return nil, &UnknownError{in, "version", uint64(p[1])}
	}
	return d.p, nil
}

// checkFields returns an error if p is not a sequence of fields in ascending
// order of tags, or if a tag is above last, the highest known one.
func checkFields(p []byte, in string, last byte) error {
	d := &decoder{p: p}
	before := byte(0)
	for len(d.p) > 0 {
		tag := d.p[0]
		if tag <= before {
			return ErrFormat
		}
		before = tag
		d.takeField(tag)
	}
	switch {
	case d.bad:
		return ErrFormat
	case before > last:
		return &UnknownError{in, "field", uint64(before)}
	}
	return nil
}
