package pack

import (
	"context"
	"encoding/binary"
	"errors"
	"iter"

	"github.com/cairn-store/cairn/chunker/blake3"
)

const (
	tailMagic   = "CrnTAIL"
	tailVersion = 2
	tailSize    = 64

	// TrailerSize is the length of a footer behind its lines.
	TrailerSize = tailSize

	// The first read of a footer takes a part of the pack's size from its end,
	// within these bounds, so that most footers need one read.
	tailPart  = 128
	tailLeast = 4 << 10
	tailMost  = 32 << 10

	// SealLines is the length of footer lines at which a pack is sealed,
	// whatever its size; MaxLines is what readers accept.
	SealLines = 8 << 20
	MaxLines  = 16 << 20
)

// Lines are the lines of a footer as a pack grows: one a frame.
type Lines struct {
	text []byte
	n    uint64
	end  int64 // of the last frame
}

// Add adds the line of the frame f, whose header is as AppendFrame made it.
// Frames are added in order.
func (l *Lines) Add(f *Frame, header []byte) {
	if l.end == 0 {
		l.end = HeaderSize
	}
	line := header[:len(header)-frameSum]
	if f.Kind == KindRecord {
		line = line[:recordFixed(line)]
	}
	l.text = binary.AppendUvarint(l.text, uint64(f.Offset-l.end))
	l.text = append(l.text, line...)
	l.n, l.end = l.n+1, f.End()
}

// recordFixed returns how much of the header of a frame of records its line has.
func recordFixed(h []byte) int {
	n := frameFixed
	if h[7]&flagSealed != 0 {
		n += 8
	}
	for range 3 {
		_, k := binary.Uvarint(h[n:])
		n += k
	}
	return n
}

// LinesSize is the length of the lines of frames that lie one behind the other,
// whose number and bytes of headers are given. Frames of records have shorter
// lines.
func LinesSize(frames, headers int64) int64 { return headers - frames*(frameSum-1) }

// Full reports whether the pack has to be sealed before its footer gets longer
// than readers accept.
func (l *Lines) Full() bool { return len(l.text) >= SealLines }

// AppendFooter appends the footer of the pack id. Its sum covers the
// checksums of payloads, so it vouches for the whole pack.
func AppendFooter(b []byte, id ID, l *Lines) []byte {
	b = append(b, l.text...)
	start := len(b)
	b = append(b, tailMagic...)
	b = append(b, tailVersion)
	b = binary.LittleEndian.AppendUint32(b, tailSize)
	b = binary.LittleEndian.AppendUint32(b, 0) // flags
	b = binary.LittleEndian.AppendUint64(b, uint64(len(l.text)))
	b = binary.LittleEndian.AppendUint64(b, l.n)
	sum := sumFooter(id, l.text, b[start:])
	return append(b, sum[:]...)
}

func sumFooter(id ID, lines, trailer []byte) (d Digest) {
	h := blake3.NewDerived(footerContext)
	h.Write(id[:])
	h.Write(lines)
	h.Write(trailer)
	h.Sum(d[:0])
	return d
}

// ErrFooter reports a footer that is damaged.
var ErrFooter = errors.New("pack footer is damaged")

// A Footer is the footer of a sealed pack.
type Footer struct {
	Begin int64 // offset of the footer in the pack
	pack  ID
	lines []byte
	n     uint64
}

// ReadFooter reads the footer of the pack id, which is size bytes long. A pack
// without one, because it was never sealed, gives nil and no error.
func ReadFooter(ctx context.Context, r Reader, id ID, size int64) (*Footer, error) {
	if size < HeaderSize+tailSize {
		return nil, nil
	}
	p := make([]byte, min(size-HeaderSize, max(tailLeast, min(tailMost, size/tailPart))))
	if err := r.ReadAt(ctx, p, size-int64(len(p))); err != nil {
		return nil, err
	}
	tail := p[len(p)-tailSize:]
	if string(tail[:len(tailMagic)]) != tailMagic {
		return nil, nil
	}
	n := binary.LittleEndian.Uint64(tail[16:])
	if n > uint64(size-HeaderSize-tailSize) || n > MaxLines {
		return nil, ErrFooter
	}
	begin := size - tailSize - int64(n)
	lines := p[:len(p)-tailSize]
	if n <= uint64(len(lines)) {
		lines = lines[uint64(len(lines))-n:]
	} else {
		more := make([]byte, n, n+tailSize)
		copy(more[n-uint64(len(lines)):], lines)
		if err := r.ReadAt(ctx, more[:n-uint64(len(lines))], begin); err != nil {
			return nil, err
		}
		lines = more
	}
	if sumFooter(id, lines, tail[:32]) != Digest(tail[32:]) {
		return nil, ErrFooter
	}
	unknown := func(what string, value uint64) error {
		return &UnknownError{What: what, Value: value, Pack: id, Offset: begin}
	}
	if v := tail[7]; v != tailVersion {
		return nil, unknown("footer version", uint64(v))
	}
	if k := binary.LittleEndian.Uint32(tail[8:]); k != tailSize {
		return nil, unknown("length of a footer's trailer", uint64(k))
	}
	if flags := binary.LittleEndian.Uint32(tail[12:]); flags != 0 {
		return nil, unknown("footer flags", uint64(flags))
	}
	return &Footer{Begin: begin, pack: id, lines: lines, n: binary.LittleEndian.Uint64(tail[24:])}, nil
}

// Frames yields the frames of the pack in order of offsets. Frames of records
// come without slots and sources, which only their headers have.
func (t *Footer) Frames() iter.Seq2[*Frame, error] {
	return func(yield func(*Frame, error) bool) {
		p, off := t.lines, int64(HeaderSize)
		for range t.n {
			f, rest, err := t.parseLine(p, off)
			if !yield(f, err) || err != nil {
				return
			}
			p, off = rest, f.End()
		}
		if len(p) > 0 {
			yield(nil, ErrFooter)
		}
	}
}

// parseLine reads one line, and returns what follows. The frame before it ends
// at off.
func (t *Footer) parseLine(p []byte, off int64) (*Frame, []byte, error) {
	c := cutter{p: p}
	gap := c.cutUvarint()
	if c.bad || len(c.p) < frameFixed || gap > uint64(t.Begin-off) {
		return nil, nil, ErrFooter
	}
	off += int64(gap)
	if headerLength(c.p, t.pack, off) == 0 {
		return nil, nil, ErrFooter
	}
	f, rest, err := parseFixed(c.p, t.pack, off, false)
	if err == nil && f.End() > t.Begin {
		err = ErrFooter
	}
	if errors.Is(err, ErrHeader) {
		err = ErrFooter
	}
	return f, rest, err
}
