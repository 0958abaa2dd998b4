package digests

import (
	"errors"
	"fmt"
	"os"
)

// A Spool is bytes that are appended and read again: in memory while there are
// few, else in a temporary file. It is not for
// concurrent use.
type Spool struct {
	dir  string
	mem  []byte // all of it while file is nil, else what is not written yet
	file *os.File
	name string // of the file if it could not be removed while it is open
	done int64  // bytes in the file
}

// spoolMemory is how many bytes of a spool are kept in memory.
const spoolMemory = 4 << 20

// NewSpool returns a spool whose file lies in dir; "" is the system's place for
// temporary files.
func NewSpool(dir string) Spool { return Spool{dir: dir} }

// Len returns how many bytes there are.
func (s *Spool) Len() int64 { return s.done + int64(len(s.mem)) }

// Append appends bytes.
func (s *Spool) Append(p []byte) (err error) {
	if s.mem = append(s.mem, p...); len(s.mem) < spoolMemory {
		return nil
	}
	if s.file == nil {
		if s.file, err = os.CreateTemp(s.dir, "cairn-digests-"); err != nil {
			return fmt.Errorf("room for digests: %w", err)
		}
		if os.Remove(s.file.Name()) != nil { // not every system removes open files
			s.name = s.file.Name()
		}
	}
	if _, err := s.file.WriteAt(s.mem, s.done); err != nil {
		return fmt.Errorf("room for digests: %w", err)
	}
	s.done += int64(len(s.mem))
	s.mem = s.mem[:0]
	return nil
}

// ReadAt fills p with the bytes from off on, as far as there are any.
func (s *Spool) ReadAt(p []byte, off int64) (n int, err error) {
	if off < s.done {
		n, err = s.file.ReadAt(p[:min(int64(len(p)), s.done-off)], off)
		if err != nil {
			return n, fmt.Errorf("read digests: %w", err)
		}
		off += int64(n)
	}
	if at := off - s.done; at >= 0 && at < int64(len(s.mem)) {
		n += copy(p[n:], s.mem[at:])
	}
	return n, nil
}

// SetByte overwrites one byte.
func (s *Spool) SetByte(off int64, b byte) error {
	if off >= s.done {
		s.mem[off-s.done] = b
		return nil
	}
	if _, err := s.file.WriteAt([]byte{b}, off); err != nil {
		return fmt.Errorf("room for digests: %w", err)
	}
	return nil
}

// Close removes the file.
func (s *Spool) Close() error {
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
