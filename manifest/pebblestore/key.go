package pebblestore

import (
	"encoding/binary"
	"fmt"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// The letters that keys begin with, what follows them, and the value.
const (
	keyFormat  = 'v' // "" → format version
	keyChunk   = 'c' // domain, digest → chunk entry
	keyFrame   = 'f' // domain, frame → frame entry
	keyPack    = 'p' // domain, pack → pack entry
	keySegment = 's' // domain, digest → encoded segment
	keyFile    = 'F' // file → row
	keyRow     = 'M' // manifest → row
	keyVersion = 'V' // file, version number → manifest
	keyName    = 'N' // bucket, path → active file
	keyHidden  = 'T' // bucket, file → "" for files that are not active
	keyUsage   = 'U' // bucket → usage
	keyOwner   = 'W' // bucket, owner → usage
	keyValue   = 'Z' // kind, key → value
	keyOutbox  = 'O' // number → commit whose records may not be in packs yet
	keyGone    = 'X' // file or manifest → "" for those gone for good
)

// after returns the first key that does not begin with prefix.
func after(prefix []byte) []byte {
	end := append([]byte(nil), prefix...)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

// domainKey is a letter, the domain and what names a thing in it.
func domainKey(letter byte, domain string, id []byte) []byte {
	k := make([]byte, 0, 2+len(domain)+len(id))
	k = append(k, letter, byte(len(domain)))
	k = append(k, domain...)
	return append(k, id...)
}

func fileKey(id manifest.FileID) []byte   { return append([]byte{keyFile}, id...) }
func rowKey(id manifest.VersionID) []byte { return append([]byte{keyRow}, id...) }
func goneKey[T ~string](id T) []byte      { return append([]byte{keyGone}, id...) }

func versionKey(id manifest.FileID, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append([]byte{keyVersion}, id...), n)
}

// bucketKey is a letter, the bucket, a zero byte and the rest. Bucket names
// hold no zero byte.
func bucketKey(letter byte, bucket, rest string) []byte {
	k := append([]byte{letter}, bucket...)
	k = append(k, 0)
	return append(k, rest...)
}

func outboxKey(seq uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{keyOutbox}, seq)
}

// Values of the index begin with a version byte.
const entryVersion = 1

func appendChunk(b []byte, e *cas.ChunkEntry) []byte {
	b = append(b, entryVersion, byte(e.State))
	b = append(b, e.Frame[:]...)
	b = binary.AppendUvarint(b, uint64(e.Slot))
	b = binary.AppendUvarint(b, uint64(e.Offset))
	return binary.AppendUvarint(b, uint64(e.Length))
}

func parseChunk(d cas.Digest, p []byte) (e cas.ChunkEntry, err error) {
	if len(p) < 18 || p[0] != entryVersion {
		return e, errEntry("chunk", p)
	}
	e.Digest, e.State, e.Frame = d, cas.ChunkState(p[1]), cas.FrameID(p[2:18])
	n, ok := uvarints(p[18:], 3)
	if !ok {
		return e, errEntry("chunk", p)
	}
	e.Slot, e.Offset, e.Length = uint32(n[0]), uint32(n[1]), uint32(n[2])
	return e, nil
}

func appendFrame(b []byte, e *cas.FrameEntry) []byte {
	b = append(b, entryVersion, byte(e.Kind), byte(e.Codec))
	b = append(b, e.Pack[:]...)
	b = binary.AppendUvarint(b, uint64(e.Offset))
	for _, n := range []uint32{e.HeaderLen, e.StoredLen, e.PlainLen, e.Slots} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	return b
}

func parseFrame(id cas.FrameID, p []byte) (e cas.FrameEntry, err error) {
	if len(p) < 19 || p[0] != entryVersion {
		return e, errEntry("frame", p)
	}
	e.ID, e.Kind, e.Codec, e.Pack = id, cas.Kind(p[1]), cas.Codec(p[2]), cas.PackID(p[3:19])
	n, ok := uvarints(p[19:], 5)
	if !ok {
		return e, errEntry("frame", p)
	}
	e.Offset = int64(n[0])
	e.HeaderLen, e.StoredLen, e.PlainLen, e.Slots = uint32(n[1]), uint32(n[2]), uint32(n[3]), uint32(n[4])
	return e, nil
}

func appendPack(b []byte, e *cas.PackEntry) []byte {
	sealed := byte(0)
	if e.Sealed {
		sealed = 1
	}
	return binary.AppendUvarint(append(b, entryVersion, sealed), uint64(e.Size))
}

func parsePack(id cas.PackID, p []byte) (e cas.PackEntry, err error) {
	if len(p) < 3 || p[0] != entryVersion || p[1] > 1 {
		return e, errEntry("pack", p)
	}
	n, ok := uvarints(p[2:], 1)
	if !ok {
		return e, errEntry("pack", p)
	}
	return cas.PackEntry{ID: id, Size: int64(n[0]), Sealed: p[1] == 1}, nil
}

// uvarints reads n numbers that fill p.
func uvarints(p []byte, n int) ([]uint64, bool) {
	out := make([]uint64, n)
	for i := range out {
		v, k := binary.Uvarint(p)
		if k <= 0 {
			return nil, false
		}
		out[i], p = v, p[k:]
	}
	return out, len(p) == 0
}

func errEntry(what string, p []byte) error {
	return fmt.Errorf("pebblestore: damaged %s entry %x", what, p)
}

func usageKey(bucket string) []byte { return append([]byte{keyUsage}, bucket...) }

// usageFields lists the sums of a usage in the order of their encoding.
func usageFields(u *manifest.Usage) []*int64 {
	return []*int64{&u.Files, &u.Versions, &u.Bytes, &u.Chunks,
		&u.TrashedFiles, &u.TrashedVersions, &u.TrashedBytes, &u.TrashedChunks}
}

func appendUsage(b []byte, u *manifest.Usage) []byte {
	b = append(b, entryVersion)
	for _, n := range usageFields(u) {
		b = binary.AppendUvarint(b, uint64(*n))
	}
	return b
}

func parseUsage(p []byte) (u manifest.Usage, err error) {
	if len(p) == 0 || p[0] != entryVersion {
		return u, errEntry("usage", p)
	}
	n, ok := uvarints(p[1:], 8)
	if !ok {
		return u, errEntry("usage", p)
	}
	for i, f := range usageFields(&u) {
		*f = int64(n[i])
	}
	return u, nil
}
