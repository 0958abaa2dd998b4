package cas

import (
	"fmt"

	"github.com/cairn-store/cairn/cas/pack"
)

const (
	encodingSample  = 8 << 10 // bytes tried at each place
	encodingSamples = 4       // places
)

// An encoder makes frames of plain bytes.
type encoder struct {
	coder  *coder
	sealer Sealer // nil without one
	cores  cores
	bufs   *buffers
}

// An encoded is a frame ready to be appended.
type encoded struct {
	h       *pack.Frame
	payload []byte
	buf     []byte // of payload, to be given back; nil if payload is not in one
	err     error
}

// size is how much of a pack the frame takes, once it has been appended.
func (e *encoded) size() int { return int(e.h.HeaderLen) + len(e.payload) }

// encodeFrame makes a frame of plain, which must stay as it is until free.
func (n *encoder) encodeFrame(kind Kind, how Compression, plain []byte, slots []Ref) *encoded {
	n.cores.take()
	defer n.cores.give()
	e := &encoded{buf: n.bufs.get(len(plain))}
	scratch := n.bufs.get(len(plain)) // decoded into, to be compared
	payload, used, err := n.coder.encodePayload(how, plain, e.buf, scratch)
	n.bufs.put(scratch)
	if used == Raw {
		n.freeFrame(e)
	}
	e.payload, e.err = payload, err
	e.h = &pack.Frame{ID: pack.NewID(), Kind: kind, Codec: used, StoredLen: uint32(len(payload)),
		CRC: pack.Checksum(payload), Slots: slots}
	if e.err == nil {
		e.err = n.sealFrame(e)
	}
	return e
}

// freeFrame gives back what e takes.
func (n *encoder) freeFrame(e *encoded) {
	if e.buf != nil {
		n.bufs.put(e.buf)
		e.buf = nil
	}
}

// isWorthEncoding tries samples of plain at the fastest level. Its tables are
// small, so they stay in the processor's caches; at other levels most of the
// time goes to waiting for memory.
func (n *encoder) isWorthEncoding(how Compression, plain []byte) bool {
	if how.Codec == Raw || len(plain) <= 4*encodingSample*encodingSamples {
		return true
	}
	n.cores.take()
	defer n.cores.give()
	dst, scratch := n.bufs.get(encodingSample), n.bufs.get(encodingSample)
	defer n.bufs.put(dst)
	defer n.bufs.put(scratch)
	how.Level = 1
	for i := range encodingSamples {
		at := len(plain) * (2*i + 1) / (2 * encodingSamples)
		_, used, err := n.coder.encodePayload(how, plain[at:at+encodingSample], dst, scratch)
		if err != nil || used != Raw {
			return true // an error comes again, where it is reported
		}
	}
	return false
}

// sealFrame seals an encoded frame, if frames are to be sealed.
func (n *encoder) sealFrame(e *encoded) error {
	if n.sealer == nil {
		return nil
	}
	h := e.h
	h.Key = n.sealer.Key()
	if h.Key == 0 {
		return nil
	}
	var err error
	if h.Block, err = n.sealer.Seal(nil, h.Key, boundTo(h.ID, h.Kind, partBlock), pack.AppendBlock(nil, h)); err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	e.payload, err = n.sealer.Seal(make([]byte, 0, len(e.payload)+1<<10), h.Key, boundTo(h.ID, h.Kind, partPayload), e.payload)
	if err != nil {
		return fmt.Errorf("seal: %w", err)
	}
	h.StoredLen, h.CRC = uint32(len(e.payload)), pack.Checksum(e.payload)
	return nil
}
