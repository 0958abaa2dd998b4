package formattest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Kinds, codecs and contexts of the page on packs.
const (
	kindData     = 1
	kindSegments = 2
	kindRecords  = 3
	kindNotes    = 4

	codecRaw  = 0
	codecZstd = 1
	codecGzip = 2

	contextFrame   = "cairn-store/cairn 2026 frame header v2"
	contextFooter  = "cairn-store/cairn 2026 pack footer v2"
	contextSegment = "cairn-store/cairn 2026 segment v1"
	contextRecord  = "cairn-store/cairn 2026 metadata record v1"
	contextNote    = "cairn-store/cairn 2026 pack note v1"

	packHeaderLen = 128
	trailerLen    = 64
	maxFramePart  = 16 << 20
)

type packHeader struct {
	pack, store, domain, writer id16
	serial                      uint64
	previous                    id16
	settled, millis             uint64
}

// A pack is what was read of one: the frames, and the ranges of bytes that are none.
type pack struct {
	packHeader
	id      id16
	path    string // if it is a file
	size    int
	sealed  bool
	frames  []*frame
	damaged []error
}

func castagnoli(parts ...[]byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	var sum uint32
	for _, p := range parts {
		sum = crc32.Update(sum, table, p)
	}
	return sum
}

func parsePackHeader(b []byte) (*packHeader, error) {
	if len(b) < 12 || string(b[:7]) != "CAIRNPK" {
		return nil, damage("no pack header")
	}
	n := binary.LittleEndian.Uint32(b[8:])
	if n < 16 || n > 4096 || int(n) > len(b) {
		return nil, damage("pack header of %d bytes", n)
	}
	if castagnoli(b[:n-4]) != binary.LittleEndian.Uint32(b[n-4:]) {
		return nil, damage("checksum of the pack header")
	}
	if b[7] != 2 {
		return nil, unknown("pack version %d", b[7])
	}
	if n != packHeaderLen {
		return nil, damage("pack header of %d bytes", n)
	}
	c := &cursor{rest: b[12 : packHeaderLen-4]}
	flags := c.u32()
	h := &packHeader{pack: c.id(), store: c.id(), domain: c.id(), writer: c.id(), serial: c.u64()}
	h.previous, h.settled, h.millis = c.id(), c.u64(), c.u64()
	if flags != 0 {
		return nil, unknown("flags %x of a pack", flags)
	}
	if c.u32() != 0 {
		return nil, damage("bytes 120 to 123 of a pack header")
	}
	return h, c.end()
}

// readPack reads the pack of that ID: by its footer if there is one, else from frame to frame. What is damaged is
// told in pack.damaged; an error is of what is unknown.
func readPack(id id16, data []byte) (*pack, error) {
	p := &pack{id: id, size: len(data)}
	h, err := parsePackHeader(data)
	switch {
	case err == nil && h.pack != id:
		p.damage(damage("header of pack %x", h.pack))
	case err == nil:
		p.packHeader = *h
	case isUnknown(err):
		return nil, err
	default:
		p.damage(err)
	}
	lines, count, err := findFooter(id, data)
	if err != nil {
		return nil, err
	}
	if lines == nil {
		return p, p.walk(data)
	}
	p.sealed = true
	return p, p.readByFooter(data, lines, count)
}

func (p *pack) damage(err error) { p.damaged = append(p.damaged, err) }

// walk goes from frame to frame, and over bytes that are none.
func (p *pack) walk(data []byte) error {
	lost := -1
	for at := packHeaderLen; at < len(data); {
		f, err := parseFrame(p.id, uint64(at), data[at:])
		if isUnknown(err) {
			return fmt.Errorf("offset %d: %w", at, err)
		}
		if err == nil && f.end() > len(data) {
			err = damage("payload is cut off")
		}
		if err == nil {
			if lost >= 0 {
				p.damage(damage("bytes %d to %d are no frame", lost, at))
				lost = -1
			}
			f.payload = data[f.offset+f.headerLen : f.end()]
			p.frames = append(p.frames, f)
			at = f.end()
			continue
		}
		if lost < 0 {
			lost = at
		}
		next := bytes.Index(data[at+1:], []byte("CrnF"))
		if next < 0 {
			break
		}
		at += 1 + next
	}
	if lost >= 0 {
		p.damage(damage("bytes %d to the end are no frame", lost))
	}
	return nil
}

