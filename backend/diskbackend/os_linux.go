package diskbackend

import "golang.org/x/sys/unix"

// blockUnit returns what f_blocks and f_bavail count, in bytes. f_bsize is
// the preferred size of a transfer and may be larger.
func blockUnit(st *unix.Statfs_t) uint64 { return uint64(st.Frsize) }
