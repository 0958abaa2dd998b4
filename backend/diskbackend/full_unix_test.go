//go:build unix

package diskbackend

import "golang.org/x/sys/unix"

// ErrDiskFull is what the system says when a disk is full.
const ErrDiskFull = unix.ENOSPC