// findFooter returns the lines of the footer and how many they are, or nil if there is none that is whole.
func findFooter(id id16, data []byte) ([]byte, uint64, error) {
	if len(data) < packHeaderLen+trailerLen {
		return nil, 0, nil
	}
	t := data[len(data)-trailerLen:]
	if string(t[:7]) != "CrnTAIL" {
		return nil, 0, nil
	}
	length := binary.LittleEndian.Uint64(t[16:])
	if length > maxFramePart || length > uint64(len(data)-packHeaderLen-trailerLen) {
		return nil, 0, nil
	}
	lines := data[len(data)-trailerLen-int(length) : len(data)-trailerLen]
	if !bytes.Equal(derive(32, contextFooter, id[:], lines, t[:32]), t[32:]) {
		return nil, 0, nil
	}
	if t[7] != 2 {
		return nil, 0, unknown("footer version %d", t[7])
	}
	if n := binary.LittleEndian.Uint32(t[8:]); n != trailerLen {
		return nil, 0, unknown("trailer of %d bytes", n)
	}
	if flags := binary.LittleEndian.Uint32(t[12:]); flags != 0 {
		return nil, 0, unknown("flags %x of a footer", flags)
	}
	return lines[:length:length], binary.LittleEndian.Uint64(t[24:]), nil
}

// readByFooter takes the frames from the lines, and compares what stands in the pack with them.
func (p *pack) readByFooter(data, lines []byte, count uint64) error {
	body := len(data) - trailerLen - len(lines)
	at := packHeaderLen
	c := &cursor{rest: lines}
	var n uint64
	for ; len(c.rest) > 0; n++ {
		gap := c.size(0)
		if c.err != nil || gap > uint64(body-at) {
			return damage("gap of line %d", n)
		}
		if gap > 0 {
			p.damage(damage("bytes %d to %d are no frame", at, at+int(gap)))
		}
		at += int(gap)
		line, err := p.takeLine(c, at)
		if err != nil {
			return fmt.Errorf("line %d, offset %d: %w", n, at, err)
		}
		if at+line.headerLen+line.payloadLen > body {
			return damage("frame of line %d is not in the pack", n)
		}
		f, err := parseFrame(p.id, uint64(at), data[at:])
		switch {
		case isUnknown(err):
			return fmt.Errorf("offset %d: %w", at, err)
		case err != nil:
			p.damage(fmt.Errorf("header at %d: %w", at, err))
			// What the line says is as good, but that frames of records have no block there.
			f = line
		case !bytes.HasPrefix(f.header, line.header):
			p.damage(damage("header at %d is another than in the footer", at))
			f = line
		}
		f.payload = data[f.offset+f.headerLen : f.end()]
		if f.kind != kindRecords || f != line {
			p.frames = append(p.frames, f)
		}
		at = line.end()
	}
	if c.err != nil || n != count {
		return damage("footer of %d lines that says %d", n, count)
	}
	if at != body {
		p.damage(damage("bytes %d to %d are no frame", at, body))
	}
	return nil
}

// takeLine reads one line of a footer behind its gap.
func (p *pack) takeLine(c *cursor, at int) (*frame, error) {
	if len(c.rest) < frameFixedLen {
		return nil, damage("line is cut off")
	}
	f, err := parseFixed(p.id, uint64(at), c.rest)
	if err != nil {
		return nil, err
	}
	if f.kind != kindRecords {
		f.header = c.take(uint64(f.headerLen - frameSumLen))
		if c.err != nil {
			return nil, c.err
		}
		return f, f.parseRest(&cursor{rest: f.header[frameFixedLen:]}, true)
	}
	all := c.rest
	c.take(frameFixedLen)
	if err := f.parseRest(c, false); err != nil {
		return nil, err
	}
	f.header = all[:len(all)-len(c.rest)]
	return f, nil
}
