package main

import (
	"fmt"
	"io/fs"
	"maps"
	"runtime"
	"strconv"
	"time"

	"github.com/cairn-store/cairn/api/client"
)

// treeKey is the key of a file's metadata under which put keeps what get --recursive
// gives back. docs/cli.md describes it.
const treeKey = "tree"

// attributes are what is kept of a file of this machine besides its content. What is
// "" is not kept. Others may have written them: each is checked where it is used.
type attributes struct {
	modified string // RFC 3339 with nanoseconds, in UTC
	mode     string // permissions, octal: 0755
	link     string // target, of a symbolic link
}

// members are the keys below treeKey, with the fields that they hold.
func (a *attributes) members() map[string]*string {
	return map[string]*string{"mtime": &a.modified, "mode": &a.mode, "symlink": &a.link}
}

// readAttributes returns what is kept with a file.
func readAttributes(f *client.File) (a attributes) {
	kept, _ := f.Metadata[treeKey].(map[string]any)
	for key, field := range a.members() {
		*field, _ = kept[key].(string)
	}
	return a
}

// attributesOf returns the attributes of a file or folder.
func attributesOf(info fs.FileInfo) (a attributes) {
	if t := info.ModTime().UTC(); t.Year() >= 0 && t.Year() <= 9999 {
		a.modified = t.Format(time.RFC3339Nano)
	}
	if runtime.GOOS != "windows" { // which has no such permissions
		a.mode = fmt.Sprintf("%04o", info.Mode().Perm())
	}
	return a
}

// metadata returns the attributes as metadata of a new file.
func (a attributes) metadata() map[string]any {
	kept := make(map[string]any)
	for key, field := range a.members() {
		if *field != "" {
			kept[key] = *field
		}
	}
	return map[string]any{treeKey: kept}
}

// patch returns the merge patch (RFC 7396) of metadata that makes old into a, nil if
// nothing differs.
func (a attributes) patch(old attributes) map[string]any {
	change := make(map[string]any)
	is, was := a.members(), old.members()
	for key := range maps.Keys(is) {
		switch {
		case *is[key] == *was[key]:
		case *is[key] == "":
			change[key] = nil
		default:
			change[key] = *is[key]
		}
	}
	if len(change) == 0 {
		return nil
	}
	return map[string]any{treeKey: change}
}

// permissions returns the mode, nothing but permissions of it, if it can be set here.
func (a attributes) permissions() (fs.FileMode, bool) {
	n, err := strconv.ParseUint(a.mode, 8, 32)
	return fs.FileMode(n) & fs.ModePerm, err == nil && runtime.GOOS != "windows"
}

// modTime returns the time of modification.
func (a attributes) modTime() (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, a.modified)
	return t, err == nil
}
