package pack

import (
	"encoding/binary"
	"errors"
)

// noteVoid is the type of a note that says that a serial was given up.
const noteVoid = 1

// A Void is a serial that its writer has given up: no pack of it need exist.
type Void struct {
	Writer [16]byte
	Serial uint64
}

// AppendVoid appends the slot of a frame of notes that says that v is void.
func AppendVoid(b []byte, v Void) []byte {
	b = append(b, noteVoid)
	b = append(b, v.Writer[:]...)
	return binary.AppendUvarint(b, v.Serial)
}

// ErrNote reports a note that is damaged.
var ErrNote = errors.New("note about a pack is damaged")

// ParseNote reads a slot of the frame of notes at offset off of a pack.
func ParseNote(p []byte, pack ID, off int64) (v Void, err error) {
	if len(p) > 0 && p[0] != noteVoid {
		return v, &UnknownError{What: "note", Value: uint64(p[0]), Pack: pack, Offset: off}
	}
	if len(p) < 1+len(v.Writer) {
		return v, ErrNote
	}
	c := cutter{p: p[1:]}
	copy(v.Writer[:], c.p)
	c.p = c.p[len(v.Writer):]
	v.Serial = c.cutUvarint()
	if c.bad || len(c.p) > 0 {
		return v, ErrNote
	}
	return v, nil
}
