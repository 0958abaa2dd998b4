package manifest

import (
	"encoding/binary"

	"github.com/cairn-store/cairn/cas"
)

// AppendRefs appends the encoding of chunk references to b.
func AppendRefs(b []byte, refs []cas.Ref) []byte {
	for _, r := range refs {
		b = append(b, r.Digest[:]...)
		b = binary.AppendUvarint(b, uint64(r.Length))
	}
	return b
}

// ParseRefs decodes what AppendRefs wrote.
func ParseRefs(p []byte) (refs []cas.Ref, err error) {
	d := &decoder{p: p}
	for len(d.p) > 0 {
		var r cas.Ref
		d.takeInto(r.Digest[:])
		n := d.takeNumber()
		if d.bad || n == 0 || n > cas.MaxChunk {
			return nil, ErrFormat
		}
		r.Length = uint32(n)
		refs = append(refs, r)
	}
	return refs, nil
}
