package main

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
)

// ownDirs are the directories that a store keeps its own files in: a put that
// took them in would read what it writes.
type ownDirs []fs.FileInfo

// findOwnDirs returns the directories of the target's store that exist: its own,
// and those of its backends.
func (t *target) findOwnDirs() (ownDirs, error) {
	if t.server != "" {
		return nil, nil
	}
	paths := []string{t.data}
	if t.config != "" {
		opts, err := t.storeOptions()
		if err != nil {
			return nil, err
		}
		for name, b := range opts.Backends {
			if paths = append(paths, b.Path); b.CacheDir != "" {
				paths = append(paths, filepath.Join(b.CacheDir, name))
			}
		}
	}
	var own ownDirs
	for _, path := range paths {
		if path == "" {
			continue
		}
		info, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		own = append(own, info)
	}
	return own, nil
}

// has reports whether a folder is one of them, by whatever name, or the store of
// another process that is running. Of the target's own store no file is opened: to
// close its lock file would let go of the lock.
func (d ownDirs) has(path string, info fs.FileInfo) bool {
	for _, own := range d {
		if os.SameFile(own, info) {
			return true
		}
	}
	return isLockedStore(path)
}

// hasAbove reports whether path, or a folder above it, is one of them.
func (d ownDirs) hasAbove(path string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for {
		if info, err := os.Stat(path); err == nil && info.IsDir() && d.has(path, info) {
			return true
		}
		above := filepath.Dir(path)
		if above == path {
			return false
		}
		path = above
	}
}

// isLockedStore reports whether path is the directory of a store that another
// process has open.
func isLockedStore(path string) bool {
	info, err := os.Lstat(filepath.Join(path, "meta"))
	return err == nil && info.IsDir() && isLockedElsewhere(filepath.Join(path, ".lock"))
}
