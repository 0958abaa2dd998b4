package pack

import (
	"context"
	"encoding/binary"
	"io"
	"testing"
)

// bytesReader is a pack in memory. It counts what is read.
type bytesReader struct {
	p    []byte
	read int64
}

func (r *bytesReader) ReadAt(_ context.Context, p []byte, off int64) error {
	r.read += int64(len(p))
	if off < 0 || off+int64(len(p)) > int64(len(r.p)) {
		return io.ErrUnexpectedEOF
	}
	copy(p, r.p[off:])
	return nil
}

var testPack = ID{1, 2, 3, 15: 16}

// A builder makes a pack.
type builder struct {
	p     []byte
	lines Lines
}

func newBuilder() *builder {
	return &builder{p: AppendHeader(nil, &Header{Pack: testPack, Store: [16]byte{1}, Domain: [16]byte{2}, Writer: [16]byte{3}, Serial: 4, Settled: 2, Time: 5})}
}

// add appends a frame of raw chunks and returns its header's bytes. change, if
// not nil, may alter the header before it is signed.
func (b *builder) add(kind Kind, change func(h []byte) []byte, chunks ...string) *Frame {
	var payload []byte
	f := &Frame{ID: FrameID{byte(len(b.p)), byte(len(b.p) >> 8)}, Pack: testPack, Offset: int64(len(b.p)), Kind: kind}
	for _, c := range chunks {
		payload = append(payload, c...)
		f.Slots = append(f.Slots, Ref{SumSlot(kind, []byte(c)), uint32(len(c))})
	}
	f.StoredLen, f.CRC = uint32(len(payload)), Checksum(payload)
	if kind == KindRecord {
		f.First, f.Last, f.Base = 7, 9, 300
	}
	head := AppendFrame(nil, f)
	if change != nil {
		head = sign(change(head[:len(head)-frameSum]), f.Offset)
		f.HeaderLen = uint32(len(head))
	}
	b.lines.Add(f, head)
	b.p = append(append(b.p, head...), payload...)
	return f
}

// sign gives a header length, check and sum.
func sign(h []byte, off int64) []byte {
	binary.LittleEndian.PutUint32(h[8:], uint32(len(h)+frameSum))
	binary.LittleEndian.PutUint32(h[checkAt:], checkOf(h, testPack, off))
	sum := sumOf(h, testPack, off)
	return append(h, sum[:]...)
}

func (b *builder) seal() { b.p = AppendFooter(b.p, testPack, &b.lines) }

// walk walks p and returns what it finds.
func walk(t testing.TB, p []byte) (found []*Found, foot *Footer, err error) {
	t.Helper()
	foot, err = Walk(t.Context(), &bytesReader{p: p}, testPack, int64(len(p)), func(f *Found) error {
		found = append(found, f)
		return nil
	})
	return found, foot, err
}
