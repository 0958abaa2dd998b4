package main

import (
	"errors"
	"os"

	"golang.org/x/sys/windows"
)

// isLockedElsewhere reports whether another process holds the lock of a store on
// a file: it keeps others from opening it.
func isLockedElsewhere(name string) bool {
	f, err := os.Open(name)
	if err != nil {
		return errors.Is(err, windows.ERROR_SHARING_VIOLATION)
	}
	f.Close()
	return false
}

// lockFile takes a lock on f that ends when f is closed. It reports false if
// somebody has it. What is locked lies far behind any content, since nobody else
// could read or write it.
func lockFile(f *os.File) (bool, error) {
	at := windows.Overlapped{OffsetHigh: 1 << 30}
	err := windows.LockFileEx(windows.Handle(f.Fd()), windows.LOCKFILE_EXCLUSIVE_LOCK|windows.LOCKFILE_FAIL_IMMEDIATELY, 0, 1, 0, &at)
	if errors.Is(err, windows.ERROR_LOCK_VIOLATION) {
		return false, nil
	}
	return err == nil, err
}
