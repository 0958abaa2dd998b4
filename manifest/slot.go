package manifest

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas"
)

// Limits of one commit.
const (
	MaxRecord = 512 << 10 // encoded bytes of a record
	MaxSlot   = 1 << 20   // bytes of a slot
	MaxCommit = 32 << 20  // bytes of all slots of a commit

	// maxParts is more than the slots of a commit: two consecutive slots
	// together have more bytes than one may have.
	maxParts = 128
	// slotHead is more than the bytes of a slot besides its records.
	slotHead = 64
)

// ErrTooLarge reports a change that exceeds the limits of one commit. Nothing
// was changed.
var ErrTooLarge = errors.New("change is larger than one commit may be")

// Types of slots. They are part of the format.
const (
	slotCommit     = 1
	slotCheckpoint = 2
	slotEnd        = 3
)

// A Slot is what one slot of a frame of records holds: a part of a commit, a
// part of a checkpoint, or the end of a checkpoint.
type Slot struct {
	Commit uint64 // number of the commit; 0 in a checkpoint

	Checkpoint [16]byte // ID of the checkpoint
	Base       uint64   // the last commit that the checkpoint includes; 0 in a commit

	Part    uint64     // from 1; 0 at the end of a checkpoint
	Parts   uint64     // parts of the commit, or at the end of a checkpoint, its parts
	Digest  cas.Digest // over the parts, at the end of a checkpoint
	Records []Record   // none at the end of a checkpoint
}

// EncodeCommit encodes the records of commit seq as slots of at most MaxSlot
// bytes. It returns ErrTooLarge if they exceed the limits of a commit.
func EncodeCommit(seq uint64, rs []Record) ([][]byte, error) {
	slots, n, err := EncodeSome(seq, rs)
	if err == nil && n < len(rs) {
		err = fmt.Errorf("manifest: encode commit: %d records: %w", len(rs), ErrTooLarge)
	}
	if err != nil {
		return nil, err
	}
	return slots, nil
}

// EncodeSome encodes as many of rs as fit into one commit, and returns how many
// it has encoded: at least one.
func EncodeSome(seq uint64, rs []Record) (slots [][]byte, n int, err error) {
	if seq == 0 || len(rs) == 0 {
		return nil, 0, fmt.Errorf("manifest: encode commit %d of %d records", seq, len(rs))
	}
	var parts [][]byte
	var part []byte
	size := 0
	for ; n < len(rs); n++ {
		r, err := rs[n].encodeBounded()
		if err != nil {
			return nil, 0, fmt.Errorf("manifest: encode commit: %w", err)
		}
		full := len(part)+len(r) > MaxSlot-slotHead
		more := len(r)
		if full || n == 0 {
			more += slotHead
		}
		if size+more > MaxCommit {
			break
		}
		size += more
		if full {
			parts, part = append(parts, part), nil
		}
		part = append(part, r...)
	}
	parts = append(parts, part)
	for i, p := range parts {
		s := &Slot{Commit: seq, Part: uint64(i + 1), Parts: uint64(len(parts))}
		slots = append(slots, s.encodeWith(p))
	}
	return slots, n, nil
}

// encodeWith encodes a slot with records that are encoded already.
func (s *Slot) encodeWith(records []byte) []byte {
	var b []byte
	switch {
	case s.Commit > 0:
		b = appendNumbers([]byte{slotCommit}, s.Commit, s.Part, s.Parts)
	case s.Part > 0:
		b = append([]byte{slotCheckpoint}, s.Checkpoint[:]...)
		b = appendNumbers(b, s.Base, s.Part)
	default:
		b = append([]byte{slotEnd}, s.Checkpoint[:]...)
		b = appendNumbers(b, s.Base, s.Parts)
		b = append(b, s.Digest[:]...)
	}
	return appendEnvelope(nil, tagSlot, append(b, records...))
}

func appendNumbers(b []byte, ns ...uint64) []byte {
	for _, n := range ns {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

// DecodeSlot decodes a slot. The result does not share memory with p.
func DecodeSlot(p []byte) (*Slot, error) {
	s, records, err := decodeHead(p)
	if err != nil {
		return nil, err
	}
	s.Records, err = decodeRecords(records)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// decodeHead decodes all of a slot but its records, which it returns encoded.
func decodeHead(p []byte) (s *Slot, records []byte, err error) {
	const in = "record slot"
	body, err := openEnvelope(p, tagSlot, in)
	if err == nil && (len(body) == 0 || len(p) > MaxSlot) {
		err = ErrFormat
	}
	if err != nil {
		return nil, nil, fmt.Errorf("manifest: decode %s: %w", in, err)
	}
	s = &Slot{}
	d := &decoder{p: body[1:]}
	switch body[0] {
	case slotCommit:
		s.Commit, s.Part, s.Parts = d.takeNumber(), d.takeNumber(), d.takeNumber()
		d.must(s.Commit > 0 && s.Part > 0 && s.Part <= s.Parts && s.Parts <= maxParts)
	case slotCheckpoint:
		d.takeInto(s.Checkpoint[:])
		s.Base, s.Part = d.takeNumber(), d.takeNumber()
		d.must(s.Base > 0 && s.Part > 0)
	case slotEnd:
		d.takeInto(s.Checkpoint[:])
		s.Base, s.Parts = d.takeNumber(), d.takeNumber()
		d.takeInto(s.Digest[:])
		d.must(s.Base > 0)
	case 0:
		d.fail()
	default:
		return nil, nil, fmt.Errorf("manifest: decode %s: %w", in, &UnknownError{in, "type", uint64(body[0])})
	}
	if d.bad || (s.Part > 0) != (len(d.p) > 0) {
		return nil, nil, fmt.Errorf("manifest: decode %s: %w", in, ErrFormat)
	}
	return s, d.p, nil
}

func decodeRecords(p []byte) (rs []Record, err error) {
	for d := (&decoder{p: p}); len(d.p) > 0; {
		r, err := d.takeRecord()
		if err != nil {
			return nil, err
		}
		rs = append(rs, r)
	}
	return rs, nil
}
