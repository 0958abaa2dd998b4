package diskbackend

import "golang.org/x/sys/windows"

// ErrDiskFull is what the system says when a disk is full.
const ErrDiskFull = windows.ERROR_DISK_FULL
