package pebblestore

import (
	"io"
	"os"

	"golang.org/x/sys/unix"
)

// lockShared locks f for reading. The lock belongs to f and not to the process, whose
// other handles of the file do not end it.
func lockShared(f *os.File) error {
	return unix.FcntlFlock(f.Fd(), unix.F_OFD_SETLK, &unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart})
}
