package local

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
)

// An AuditFile appends the lines of an audit to a file: its Write is that of a
// buckets.Audit. Where the file was moved away or removed, as log rotation does, the
// next line begins a new one.
type AuditFile struct {
	name string
	mu   sync.Mutex
	file *os.File // nil until the first line, and after Reopen
	torn bool     // the last line is cut
}

// NewAuditFile returns an AuditFile of that name. It opens the file, so that one that
// cannot be written to is found at once.
func NewAuditFile(name string) (*AuditFile, error) {
	a := &AuditFile{name: name}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a, a.open()
}

// Write appends lines and returns when they are durable.
func (a *AuditFile) Write(lines []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil && !a.isCurrent() {
		a.close()
	}
	if a.file == nil {
		if err := a.open(); err != nil {
			return err
		}
	}
	if a.torn {
		if _, err := a.file.Write([]byte("\n")); err != nil {
			return err
		}
		a.torn = false
	}
	info, err := a.file.Stat()
	if err != nil {
		return errors.Join(err, a.close())
	}
	if _, err = a.file.Write(lines); err == nil {
		err = a.file.Sync()
	}
	if err != nil { // what is there of the lines goes again: they are written anew
		err = errors.Join(err, a.file.Truncate(info.Size()), a.close())
	}
	return err
}

// Reopen opens the file anew with the next line.
func (a *AuditFile) Reopen() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file != nil {
		a.close()
	}
}

// Close closes the file.
func (a *AuditFile) Close() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.file == nil {
		return nil
	}
	return a.close()
}

func (a *AuditFile) close() error {
	err := a.file.Close()
	a.file = nil
	return err
}

// isCurrent reports whether the open file still has the name.
func (a *AuditFile) isCurrent() bool {
	open, err := a.file.Stat()
	if err != nil {
		return false
	}
	named, err := os.Stat(a.name)
	return err == nil && os.SameFile(open, named)
}

// open opens the file or makes it, for its owner alone. A last line that a crash has
// cut is ended, so that it spoils no other.
func (a *AuditFile) open() error {
	f, err := os.OpenFile(a.name, os.O_RDWR|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("audit: %w", err)
	}
	a.file, a.torn = f, false
	if size, err := f.Seek(0, io.SeekEnd); err == nil && size > 0 {
		last := []byte{0}
		_, err := f.ReadAt(last, size-1)
		a.torn = err != nil || last[0] != '\n'
	}
	if dir, err := os.Open(filepath.Dir(a.name)); err == nil { // the name must be durable too
		dir.Sync() // not all systems sync directories
		dir.Close()
	}
	return nil
}
