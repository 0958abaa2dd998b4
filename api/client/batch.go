package client

import (
	"bytes"
	"encoding/binary"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// A batch is the chunks that one request sends.
type batch struct {
	w      *window // holds the bytes of the chunks
	chunks []chunk
	data   [][]byte
	size   int     // plain bytes
	all    []chunk // chunks at first

	body []byte
	ends []int // of each chunk in body
}

func newBatch(w *window) *batch { return &batch{w: w} }

func (b *batch) add(c chunk, p []byte) {
	b.chunks, b.data = append(b.chunks, c), append(b.data, p)
	b.size += c.size
}

// keepMissing removes the chunks that are not missing any more.
func (b *batch) keepMissing(missing map[string]bool) {
	chunks, data := b.chunks, b.data
	b.chunks, b.data, b.size = nil, nil, 0
	for i, c := range chunks {
		if missing[c.digest.String()] {
			b.add(c, data[i])
		}
	}
}

// encodeBody makes the body: for each chunk its digest, its size, the number
// of bytes that follow, and these bytes, compressed if that saves anything.
func (b *batch) encodeBody(enc *zstd.Encoder) {
	const header = 32 + 4 + 4
	b.ends = b.ends[:0]
	b.body = make([]byte, 0, b.size+header*len(b.chunks)+1024) // what does not compress may grow a little
	for i, c := range b.chunks {
		b.body = append(b.body, c.digest[:]...)
		b.body = binary.BigEndian.AppendUint32(b.body, uint32(c.size))
		at := len(b.body)
		b.body = enc.EncodeAll(b.data[i], append(b.body, 0, 0, 0, 0))
		if n := len(b.body) - at - 4; n > c.size-c.size/32 {
			b.body = append(b.body[:at+4], b.data[i]...)
		}
		binary.BigEndian.PutUint32(b.body[at:], uint32(len(b.body)-at-4))
		b.ends = append(b.ends, len(b.body))
	}
}

// plainBytes returns the number of plain bytes of the chunks that the first n
// bytes of the body hold, wholly or in part.
func (b *batch) plainBytes(n int) (sum int64) {
	begin := 0
	for i, end := range b.ends {
		if begin < n {
			sum += int64(b.chunks[i].size)
		}
		begin = end
	}
	return sum
}

// A batchReader reads the body of a batch for a request and counts what is
// taken.
type batchReader struct {
	r     *bytes.Reader
	touch func()
	n     atomic.Int64 // bytes taken; atomic, because the transport may read on after a request has failed
}

func (b *batch) newReader(touch func()) *batchReader {
	return &batchReader{r: bytes.NewReader(b.body), touch: touch}
}

func (r *batchReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.n.Add(int64(n))
	if n > 0 {
		r.touch()
	}
	return n, err
}

func (r *batchReader) bytesTaken() int { return int(r.n.Load()) }
