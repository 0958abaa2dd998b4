//go:build unix

package main

import "syscall"

// openFileLimit returns how many files this process may have open, connections
// among them. The Go runtime has raised it as far as it may.
func openFileLimit() (uint64, bool) {
	var l syscall.Rlimit
	err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l)
	return uint64(l.Cur), err == nil // signed on some systems
}
