package collect

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// A spool is bytes that are appended and read again: in memory while there are
// few, else in a temporary file.
type spool struct {
	dir  string
	mem  []byte // all of it while file is nil, else what is not written yet
	file *os.File
	name string // of the file if it could not be removed while it is open
	done int64  // bytes in the file
}

// spoolMemory is how many bytes of a spool are kept in memory.
const spoolMemory = 4 << 20

func (s *spool) byteCount() int64 { return s.done + int64(len(s.mem)) }

func (s *spool) appendBytes(p []byte) (err error) {
	if s.mem = append(s.mem, p...); len(s.mem) < spoolMemory {
		return nil
	}
	if s.file == nil {
		if s.file, err = os.CreateTemp(s.dir, "cairn-collect-"); err != nil {
			return fmt.Errorf("room for marks: %w", err)
		}
		if os.Remove(s.file.Name()) != nil { // not every system removes open files
			s.name = s.file.Name()
		}
	}
	if _, err := s.file.WriteAt(s.mem, s.done); err != nil {
		return fmt.Errorf("room for marks: %w", err)
	}
	s.done += int64(len(s.mem))
	s.mem = s.mem[:0]
	return nil
}

// readAt fills p with the bytes from off on, as far as there are any.
func (s *spool) readAt(p []byte, off int64) (n int, err error) {
	if off < s.done {
		n, err = s.file.ReadAt(p[:min(int64(len(p)), s.done-off)], off)
		if err != nil {
			return n, fmt.Errorf("read marks: %w", err)
		}
		off += int64(n)
	}
	if at := off - s.done; at >= 0 && at < int64(len(s.mem)) {
		n += copy(p[n:], s.mem[at:])
	}
	return n, nil
}

// setByte overwrites one byte.
func (s *spool) setByte(off int64, b byte) error {
	if off >= s.done {
		s.mem[off-s.done] = b
		return nil
	}
	if _, err := s.file.WriteAt([]byte{b}, off); err != nil {
		return fmt.Errorf("room for marks: %w", err)
	}
	return nil
}

func (s *spool) close() error {
	s.mem = nil
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	if s.name != "" {
		err = errors.Join(err, os.Remove(s.name))
	}
	s.file = nil
	return err
}

// A graveLog holds what the ledger needs of graves, in the order in which they
// were added. A grave is named by its place.
type graveLog struct {
	spool
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
	place = uint64(l.byteCount())
	return place, l.appendBytes(b)
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
	if _, err := l.readAt(h[:], int64(place)); err != nil {
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
	if _, err := l.readAt(text, int64(place)+graveHead); err != nil {
		return g, 0, err
	}
	g.cause.Bucket = string(text[:n[0]])
	g.cause.File = manifest.FileID(text[n[0] : n[0]+n[1]])
	g.cause.Path = string(text[n[0]+n[1]:])
	return g, place + graveHead + uint64(len(text)), nil
}

// markWaiting notes that something of a grave is not dropped yet.
func (l *graveLog) markWaiting(place uint64) error { return l.setByte(int64(place), 1) }

// findCause returns why a chunk with the value of a mark is dead.
func (l *graveLog) findCause(c *markedChunk) (manifest.Cause, error) {
	if !c.marked {
		return manifest.Cause{}, nil
	}
	g, _, err := l.readGrave(c.value &^ buried)
	return g.cause, err
}
