package cas

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

// A Codec says how the payload of a frame is encoded. Its values are part of
// the format.
type Codec uint8

const (
	Raw  Codec = 0
	Zstd Codec = 1
	Gzip Codec = 2
)

func (c Codec) String() string {
	switch c {
	case Raw:
		return "none"
	case Zstd:
		return "zstd"
	case Gzip:
		return "gzip"
	}
	return fmt.Sprintf("codec %d", uint8(c))
}

var errCodec = errors.New("unknown codec")

// A coder encodes and decodes payloads. Its methods may run concurrently.
type coder struct {
	enc *zstd.Encoder
	dec *zstd.Decoder
}

func newCoder(workers int) (*coder, error) {
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault),
		zstd.WithEncoderConcurrency(workers), zstd.WithEncoderCRC(false),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(maxPlain/2),
		zstd.WithAllLitEntropyCompression(true)) // for base64, digits and the like, which have no matches
	if err != nil {
		return nil, err
	}
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(workers),
		zstd.WithDecoderMaxMemory(maxPlain), zstd.WithDecoderLowmem(true))
	if err != nil {
		enc.Close()
		return nil, err
	}
	return &coder{enc: enc, dec: dec}, nil
}

func (c *coder) close() {
	c.enc.Close()
	c.dec.Close()
}

// encode appends the encoded form of plain to dst, or returns plain itself
// and Raw when encoding saves less than a thirty-second part. What it encodes
// it has decoded and compared, with scratch to decode into.
func (c *coder) encode(codec Codec, plain, dst, scratch []byte) ([]byte, Codec, error) {
	var out []byte
	switch codec {
	case Raw:
		return plain, Raw, nil
	case Zstd:
		out = c.enc.EncodeAll(plain, dst[:0])
	case Gzip:
		var buf = bytes.NewBuffer(dst[:0])
		w := gzip.NewWriter(buf)
		w.Write(plain)
		if err := w.Close(); err != nil {
			return nil, 0, err
		}
		out = buf.Bytes()
	default:
		return nil, 0, errCodec
	}
	if len(out) > len(plain)-len(plain)/32 {
		return plain, Raw, nil
	}
	back, err := c.decode(codec, out, scratch, len(plain))
	if err != nil || !bytes.Equal(back, plain) {
		return nil, 0, fmt.Errorf("%s does not decode to what was encoded: memory or codec at fault: %v", codec, err)
	}
	return out, codec, nil
}

// decode decodes a payload that must be size bytes long into dst's space. It
// never makes more than size bytes, whatever the payload says.
func (c *coder) decode(codec Codec, stored, dst []byte, size int) ([]byte, error) {
	if size > maxPlain {
		return nil, fmt.Errorf("plain size %d is over the limit of %d", size, maxPlain)
	}
	if cap(dst) < size {
		dst = make([]byte, 0, size)
	}
	var err error
	switch codec {
	case Raw:
		dst = append(dst[:0], stored...)
	case Zstd:
		var h zstd.Header
		if err := h.Decode(stored); err != nil {
			return nil, err
		}
		if h.HasFCS && h.FrameContentSize != uint64(size) {
			return nil, fmt.Errorf("payload announces %d bytes, want %d", h.FrameContentSize, size)
		}
		dst, err = c.dec.DecodeAll(stored, dst[:0])
	case Gzip:
		dst, err = gunzip(stored, dst[:0], size)
	default:
		err = errCodec
	}
	if err != nil {
		return nil, err
	}
	if len(dst) != size {
		return nil, fmt.Errorf("decodes to %d bytes, want %d", len(dst), size)
	}
	return dst, nil
}

func gunzip(stored, dst []byte, size int) ([]byte, error) {
	r, err := gzip.NewReader(bytes.NewReader(stored))
	if err != nil {
		return nil, err
	}
	dst = dst[:size]
	if _, err := io.ReadFull(r, dst); err != nil {
		return nil, err
	}
	if n, err := r.Read(make([]byte, 1)); n != 0 || err != io.EOF {
		return nil, errors.New("decodes to more than its size")
	}
	return dst, nil
}
