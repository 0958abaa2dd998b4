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

// A Seed is a local file that may hold parts of what is downloaded.
type Seed interface {
	io.ReaderAt
	Stat() (fs.FileInfo, error)
}

// maxSeedChunks bounds what is remembered of seeds, at about 40 bytes a
// chunk: what lies beyond is received. It is 84 GB at the default splitter.
const maxSeedChunks = 2 << 20

// seeds know where chunks lie on this machine. Nothing that they say is
// believed before it is verified: files change.
type seeds struct {
	files []Seed

	mu sync.Mutex
	at map[uint64]place // by the first bytes of the digest
}

// A place is the number of a file and an offset in it.
type place struct {
	off  int64
	file int
}

func newSeeds() *seeds { return &seeds{at: make(map[uint64]place)} }

func keyOf(d digest) uint64 { return binary.BigEndian.Uint64(d[:]) }

// addFile adds a file whose chunks are told of by note.
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

// cutFile adds a file cut in chunks by splitter.
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

// readChunk fills p with the chunk d, if a file still has it.
func (s *seeds) readChunk(d digest, p []byte) bool {
	s.mu.Lock()
	at, ok := s.at[keyOf(d)]
	s.mu.Unlock()
	return ok && readAt(s.files[at.file], p, at.off) && sumChunk(p) == d
}

// readAt tells whether it could fill p. Why it could not doesn't matter:
// what a file lacks is received.
func readAt(f io.ReaderAt, p []byte, off int64) bool {
	n, err := f.ReadAt(p, off)
	return n == len(p) && (err == nil || errors.Is(err, io.EOF))
}
