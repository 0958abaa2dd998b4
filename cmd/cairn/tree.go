package main

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cairn-store/cairn/buckets/names"
)

// A source is what becomes one file of a bucket.
type source struct {
	path   string // "-" is standard input
	folder string
	name   string
	kind   sourceKind
	info   fs.FileInfo // nil for standard input
	inTree bool        // below an argument, not one itself
	link   string      // target, of a symbolic link
	alone  bool        // of a folder: nothing else keeps it
}

type sourceKind int

const (
	regularSource sourceKind = iota
	streamSource             // has no length before it ends: a pipe, a device
	linkSource               // a symbolic link; its target is the content
	folderSource             // the marker of a folder
)

// size returns how many bytes will be sent, -1 if that is not known.
func (s *source) size() int64 {
	switch s.kind {
	case streamSource:
		return -1
	case linkSource:
		return int64(len(s.link))
	case folderSource:
		return 0
	}
	return s.info.Size()
}

// attributes returns what is kept of it besides its content.
func (s *source) attributes() attributes {
	switch s.kind {
	case streamSource:
		return attributes{}
	case linkSource:
		return attributes{link: s.link}
	}
	return attributesOf(s.info)
}

// A treeWalk finds what a put stores. Folders of several arguments that are stored
// in one folder are walked together, so that all that would be stored under one
// path is seen side by side. It holds the entries of the folders on its way down,
// and nothing of others.
type treeWalk struct {
	ctx   context.Context
	own   ownDirs
	files []source // arguments that are files, all in one folder
	dirs  []string // arguments that are folders
	to    string   // folder in the bucket that all are stored below
	omit  []pathPattern
	omits bool // an argument

	found   func(source) error
	collide func(target string, paths []string)
	leave   func(path, why string)       // by intention
	fail    func(path string, err error) // what ought to be stored and is not
}

// An entry is a name in a folder that is walked.
type entry struct {
	source
	rel   string // its path below the argument, with slashes
	above string // the folder that it lies in, "" for an argument
	isDir bool
}

// partName is the name of a file that get has not completed.
var partName = regexp.MustCompile(`^\.cairn-m_[0-9a-z]+-[0-9a-f]{8}$`)

func (w *treeWalk) run() error {
	var below []entry
	for _, dir := range w.dirs {
		below = append(below, entry{source: source{path: dir}, isDir: true})
	}
	var more []entry
	for _, s := range w.files {
		more = append(more, entry{source: s})
	}
	return w.walkFolders(w.to, below, more)
}

