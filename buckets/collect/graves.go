package collect

import (
	"encoding/binary"
	"time"

	"github.com/cairn-store/cairn/cas/digests"
	"github.com/cairn-store/cairn/manifest"
)

// A graveLog holds what the ledger needs of graves, in the order in which they
// were added. A grave is named by its place.
type graveLog struct {
	digests.Spool
}

// graveHead is what stands before a grave: a byte that says whether it waits, its
// ID, its time, and the lengths of bucket, file and path.
const graveHead = 1 + 12 + 8 + 3*4

func (l *graveLog) add(g *manifest.Grave) (place uint64, err error) {
	b := make([]byte, 1, graveHead+len(g.Bucket)+len(g.File)+len(g.Path))
	b = binary.LittleEndian.AppendUint64(b, g.ID.Commit)
	b = binary.LittleEndian.AppendUint32(b, g.ID.N)
	b = binary.LittleEndian.AppendUint64(b, uint64(g.At.UnixMilli()))
	for _, s := range []string{g.Bucket, string(g.File), g.Path} {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(s)))
	}
	b = append(append(append(b, g.Bucket...), g.File...), g.Path...)
	place = uint64(l.Len())
	return place, l.Append(b)
}

// A loggedGrave is a grave as it stands in a graveLog.
type loggedGrave struct {
	id    manifest.GraveID
	cause manifest.Cause
	waits bool // something that it held is not dropped yet
}

// readGrave returns the grave at a place, and the place of the next.
func (l *graveLog) readGrave(place uint64) (g loggedGrave, next uint64, err error) {
	var h [graveHead]byte
	if _, err := l.ReadAt(h[:], int64(place)); err != nil {
		return g, 0, err
	}
	g.waits = h[0] != 0
	g.id = manifest.GraveID{Commit: binary.LittleEndian.Uint64(h[1:]), N: binary.LittleEndian.Uint32(h[9:])}
	g.cause.At = time.UnixMilli(int64(binary.LittleEndian.Uint64(h[13:]))).UTC()
	var n [3]int
	for i := range n {
		n[i] = int(binary.LittleEndian.Uint32(h[21+4*i:]))
	}
	text := make([]byte, n[0]+n[1]+n[2])
	if _, err := l.ReadAt(text, int64(place)+graveHead); err != nil {
		return g, 0, err
	}
	g.cause.Bucket = string(text[:n[0]])
	g.cause.File = manifest.FileID(text[n[0] : n[0]+n[1]])
	g.cause.Path = string(text[n[0]+n[1]:])
	return g, place + graveHead + uint64(len(text)), nil
}

// markWaiting notes that something of a grave is not dropped yet.
func (l *graveLog) markWaiting(place uint64) error { return l.SetByte(int64(place), 1) }

// findCause returns why a chunk with the value of a mark is dead.
func (l *graveLog) findCause(c *markedChunk) (manifest.Cause, error) {
	if !c.marked {
		return manifest.Cause{}, nil
	}
	g, _, err := l.readGrave(c.value &^ buried)
	return g.cause, err
}
