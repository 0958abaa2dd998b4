package manifest

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/cairn-store/cairn/cas"
)

// A segment is a run of chunk references, cut by content: after a reference
// whose digest's last two bytes, little-endian, are under segmentBound, from
// segmentMin references on, and always at segmentMax. That makes 512 the mean.
const (
	segmentMin   = 128
	segmentMax   = 2048
	segmentBound = 171

	segmentVersion = 1
	inlineChunks   = 32 // chunk lists up to here stand in the row itself

	rootContext = "cairn-store/cairn 2026 manifest root v1"
)

// A SegmentRef is a manifest's reference to a segment.
type SegmentRef struct {
	Digest cas.Digest
	Chunks uint32 // references in it
	Size   int64  // plain bytes they stand for
}

// EncodeSegment returns the canonical encoding of a segment.
func EncodeSegment(refs []cas.Ref) []byte {
	b := make([]byte, 0, 1+len(refs)*35)
	return appendRefs(append(b, segmentVersion), refs)
}

// DecodeSegment reads what EncodeSegment wrote.
func DecodeSegment(p []byte) ([]cas.Ref, error) {
	if len(p) == 0 || p[0] != segmentVersion {
		return nil, fmt.Errorf("manifest: decode segment: %w", ErrFormat)
	}
	refs, err := parseRefs(p[1:])
	if err == nil && (len(refs) == 0 || len(refs) > segmentMax) {
		err = ErrFormat
	}
	if err != nil {
		return nil, fmt.Errorf("manifest: decode segment: %w", err)
	}
	return refs, nil
}

func appendRefs(b []byte, refs []cas.Ref) []byte {
	for _, r := range refs {
		b = append(b, r.Digest[:]...)
		b = binary.AppendUvarint(b, uint64(r.Length))
	}
	return b
}

func parseRefs(p []byte) (refs []cas.Ref, err error) {
	d := &decoder{p: p}
	for len(d.p) > 0 {
		var r cas.Ref
		if len(d.p) < len(r.Digest) {
			return nil, ErrFormat
		}
		d.p = d.p[copy(r.Digest[:], d.p):]
		n := d.uvarint()
		if d.bad || n == 0 || n > cas.MaxChunk {
			return nil, ErrFormat
		}
		r.Length = uint32(n)
		refs = append(refs, r)
	}
	return refs, nil
}

func appendSegmentRefs(b []byte, refs []SegmentRef) []byte {
	for _, r := range refs {
		b = append(b, r.Digest[:]...)
		b = binary.AppendUvarint(b, uint64(r.Chunks))
		b = binary.AppendUvarint(b, uint64(r.Size))
	}
	return b
}

func parseSegmentRefs(p []byte) (refs []SegmentRef, err error) {
	d := &decoder{p: p}
	for len(d.p) > 0 {
		var r SegmentRef
		if len(d.p) < len(r.Digest) {
			return nil, ErrFormat
		}
		d.p = d.p[copy(r.Digest[:], d.p):]
		chunks, size := d.uvarint(), d.uvarint()
		if d.bad || chunks > segmentMax || size > segmentMax*cas.MaxChunk {
			return nil, ErrFormat
		}
		if r.Chunks, r.Size = uint32(chunks), int64(size); !r.possible() {
			return nil, ErrFormat
		}
		refs = append(refs, r)
	}
	return refs, nil
}

// whole reports whether the sums of c are those of its chunk list, and every
// reference is one that can be read back.
func (c *Content) whole() bool {
	if len(c.Inline) > inlineChunks || len(c.Inline) > 0 && len(c.Segments) > 0 {
		return false
	}
	var chunks, size int64
	for _, r := range c.Inline {
		if r.Length == 0 || r.Length > cas.MaxChunk {
			return false
		}
		chunks++
		size += int64(r.Length)
	}
	for _, s := range c.Segments {
		if !s.possible() {
			return false
		}
		chunks += int64(s.Chunks)
		size += s.Size
	}
	return chunks == c.Chunks && size == c.Size
}

