package cas

import (
	"errors"
	"fmt"

	"github.com/cairn-store/cairn/cas/pack"
)

// A decoder turns the stored bytes of frames into plain ones.
type decoder struct {
	coder  *coder
	codecs map[Codec]FrameCodec // beside those of the format
	sealer Sealer               // nil without one
	cores  cores
}

// A FrameCodec decodes frames of a codec that is not one of the format's own,
// whose frames may be made with sources.
type FrameCodec interface {
	// Decode appends the plain bytes of a payload to dst, size in all. Sources
	// are what the frame's sources name, in order. It may run concurrently.
	Decode(dst, payload []byte, sources [][]byte, size int) ([]byte, error)
}

// decodePayload decodes the payload of a frame into buf, if that has room. sources are
// what the frame's sources name. It takes a core.
func (d *decoder) decodePayload(fe *FrameEntry, stored, buf []byte, sources [][]byte) (plain []byte, err error) {
	if fe.PlainLen > pack.MaxPlain {
		return nil, &decodeError{errors.New("plain length is over the limit")}
	}
	d.cores.take()
	defer d.cores.give()
	if fe.Key != 0 {
		stored, err = d.openPart(fe.ID, fe.Kind, fe.Key, partPayload, stored)
		if errors.Is(err, ErrKey) {
			return nil, err
		}
	}
	if c := d.codecs[fe.Codec]; err == nil && c != nil {
		plain, err = decodeWith(c, buf, stored, sources, int(fe.PlainLen))
	} else if err == nil {
		plain, err = d.coder.decodePayload(fe.Codec, stored, buf, int(fe.PlainLen))
	}
	if err != nil {
		return nil, &decodeError{err}
	}
	return plain, nil
}

func decodeWith(c FrameCodec, buf, stored []byte, sources [][]byte, size int) (plain []byte, err error) {
	defer recoverCodec(&err)
	plain, err = c.Decode(buf[:0], stored, sources, size)
	if err == nil && len(plain) != size {
		err = fmt.Errorf("decodes to %d bytes, want %d", len(plain), size)
	}
	return plain, err
}

// openPart opens a part of a frame.
func (d *decoder) openPart(id FrameID, kind Kind, key uint64, part byte, sealed []byte) ([]byte, error) {
	if d.sealer == nil {
		return nil, fmt.Errorf("frame %s, key %d: %w", id, key, ErrKey)
	}
	plain, err := d.sealer.Open(nil, key, boundTo(id, kind, part), sealed)
	if err != nil {
		return nil, fmt.Errorf("frame %s, key %d: %w", id, key, err)
	}
	return plain, nil
}

// checkKnown fails where frames are encoded in a way that this store does not
// know. That is no damage.
func (d *decoder) checkKnown(fe *FrameEntry) error {
	if !fe.Kind.Known() {
		return &UnknownError{What: "frame kind", Value: uint64(fe.Kind), Pack: fe.Pack, Offset: fe.Offset}
	}
	if fe.Codec > Gzip && d.codecs[fe.Codec] == nil {
		return &UnknownError{What: "codec", Value: uint64(fe.Codec), Pack: fe.Pack, Offset: fe.Offset}
	}
	return nil
}

// storedPlain reports whether the chunks of a frame lie in its payload as they
// are.
func storedPlain(fe *FrameEntry) bool { return fe.Codec == Raw && fe.Key == 0 }
