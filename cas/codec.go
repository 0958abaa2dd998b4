package cas

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"

	"github.com/cairn-store/cairn/cas/pack"
)

var errCodec = errors.New("unknown codec")

// A Compression says how frames are to be encoded.
type Compression struct {
	Codec Codec
	Level int // 1 (fast) to 9 (small); 0 is the codec's usual one
}

// zstdLevel is the encoder's level nearest to l.
func (c Compression) zstdLevel() zstd.EncoderLevel {
	switch {
	case c.Level == 0:
		return zstd.SpeedDefault
	case c.Level == 1:
		return zstd.SpeedFastest
	case c.Level <= 3:
		return zstd.SpeedDefault
	case c.Level <= 6:
		return zstd.SpeedBetterCompression
	}
	return zstd.SpeedBestCompression
}

// A coder encodes and decodes payloads. Its methods may run concurrently.
type coder struct {
	workers int
	dec     *zstd.Decoder

	mu   sync.Mutex
	encs map[zstd.EncoderLevel]*zstd.Encoder // guarded by mu; each is made at its first use
}

func newCoder(workers int) (*coder, error) {
	dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(workers),
		zstd.WithDecoderMaxMemory(pack.MaxPlain), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, err
	}
	return &coder{workers: workers, dec: dec, encs: make(map[zstd.EncoderLevel]*zstd.Encoder)}, nil
}

// zstdEncoder returns the zstd encoder of a level.
func (c *coder) zstdEncoder(level zstd.EncoderLevel) (*zstd.Encoder, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if enc := c.encs[level]; enc != nil {
		return enc, nil
	}
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level),
		zstd.WithEncoderConcurrency(c.workers), zstd.WithEncoderCRC(false),
		zstd.WithLowerEncoderMem(true), zstd.WithWindowSize(pack.MaxPlain/2),
		zstd.WithAllLitEntropyCompression(true)) // for base64, digits and the like, which have no matches
	if err != nil {
		return nil, err
	}
	c.encs[level] = enc
	return enc, nil
}

func (c *coder) close() {
	for _, enc := range c.encs {
		enc.Close()
	}
	c.dec.Close()
}

// encodePayload appends the encoded form of plain to dst, or returns plain
// itself and Raw if encoding saves less than a thirty-second part. It decodes
// the encoded form into scratch and compares it with plain.
func (c *coder) encodePayload(how Compression, plain, dst, scratch []byte) (encoded []byte, used Codec, err error) {
	defer recoverCodec(&err)
	var out []byte
	switch how.Codec {
	case Raw:
		return plain, Raw, nil
	case Zstd:
		enc, err := c.zstdEncoder(how.zstdLevel())
		if err != nil {
			return nil, 0, err
		}
		out = enc.EncodeAll(plain, dst[:0])
	case Gzip:
		level := how.Level
		if level == 0 {
			level = gzip.DefaultCompression
		}
		var buf = bytes.NewBuffer(dst[:0])
		w, err := gzip.NewWriterLevel(buf, level)
		if err != nil {
			return nil, 0, err
		}
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
	back, err := c.decodePayload(how.Codec, out, scratch, len(plain))
	if err != nil || !bytes.Equal(back, plain) {
		return nil, 0, fmt.Errorf("%s does not decode to what was encoded: memory or codec at fault: %v", how.Codec, err)
	}
	return out, how.Codec, nil
}

// decodePayload decodes a payload, whose plain bytes must be size long, into
// the space of dst. It never makes more than size bytes, whatever the payload
// says.
func (c *coder) decodePayload(codec Codec, stored, dst []byte, size int) (plain []byte, err error) {
	defer recoverCodec(&err)
	if size > pack.MaxPlain {
		return nil, fmt.Errorf("plain size %d is over the limit of %d", size, pack.MaxPlain)
	}
	if cap(dst) < size {
		dst = make([]byte, 0, size)
	}
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
		dst, err = decodeGzip(stored, dst[:0], size)
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

// recoverCodec turns a panic of a codec into an error of the frame that caused
// it, so that the process and its other requests go on.
func recoverCodec(err *error) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("codec panicked: %v", p)
	}
}

func decodeGzip(stored, dst []byte, size int) ([]byte, error) {
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
