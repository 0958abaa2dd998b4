package api

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"

	"github.com/gorilla/mux"
	"github.com/klauspost/compress/zstd"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets"
	"github.com/cairn-store/cairn/buckets/upload"
	"github.com/cairn-store/cairn/cas"
)

var errZstd = errors.New("zstd does not decode to a chunk")

// receiveChunk takes one chunk of a session.
func (s *Server) receiveChunk(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	up, err := findSession(r, b)
	if err != nil {
		return err
	}
	digest, err := cas.ParseDigest(mux.Vars(r)["digest"])
	if err != nil {
		return errNoRoute
	}
	longest := sessionView(up).Limits.MaxChunk
	p, err := io.ReadAll(io.LimitReader(r.Body, longest+1))
	if err != nil {
		return bodyError(err)
	}
	if int64(len(p)) > longest {
		return fmt.Errorf("more than %d bytes: %w", longest, buckets.ErrChunkTooLarge)
	}
	if codingOf(r.Header) == "zstd" {
		if p, err = s.zstd.DecodeAll(p, nil); err != nil {
			return fmt.Errorf("%w: %w", errZstd, err)
		}
	}
	if len(p) == 0 {
		return fmt.Errorf("no chunk is empty: %w", errRequest)
	}
	sent := false
	got, err := b.ReceiveChunks(r.Context(), up.ID, func() (upload.SentChunk, error) {
		if sent {
			return upload.SentChunk{}, io.EOF
		}
		sent = true
		return upload.SentChunk{Digest: digest, Bytes: p}, nil
	})
	if err != nil {
		return err
	}
	status := http.StatusOK
	if got.NewChunks > 0 {
		status = http.StatusCreated
	}
	return writeJSON(w, status, client.Chunk{Digest: digest.String(), Size: int64(len(p))})
}

// receiveChunks takes a batch of chunks of a session.
func (s *Server) receiveChunks(w http.ResponseWriter, r *http.Request, b *upload.Bucket) error {
	if t, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); t != client.ChunksType {
		return fmt.Errorf("send chunks as %s: %w", client.ChunksType, errMediaType)
	}
	if r.ContentLength > maxBatch {
		return fmt.Errorf("%d bytes, at most %d are taken at a time: %w", r.ContentLength, maxBatch, errTooLarge)
	}
	up, err := findSession(r, b)
	if err != nil {
		return err
	}
	batch := &chunkBatch{r: bufio.NewReaderSize(r.Body, 64<<10), left: maxBatch, longest: uint32(sessionView(up).Limits.MaxChunk), zstd: s.zstd}
	got, err := b.ReceiveChunks(r.Context(), up.ID, batch.nextChunk)
	if err != nil {
		return err
	}
	return writeJSON(w, http.StatusOK, client.ReceivedChunks{Chunks: got.Chunks, Bytes: got.Bytes})
}

// A chunkBatch reads the chunks of a request body.
type chunkBatch struct {
	r       *bufio.Reader
	left    int64  // bytes that the body may still have
	longest uint32 // bytes of a chunk
	zstd    *zstd.Decoder

	run         []chunkHead // heads before the bytes of all of them
	done        int         // heads of run that nextChunk has returned
	sent, plain []byte
}

// A chunkHead comes before the bytes of a chunk.
type chunkHead struct {
	digest      cas.Digest
	plain, sent uint32 // bytes of the chunk, and of its encoded form
}

// nextChunk returns the next chunk. Its bytes are valid until the next call.
func (c *chunkBatch) nextChunk() (out upload.SentChunk, err error) {
	if c.done == len(c.run) {
		if err := c.readHeads(); err != nil {
			return out, err
		}
	}
	h := c.run[c.done]
	c.done++
	if cap(c.sent) < int(h.sent) {
		c.sent = make([]byte, c.longest)
	}
	out.Digest, out.Bytes = h.digest, c.sent[:h.sent]
	if _, err := io.ReadFull(c.r, out.Bytes); err != nil {
		return out, bodyError(unexpectedEnd(err))
	}
	if h.sent == h.plain {
		return out, nil
	}
	if c.plain == nil {
		c.plain = make([]byte, 0, c.longest)
	}
	if out.Bytes, err = c.zstd.DecodeAll(out.Bytes, c.plain[:0]); err != nil || len(out.Bytes) != int(h.plain) {
		return out, fmt.Errorf("chunk %s said to be %d bytes: %w", out.Digest, h.plain, errors.Join(errZstd, err))
	}
	return out, nil
}

// readHeads reads the next heads, up to the first that bytes follow; mostly
// that is one.
func (c *chunkBatch) readHeads() error {
	c.run, c.done = c.run[:0], 0
	for {
		h, err := c.readHead()
		if len(c.run) > 0 {
			err = unexpectedEnd(err)
		}
		if err != nil {
			return bodyError(err)
		}
		later := h.sent == 0
		if later {
			h.sent = h.plain
		} else if len(c.run) > 0 && h.sent != h.plain {
			return fmt.Errorf("chunk %s is compressed and its bytes come with those of others: send them raw: %w", h.digest, errRequest)
		}
		if c.left -= chunkHeader + int64(h.sent); c.left < 0 {
			return fmt.Errorf("more than %d bytes at a time: %w", maxBatch, errTooLarge)
		}
		if c.run = append(c.run, h); !later {
			return nil
		}
		if len(c.run) == maxRun {
			return fmt.Errorf("the bytes of more than %d chunks come together: %w", maxRun, errTooLarge)
		}
	}
}

func (c *chunkBatch) readHead() (h chunkHead, err error) {
	var p [chunkHeader]byte
	if _, err := io.ReadFull(c.r, p[:]); err != nil {
		return h, err
	}
	h = chunkHead{cas.Digest(p[:32]), binary.BigEndian.Uint32(p[32:]), binary.BigEndian.Uint32(p[36:])}
	if h.plain > c.longest {
		return h, fmt.Errorf("chunk %s of %d bytes, at most %d are cut: %w", h.digest, h.plain, c.longest, buckets.ErrChunkTooLarge)
	}
	if h.plain == 0 || h.sent > h.plain {
		return h, fmt.Errorf("chunk %s of %d bytes sent as %d: %w", h.digest, h.plain, h.sent, errRequest)
	}
	return h, nil
}

// unexpectedEnd turns io.EOF into io.ErrUnexpectedEOF.
func unexpectedEnd(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}

// newZstd returns a decoder whose output is at most a few chunks. The limit is
// above one chunk because some encoders declare windows larger than their
// input.
func newZstd() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderMaxMemory(4*cas.MaxChunk), zstd.WithDecoderConcurrency(0))
	if err != nil {
		panic(err) // its options are constant
	}
	return d
}
