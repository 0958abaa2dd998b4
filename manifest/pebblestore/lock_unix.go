//go:build unix && !linux

package pebblestore

import (
	"os"

	"golang.org/x/sys/unix"
)

// lockShared locks f for reading. Here, other than on Linux, this lock and Pebble's
// exclude each other.
func lockShared(f *os.File) error { return unix.Flock(int(f.Fd()), unix.LOCK_SH|unix.LOCK_NB) }
