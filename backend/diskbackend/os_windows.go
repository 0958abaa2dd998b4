package diskbackend

import (
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/windows"
)

func isNoSpace(err error) bool {
	return errors.Is(err, windows.ERROR_DISK_FULL) || errors.Is(err, windows.ERROR_HANDLE_DISK_FULL)
}

// syncDir does nothing: Windows has no sync of directories, NTFS keeps a
// journal of their changes.
func syncDir(d *os.File) error { return nil }

// isPortable reports whether the system takes name as it stands: it reserves
// names such as "nul" and drops a dot at the end.
func isPortable(name string) bool {
	for elem := range strings.SplitSeq(name, "/") {
		if strings.HasSuffix(elem, ".") || !filepath.IsLocal(elem) {
			return false
		}
	}
	return true
}

func freeSpace(root *os.Root) (free, total uint64, err error) {
	dir, err := windows.UTF16PtrFromString(root.Name())
	if err != nil {
		return 0, 0, err
	}
	err = windows.GetDiskFreeSpaceEx(dir, &free, &total, nil)
	return free, total, os.NewSyscallError("GetDiskFreeSpaceEx", err)
}
