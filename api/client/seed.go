package client

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"sync"

	"github.com/cairn-store/cairn/chunker"
)

// A Seed is a local file that may hold parts of the content of a download.
type Seed interface {
	io.ReaderAt
	Stat() (fs.FileInfo, error)
}

// maxSeedChunks bounds the chunks that seeds remembers, at about 40 bytes
// each: 84 GB of content at the default splitter. Chunks beyond that are
// received.
const maxSeedChunks = 2 << 20

// seeds remembers where chunks lie in files of this machine. Files change, so
// a chunk is verified whenever it is read.
type seeds struct {
	files []Seed

	mu sync.Mutex       // guards at
	at map[uint64]place // by the first 8 bytes of the digest
}

// A place is the number of a file in seeds, and an offset in it.
type place struct {
	off  int64
	file int
}

func newSeeds() *seeds { return &seeds{at: make(map[uint64]place)} }

func keyOf(d digest) uint64 { return binary.BigEndian.Uint64(d[:]) }

// addFile adds a file and returns its number for noteChunk.
func (s *seeds) addFile(f Seed) int {
	s.files = append(s.files, f)
	return len(s.files) - 1
}

func (s *seeds) noteChunk(d digest, file int, off int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.at) < maxSeedChunks {
		s.at[keyOf(d)] = place{off, file}
	}
}

// cutFile adds a file and notes the chunks into which splitter cuts it.
func (s *seeds) cutFile(ctx context.Context, f Seed, splitter chunker.Splitter) error {
	n := s.addFile(f)
	c := chunker.New(io.NewSectionReader(f, 0, math.MaxInt64), splitter)
	for off := int64(0); ; {
		p, err := c.Next()
		if err == io.EOF {
			return nil
		}
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return fmt.Errorf("seed: %w", err)
		}
		s.noteChunk(sumChunk(p), n, off)
		off += int64(len(p))
	}
}

// readChunk fills p with the chunk d, if a file still holds it.
func (s *seeds) readChunk(d digest, p []byte) bool {
	s.mu.Lock()
	at, ok := s.at[keyOf(d)]
	s.mu.Unlock()
	return ok && readAt(s.files[at.file], p, at.off) && sumChunk(p) == d
}

// readAt reports whether it has filled p. The cause of a failure does not
// matter: the chunk is received then.
func readAt(f io.ReaderAt, p []byte, off int64) bool {
	n, err := f.ReadAt(p, off)
	return n == len(p) && (err == nil || errors.Is(err, io.EOF))
}
