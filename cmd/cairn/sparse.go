package main

import (
	"bytes"
	"os"
)

// sparseBlock is how long zeros must be to become a hole: most file systems allot
// so much at a time.
const sparseBlock = 4 << 10

// A sparseFile is a regular file in which zeros that are written become holes, or
// stay ones. What is written beyond its end by several goroutines must not overlap.
type sparseFile struct {
	*os.File
	at  int64 // where Write goes on
	had int64 // length of what may be no hole
}

func newSparseFile(f *os.File) (*sparseFile, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &sparseFile{File: f, had: info.Size()}, nil
}

// Truncate changes the length. It is not called while others write.
func (s *sparseFile) Truncate(size int64) error {
	s.had = min(s.had, size)
	return s.File.Truncate(size)
}

func (s *sparseFile) Write(p []byte) (int, error) {
	n, err := s.WriteAt(p, s.at)
	s.at += int64(n)
	return n, err
}

// WriteAt does not write zeros where there is a hole.
func (s *sparseFile) WriteAt(p []byte, off int64) (n int, err error) {
	for n < len(p) && err == nil {
		size, zero := measureRun(p[n:], off+int64(n))
		if part := p[n : n+size]; zero {
			err = s.clear(part, off+int64(n))
		} else {
			_, err = s.File.WriteAt(part, off+int64(n))
		}
		if err == nil {
			n += size
		}
	}
	return n, err
}

// clear makes a range of zeros that p holds.
func (s *sparseFile) clear(p []byte, off int64) error {
	old := min(int64(len(p)), s.had-off)
	if old <= 0 {
		return nil
	}
	if punchHole(s.File, off, old) == nil {
		return nil
	}
	_, err := s.File.WriteAt(p[:old], off)
	return err
}

// measureRun returns how many bytes p, which begins at an offset of a file, begins
// with that lie in blocks of zeros, or that lie in others.
func measureRun(p []byte, off int64) (n int, zero bool) {
	for n < len(p) {
		end := min(len(p), n+sparseBlock-int((off+int64(n))%sparseBlock))
		is := isZero(p[n:end])
		if n > 0 && is != zero {
			break
		}
		n, zero = end, is
	}
	return n, zero
}

// isZero reports whether p is nothing but zeros.
func isZero(p []byte) bool {
	return len(p) == 0 || p[0] == 0 && bytes.Equal(p[1:], p[:len(p)-1])
}
