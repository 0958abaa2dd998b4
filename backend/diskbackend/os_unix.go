//go:build unix

package diskbackend

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

func isNoSpace(err error) bool { return errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) }

func syncDir(d *os.File) error { return d.Sync() }

// isPortable reports whether the system takes name as it stands.
func isPortable(name string) bool { return true }

func freeSpace(root *os.Root) (free, total uint64, err error) {
	d, err := root.Open(".")
	if err != nil {
		return 0, 0, err
	}
	defer d.Close()
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(d.Fd()), &st); err != nil {
		return 0, 0, os.NewSyscallError("fstatfs", err)
	}
	unit := blockUnit(&st)
	return unit * uint64(max(int64(st.Bavail), 0)), unit * uint64(st.Blocks), nil
}
