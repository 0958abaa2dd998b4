package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// punchHole gives back the space of a range of a file, which is zeros then.
func punchHole(f *os.File, off, n int64) error {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
}
