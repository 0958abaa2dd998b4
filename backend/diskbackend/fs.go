package diskbackend

import (
	"io"
	"io/fs"
)

// FS is the part of a file system that a Backend uses. The default is
// the operating system's; tests bring others. Names are slash-separated
// paths below the Backend's directory, "." is the directory itself. Errors
// satisfy errors.Is with fs.ErrNotExist, fs.ErrExist and the system's error
// for a full disk. Implementations are safe for concurrent use.
type FS interface {
	// Create makes a file that must not exist. Only the owner may use it.
	Create(name string) (File, error)

	// Append opens a regular file for writing at its end and returns its
	// size in bytes.
	Append(name string) (File, int64, error)

	// Open opens a regular file for reading. A directory is
	// fs.ErrNotExist to it, as to Append.
	Open(name string) (ReadFile, error)

	// Rename moves a file, open or not, within one directory.
	Rename(from, to string) error

	Remove(name string) error

	// MkdirAll makes a directory and those above it for the owner alone.
	MkdirAll(dir string) error

	// ReadDir returns the names in a directory, in any order.
	ReadDir(dir string) ([]string, error)

	// Stat describes a file, and a link rather than what it points to. A
	// file without write permission is sealed.
	Stat(name string) (fs.FileInfo, error)

	// SyncDir makes durable which names a directory holds.
	SyncDir(dir string) error

	// Free returns how many bytes of the volume this process may still
	// write, and the size of the volume. Without such a notion it returns
	// errors.ErrUnsupported.
	Free() (free, total uint64, err error)
}

// A File is being written. Write and Sync may run concurrently.
type File interface {
	io.Writer

	// Sync makes durable what was written before, and Seal.
	Sync() error

	// Seal takes away the permission to write the file from now on. What
	// has it open may go on.
	Seal() error

	io.Closer
}

// A ReadFile is open for reading.
type ReadFile interface {
	io.ReaderAt
	io.Closer
}

func isCommitted(info fs.FileInfo) bool { return info.Mode().Perm()&0o200 == 0 }
