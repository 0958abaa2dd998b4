//go:build unix && !linux

package diskbackend

import "golang.org/x/sys/unix"

// blockUnit returns what f_blocks and f_bavail count, in bytes.
func blockUnit(st *unix.Statfs_t) uint64 { return uint64(st.Bsize) }
