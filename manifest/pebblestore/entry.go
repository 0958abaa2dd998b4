package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/cairn-store/cairn/cas"
)

// Values of the index begin with a version byte.
const entryVersion = 1

func chunkKey(domain string, d cas.Digest) []byte   { return domainKey(keyChunk, domain, d[:]) }
func frameKey(domain string, id cas.FrameID) []byte { return domainKey(keyFrame, domain, id[:]) }
func packKey(domain string, id cas.PackID) []byte   { return domainKey(keyPack, domain, id[:]) }

// placeKey finds the frames of a pack, in order of offsets.
func placeKey(domain string, f *cas.FrameEntry) []byte {
	k := binary.BigEndian.AppendUint64(domainKey(keyPlace, domain, f.Pack[:]), uint64(f.Offset))
	return append(k, f.ID[:]...)
}

// sourceKey finds the frames that have a source, by sourcePrefix.
func sourceKey(domain string, source cas.Digest, id cas.FrameID) []byte {
	return append(sourcePrefix(domain, source), id[:]...)
}

func sourcePrefix(domain string, source cas.Digest) []byte {
	return domainKey(keySource, domain, source[:])
}

func appendChunk(b []byte, e *cas.ChunkEntry) []byte {
	b = append(b, entryVersion, byte(e.State))
	b = append(b, e.Frame[:]...)
	b = binary.AppendUvarint(b, uint64(e.Slot))
	b = binary.AppendUvarint(b, uint64(e.Offset))
	b = binary.AppendUvarint(b, uint64(e.Length))
	return binary.AppendUvarint(b, e.Stamp)
}

func parseChunk(d cas.Digest, p []byte) (e cas.ChunkEntry, err error) {
	r := entryReader{p: p}
	r.version()
	e = cas.ChunkEntry{Digest: d, State: cas.ChunkState(r.byte(byte(cas.Bad)))}
	copy(e.Frame[:], r.bytes(16))
	e.Slot, e.Offset, e.Length, e.Stamp = r.uint32(), r.uint32(), r.uint32(), r.uvarint()
	return e, r.end()
}

func appendFrame(b []byte, e *cas.FrameEntry) []byte {
	b = append(b, entryVersion, byte(e.Kind), byte(e.Codec))
	b = append(b, e.Pack[:]...)
	b = binary.AppendUvarint(b, uint64(e.Offset))
	for _, n := range []uint32{e.HeaderLen, e.StoredLen, e.PlainLen, e.Slots} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	b = binary.AppendUvarint(b, e.Key)
	b = binary.AppendUvarint(b, uint64(e.Live))
	b = binary.AppendUvarint(b, uint64(e.LiveBytes))
	for _, s := range e.Sources {
		b = append(b, s.Digest[:]...)
		b = binary.AppendUvarint(b, uint64(s.Offset))
		b = binary.AppendUvarint(b, uint64(s.Length))
	}
	return b
}

func parseFrame(id cas.FrameID, p []byte) (e cas.FrameEntry, err error) {
	r := entryReader{p: p}
	r.version()
	e = cas.FrameEntry{ID: id, Kind: cas.Kind(r.byte(math.MaxUint8)), Codec: cas.Codec(r.byte(math.MaxUint8))}
	copy(e.Pack[:], r.bytes(16))
	e.Offset = int64(r.uvarint())
	e.HeaderLen, e.StoredLen, e.PlainLen, e.Slots, e.Key = r.uint32(), r.uint32(), r.uint32(), r.uint32(), r.uvarint()
	e.Live, e.LiveBytes = r.uint32(), r.uint32()
	for len(r.p) > 0 && r.err == nil {
		e.Sources = append(e.Sources, cas.Source{Digest: cas.Digest(r.bytes(32)), Offset: r.uint32(), Length: r.uint32()})
	}
	return e, r.end()
}

// Flags of a pack.
const (
	packSealed = 1
	packDoomed = 2
)

func appendPack(b []byte, e *cas.PackEntry) []byte {
	flags := byte(0)
	if e.Sealed {
		flags |= packSealed
	}
	if e.Doomed {
		flags |= packDoomed
	}
	b = append(b, entryVersion, flags)
	b = append(b, e.Writer[:]...)
	for _, n := range []uint64{uint64(e.Size), e.Serial, e.LastCommit, uint64(e.Records), uint64(e.Live)} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func parsePack(id cas.PackID, p []byte) (e cas.PackEntry, err error) {
	r := entryReader{p: p}
	r.version()
	flags := r.byte(packSealed | packDoomed)
	e = cas.PackEntry{ID: id, Sealed: flags&packSealed != 0, Doomed: flags&packDoomed != 0}
	copy(e.Writer[:], r.bytes(16))
	e.Size, e.Serial, e.LastCommit = int64(r.uvarint()), r.uvarint(), r.uvarint()
	e.Records, e.Live = int64(r.uvarint()), int64(r.uvarint())
	return e, r.end()
}

// counters are what a domain has beside its entries.
type counters struct {
	epoch      uint64
	removals   uint64
	floor      uint64
	lease      uint64 // the highest token
	checkpoint uint64 // base of the newest whole one
}

func (c *counters) append(b []byte) []byte {
	b = append(b, entryVersion)
	for _, n := range []uint64{c.epoch, c.removals, c.floor, c.lease, c.checkpoint} {
		b = binary.AppendUvarint(b, n)
	}
	return b
}

func parseCounters(p []byte) (c counters, err error) {
	r := entryReader{p: p}
	r.version()
	c = counters{r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint(), r.uvarint()}
	return c, r.end()
}

// An entryReader reads the fields of a value of the index. After the first
// malformed field it returns zero values.
type entryReader struct {
	p   []byte
	err error
}

func (r *entryReader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.p = nil
}

var errEntry = errors.New("entry is malformed")

func (r *entryReader) version() {
	if v := r.byte(math.MaxUint8); r.err == nil && v != entryVersion {
		r.fail(fmt.Errorf("entry has version %d, this program knows %d", v, entryVersion))
	}
}

// bytes returns the next n bytes, or n zero bytes if fewer are left.
func (r *entryReader) bytes(n int) []byte {
	if len(r.p) < n {
		r.fail(errEntry)
		return make([]byte, n)
	}
	v := r.p[:n]
	r.p = r.p[n:]
	return v
}

// byte returns the next byte. It fails if that is above highest.
func (r *entryReader) byte(highest byte) byte {
	v := r.bytes(1)[0]
	if v > highest {
		r.fail(errEntry)
		return 0
	}
	return v
}

func (r *entryReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.p)
	if n <= 0 {
		r.fail(errEntry)
		return 0
	}
	r.p = r.p[n:]
	return v
}

func (r *entryReader) uint32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.fail(errEntry)
		return 0
	}
	return uint32(v)
}

// end returns the first error. Bytes that are left over are an error.
func (r *entryReader) end() error {
	if len(r.p) > 0 {
		r.fail(errEntry)
	}
	return r.err
}
