package main

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"io/fs"
	"os"
	"path"
	"runtime"
	"time"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/manifest"
)

// A part is a file that is not complete yet. Its name is the same for the same
// version and place, so that the next get continues an interrupted one. Who writes
// it holds a lock on it.
type part struct {
	dir        *os.Root
	name, temp string
	suffix     string // of the names of parts of all versions
}

var errBusy = errors.New("another get is writing it; wait for that, or write to another file")

func newPart(dir *os.Root, name string, f *client.File) (*part, error) {
	// The name of a file is made of it, and servers may lie.
	if _, ok := manifest.ParseVersionID(f.ManifestID); !ok {
		return nil, fmt.Errorf("the server names its version %q, which is no ID", f.ManifestID)
	}
	suffix := partSuffix(path.Base(name))
	return &part{dir, name, path.Join(path.Dir(name), ".cairn-"+f.ManifestID+suffix), suffix}, nil
}

// partSuffix is what the names of all parts of a file end with.
func partSuffix(base string) string {
	h := fnv.New32a()
	io.WriteString(h, base)
	return fmt.Sprintf("-%08x", h.Sum32())
}

// findParts returns the names of parts in a folder, by their suffixes.
func findParts(dir *os.Root, folder string) (map[string][]string, error) {
	f, err := dir.Open(folder)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var found map[string][]string
	for {
		names, err := f.Readdirnames(1000)
		for _, name := range names {
			if !partName.MatchString(name) {
				continue
			}
			if found == nil {
				found = make(map[string][]string)
			}
			suffix := name[len(name)-len(partSuffix("")):]
			found[suffix] = append(found[suffix], path.Join(folder, name))
		}
		if err == io.EOF {
			return found, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// leftovers returns the parts of other versions among those that findParts found.
func (p *part) leftovers(found map[string][]string) (left []string) {
	for _, name := range found[p.suffix] {
		if name != p.temp {
			left = append(left, name)
		}
	}
	return left
}

// removeLeftovers removes those parts that no get is writing. One that stays does
// no harm.
func (p *part) removeLeftovers(left []string) {
	for _, name := range left {
		f, err := openRegular(p.dir, name, os.O_RDWR)
		if err != nil {
			continue
		}
		if free, err := lockFile(f); free && err == nil {
			p.dir.Remove(name)
		}
		f.Close()
	}
}

// openRegular opens a file only if it is one: nothing is read or written through
// a link, and no FIFO is waited for.
func openRegular(dir *os.Root, name string, flag int) (*os.File, error) {
	info, err := dir.Lstat(name)
	if err == nil && !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: %s is in the way", name, describeMode(info.Mode()))
	}
	if err != nil && (!errors.Is(err, fs.ErrNotExist) || flag&os.O_CREATE == 0) {
		return nil, err
	}
	return dir.OpenFile(name, flag, 0o666)
}

// hold opens the part, and takes the lock on it that closing it ends.
func (p *part) hold() (*os.File, error) {
	for range 100 {
		f, err := openRegular(p.dir, p.temp, os.O_CREATE|os.O_RDWR)
		if err != nil {
			return nil, err
		}
		free, err := lockFile(f)
		if err != nil || !free {
			return nil, errors.Join(err, f.Close(), errBusy)
		}
		// Who held it before may have completed or removed it.
		mine, err := f.Stat()
		now, nerr := p.dir.Lstat(p.temp)
		if err == nil && nerr == nil && os.SameFile(mine, now) {
			return f, nil
		}
		f.Close()
	}
	return nil, errBusy
}

// write has fill write the file, which gets the attributes that are kept of it, and
// appears under its name when fill returns without an error. What a large file has
// come to stays for the next try.
func (p *part) write(fill func(out *os.File) error, kept attributes) error {
	held, err := p.hold()
	if err != nil {
		return err
	}
	defer held.Close()
	// The lock stays while this one is closed, which may fail, and renamed.
	out, err := p.dir.OpenFile(p.temp, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	err = errors.Join(fill(out), out.Close())
	if err == nil {
		err = setAttributes(p.dir, p.temp, kept)
	}
	if err == nil {
		if runtime.GOOS == "windows" { // what is open has its name for good
			held.Close()
		}
		err = p.dir.Rename(p.temp, p.name)
	}
	if err != nil {
		p.dir.Chmod(p.temp, 0o600) // for who goes on with it
	}
	if info, serr := p.dir.Stat(p.temp); err != nil && serr == nil && info.Size() < large {
		p.dir.Remove(p.temp) // err matters more than this one
	}
	return err
}

// setAttributes sets the mode and the time of a file or folder that are kept.
func setAttributes(root *os.Root, name string, kept attributes) error {
	if mode, ok := kept.permissions(); ok {
		if err := root.Chmod(name, mode); err != nil {
			return err
		}
	}
	if at, ok := kept.modTime(); ok {
		return root.Chtimes(name, time.Time{}, at)
	}
	return nil
}
