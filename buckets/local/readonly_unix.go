//go:build unix

package local

import "golang.org/x/sys/unix"

// checkWritable is why this process may not write to a file or directory, nil if it
// may.
func checkWritable(name string) error {
	return unix.Faccessat(unix.AT_FDCWD, name, unix.W_OK, unix.AT_EACCESS)
}
