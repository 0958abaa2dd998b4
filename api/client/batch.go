package client

import (
	"encoding/binary"

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