// walkFolders finds what lies in dirs, which are stored in one folder, and more. The
// folder itself is found too, unless dirs are arguments.
func (w *treeWalk) walkFolders(folder string, dirs, more []entry) error {
	byName := make(map[string][]entry)
	add := func(e entry) {
		key := names.CanonicalPath(e.name)
		byName[key] = append(byName[key], e)
	}
	for _, e := range more {
		add(e)
	}
	for _, dir := range dirs {
		if err := w.ctx.Err(); err != nil {
			return err
		}
		w.readFolder(folder, dir, add)
	}
	if len(dirs) > 0 && dirs[0].rel != "" {
		s := dirs[0].source
		s.kind, s.folder, s.name, s.alone = folderSource, folder, names.FolderMarker, len(byName) == 0
		if err := w.found(s); err != nil {
			return err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(byName)) {
		if err := w.visit(names.Join(folder, name), byName[name]); err != nil {
			return err
		}
	}
	return nil
}

// readFolder calls add for what is to be stored of a folder.
func (w *treeWalk) readFolder(folder string, dir entry, add func(entry)) {
	list, err := os.ReadDir(dir.path)
	if err != nil {
		w.fail(dir.path, err) // of some, names may have been read
	}
	for _, d := range list {
		e := entry{source: source{path: filepath.Join(dir.path, d.Name()), folder: folder, name: d.Name(), inTree: true},
			rel: path.Join(dir.rel, d.Name()), above: dir.path, isDir: d.IsDir()}
		if e.info, err = d.Info(); err != nil {
			w.fail(e.path, err)
			continue
		}
		if w.choose(&e) {
			add(e)
		}
	}
}

// choose reports whether an entry of a folder is stored, and of what kind it is.
func (w *treeWalk) choose(e *entry) bool {
	switch {
	case matchesAny(w.omit, e.rel, e.isDir):
	case e.isDir && w.own.has(e.path, e.info):
		w.leave(e.path, "the directory of a store, left out")
	case names.CanonicalPath(e.name) == names.FolderMarker:
		w.fail(e.path, errMarker)
	case e.isDir:
		return true
	case e.info.Mode()&fs.ModeSymlink != 0:
		var err error
		if e.link, err = readLink(e.path); err != nil {
			w.fail(e.path, err)
			return false
		}
		e.kind = linkSource
		return true
	case partName.MatchString(e.name):
		w.leave(e.path, "left by a get that was interrupted, left out")
	case e.info.Mode().IsRegular():
		return true
	default:
		w.fail(e.path, fmt.Errorf("%s, not stored", describeMode(e.info.Mode())))
	}
	return false
}

// readLink returns the target of a symbolic link, if it can be kept.
func readLink(name string) (string, error) {
	target, err := os.Readlink(name)
	switch target = filepath.ToSlash(target); {
	case err != nil:
		return "", err
	case target == "" || len(target) > maxLink || !utf8.ValidString(target):
		return "", fmt.Errorf("its target %q is no text of 1 to %d bytes of UTF-8", target, maxLink)
	}
	return target, nil
}

// maxLink is how long the target of a symbolic link may be, as on Linux.
const maxLink = 4095

// describeMode says what a file is that is not regular.
func describeMode(m fs.FileMode) string {
	for _, kind := range []struct {
		bits fs.FileMode
		name string
	}{{fs.ModeDir, "a folder"}, {fs.ModeSymlink, "a symbolic link"}, {fs.ModeNamedPipe, "a named pipe"}, {fs.ModeSocket, "a socket"}, {fs.ModeDevice, "a device"}} {
		if m&kind.bits != 0 {
			return kind.name
		}
	}
	return "not a regular file"
}

// visit handles what would be stored under one path: a file, or folders that are
// not twins in one folder. Anything else collides.
func (w *treeWalk) visit(target string, at []entry) error {
	if len(at) == 1 && !at[0].isDir {
		return w.found(at[0].source)
	}
	above := make(map[string]bool)
	for _, e := range at {
		if !e.isDir || above[e.above] {
			var paths []string
			for _, e := range at {
				paths = append(paths, e.path)
			}
			w.collide(target, paths)
			return nil
		}
		above[e.above] = true
	}
	return w.walkFolders(target, at, nil)
}

// readArguments sorts the arguments of a put into files and folders. What is
// wrong with the command line it returns; what is missing fails by itself.
func (p *putter) readArguments(args []string, own ownDirs) (*treeWalk, error) {
	w := &treeWalk{own: own, to: strings.Trim(p.folder, "/"), fail: p.reportFailure}
	var err error
	if w.omit, err = parsePatterns(p.exclude); err != nil {
		return nil, err
	}
	if p.name != "" && len(args) > 1 {
		return nil, usageError{fmt.Errorf("--name %s: want a single file, not %d", p.name, len(args))}
	}
	for _, arg := range args {
		if arg == "-" {
			if p.name == "" {
				return nil, usageError{fmt.Errorf("put - needs --name")}
			}
			w.files = append(w.files, source{path: "-", folder: w.to, name: p.name, kind: streamSource})
			continue
		}
		// A link that is named is followed: its name is on the command line to say
		// what is to be stored.
		info, err := os.Stat(arg)
		switch {
		case err != nil:
			p.reportFailure(arg, err)
		case matchesAny(w.omit, filepath.Base(filepath.Clean(arg)), info.IsDir()):
			w.omits = true
		case info.IsDir() && p.name != "":
			return nil, usageError{fmt.Errorf("--name %s: want a file, and %s is a folder; --folder says where it is stored", p.name, arg)}
		case own.hasAbove(arg):
			p.reportFailure(arg, errOwnStore)
		case info.IsDir():
			w.dirs = append(w.dirs, arg)
		default:
			if s, err := p.fileArgument(arg, info); err != nil {
				p.reportFailure(arg, err)
			} else {
				s.folder = w.to
				w.files = append(w.files, s)
			}
		}
	}
	return w, nil
}

func (p *putter) fileArgument(arg string, info fs.FileInfo) (source, error) {
	s := source{path: arg, name: p.name, info: info}
	if s.name == "" {
		// "." and the like have no name before they are made absolute.
		abs, err := filepath.Abs(arg)
		if err != nil {
			return s, err
		}
		s.name = filepath.Base(abs)
	}
	if partName.MatchString(s.name) {
		return s, errPart
	}
	if names.CanonicalPath(s.name) == names.FolderMarker {
		return s, errMarker
	}
	if !info.Mode().IsRegular() {
		s.kind = streamSource
	}
	return s, nil
}