// possible reports whether there can be such a segment.
func (s *SegmentRef) possible() bool {
	n := int64(s.Chunks)
	return n > 0 && n <= segmentMax && s.Size >= n && s.Size <= n*cas.MaxChunk
}

// A listBuilder makes the chunk list of a content from its references.
type listBuilder struct {
	// put stores an encoded segment. It is called in order.
	put  func([]byte) (cas.Digest, error)
	refs []cas.Ref // of the segment that is growing
	c    *Content
}

func (l *listBuilder) add(r cas.Ref) error {
	l.refs = append(l.refs, r)
	l.c.Size += int64(r.Length)
	l.c.Chunks++
	n := len(l.refs)
	if n == segmentMax || n >= segmentMin && binary.LittleEndian.Uint16(r.Digest[30:]) < segmentBound {
		return l.cut()
	}
	return nil
}

func (l *listBuilder) cut() error {
	ref := SegmentRef{Chunks: uint32(len(l.refs))}
	for _, r := range l.refs {
		ref.Size += int64(r.Length)
	}
	var err error
	ref.Digest, err = l.put(EncodeSegment(l.refs))
	l.c.Segments = append(l.c.Segments, ref)
	l.refs = l.refs[:0]
	return err
}

// take adds a segment of another list, whole, where this list's last one has
// ended. It must not be that list's last: only a rule may have ended it.
func (l *listBuilder) take(s *SegmentRef) {
	l.c.Segments = append(l.c.Segments, *s)
	l.c.Size += s.Size
	l.c.Chunks += int64(s.Chunks)
}

// finish ends the list and computes the root.
func (l *listBuilder) finish() error {
	c := l.c
	if c.Chunks <= inlineChunks {
		c.Inline = append([]cas.Ref(nil), l.refs...)
		c.Root = inlineRoot(c.Inline)
		return nil
	}
	if len(l.refs) > 0 {
		if err := l.cut(); err != nil {
			return err
		}
	}
	c.Root = rootOf(c.Segments)
	return nil
}

func inlineRoot(refs []cas.Ref) cas.Digest {
	if len(refs) == 0 {
		return rootOf(nil)
	}
	return rootOf([]SegmentRef{{Digest: cas.SumSegment(EncodeSegment(refs))}})
}

func rootOf(segments []SegmentRef) (root cas.Digest) {
	h := cas.NewDerivedHash(rootContext)
	for i := range segments {
		h.Write(segments[i].Digest[:])
	}
	h.Sum(root[:0])
	return root
}

// A SegmentGetter finds encoded segments.
type SegmentGetter interface {
	// Segment returns the encoded segment d. The caller may keep it.
	Segment(ctx context.Context, d cas.Digest) ([]byte, error)
}

// Refs calls fn with the chunk references of c, in order.
func (c *Content) Refs(ctx context.Context, src SegmentGetter, fn func(cas.Ref) error) error {
	for _, r := range c.Inline {
		if err := fn(r); err != nil {
			return err
		}
	}
	for _, s := range c.Segments {
		refs, err := segmentRefs(ctx, src, s)
		if err != nil {
			return err
		}
		for _, r := range refs {
			if err := fn(r); err != nil {
				return err
			}
		}
	}
	return nil
}

// segmentRefs gets and checks the segment s.
func segmentRefs(ctx context.Context, src SegmentGetter, s SegmentRef) ([]cas.Ref, error) {
	p, err := src.Segment(ctx, s.Digest)
	if err != nil {
		return nil, err
	}
	refs, err := DecodeSegment(p)
	if err != nil {
		return nil, err
	}
	var size int64
	for _, r := range refs {
		size += int64(r.Length)
	}
	if len(refs) != int(s.Chunks) || size != s.Size {
		return nil, fmt.Errorf("manifest: segment %s is not the one that the manifest describes: %w", s.Digest, ErrFormat)
	}
	return refs, nil
}
