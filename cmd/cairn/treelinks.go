package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"strings"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/names"
)

// isMarker reports whether f stands for the folder that it lies in.
func isMarker(f *client.File) bool { return names.IsFolderMarker(f.Path, f.Size) }

// mayBeLink reports whether f is kept as a symbolic link, as far as can be told
// without its content, which is the target: others may have replaced that.
func (a attributes) mayBeLink(f *client.File) bool {
	return a.link != "" && len(a.link) <= maxLink && f.Size == int64(len(a.link))
}

// A pendingFolder gets its mode and time when all below it is done.
type pendingFolder struct {
	stored, name string // path in the bucket and on this machine
	kept         attributes
}

// finishTree makes the links, and then sets modes and times of folders, each after
// all that lies below it: that changes the one and may be kept out by the other.
func (w *treeWriter) finishTree() error {
	var pending []pendingFolder // on the way down to the path at hand
	leaveTo := func(name string) {
		for n := len(pending); n > 0 && !strings.HasPrefix(name, pending[n-1].name+"/"); n-- {
			w.finishFolder(&pending[n-1])
			pending = pending[:n-1]
		}
	}
	for f, err := range w.files.List(w.ctx, w.bucket, &client.ListOptions{Prefix: w.prefix, Order: "-name", Markers: true}) {
		if err != nil {
			return err
		}
		name, err := w.localName(f.Path)
		if err != nil {
			continue // told before
		}
		leaveTo(name)
		kept := readAttributes(f)
		switch {
		case isMarker(f):
			if dir := path.Dir(name); dir != "." {
				pending = append(pending, pendingFolder{f.Path, dir, kept})
			}
		case kept.mayBeLink(f):
			err := w.finishLink(w.ctx, f, name, kept)
			if w.ctx.Err() != nil {
				return w.ctx.Err()
			}
			if err != nil {
				w.reportFailure(f.Path, err)
			}
		}
	}
	leaveTo("")
	return nil
}

func (w *treeWriter) finishFolder(p *pendingFolder) {
	info, err := w.root.Lstat(p.name)
	if err != nil || !info.IsDir() {
		return // told before
	}
	if err := setAttributes(w.root, p.name, p.kept); err != nil {
		w.reportFailure(p.stored, err)
	}
}

// finishLink makes a symbolic link, or a file if f is none in truth.
func (w *treeWriter) finishLink(ctx context.Context, f *client.File, name string, kept attributes) error {
	if at := w.enterFolder(path.Dir(name)); at.err != nil {
		return nil // told before
	}
	p, err := newPart(w.root, name, f)
	if err != nil {
		return nil // told before
	}
	target, err := w.readTarget(ctx, f)
	if err != nil {
		return err
	}
	if target != kept.link {
		got, err := w.writeFile(ctx, f, f.ManifestID, p, nil, kept)
		if err != nil || !w.t.json {
			return err
		}
		return w.showFetched(got, w.outputOf(name))
	}
	if !w.outside && !staysBelow(name, target) {
		return fmt.Errorf("it is a symbolic link to %s, which leads out of the folder; --outside-links makes it", target)
	}
	if err := makeLink(p, filepath.FromSlash(target)); err != nil || !w.t.json {
		return err
	}
	return w.showFetched(&client.Fetched{File: f, ReceivedBytes: f.Size}, w.outputOf(name))
}

// readTarget returns the content of a file that may be a link.
func (w *treeWriter) readTarget(ctx context.Context, f *client.File) (string, error) {
	r, _, err := w.files.Open(ctx, w.bucket, f.ManifestID, nil)
	if err != nil {
		return "", err
	}
	defer r.Close()
	p, err := io.ReadAll(io.LimitReader(r, maxLink+1))
	return string(p), err
}

// outputOf returns the path of what is written below the root.
func (w *treeWriter) outputOf(name string) string {
	return filepath.Join(w.root.Name(), filepath.FromSlash(name))
}

// staysBelow reports whether a link leads to something below the root, whatever else
// lies there. A ".." that comes behind a name could be that of a folder elsewhere, to
// which the name is a link; those at the beginning start from the folder of the link,
// which is none.
func staysBelow(name, target string) bool {
	if target == "" || path.IsAbs(target) || filepath.IsAbs(filepath.FromSlash(target)) || filepath.VolumeName(target) != "" ||
		filepath.Separator != '/' && strings.ContainsRune(target, filepath.Separator) {
		return false
	}
	depth := strings.Count(name, "/")
	down := false
	for e := range strings.SplitSeq(target, "/") {
		switch e {
		case "", ".":
		case "..":
			if depth--; down || depth < 0 {
				return false
			}
		default:
			down = true
		}
	}
	return true
}

// makeLink makes a symbolic link in place of a file or link that is there.
func makeLink(p *part, target string) error {
	if old, err := p.dir.Readlink(p.name); err == nil && old == target {
		return nil
	}
	if info, err := p.dir.Lstat(p.name); err == nil && info.IsDir() {
		return fmt.Errorf("%s: a folder is in the way", p.name)
	}
	if err := p.dir.Remove(p.temp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := p.dir.Symlink(target, p.temp); err != nil {
		return err
	}
	err := p.dir.Rename(p.temp, p.name)
	if err != nil {
		p.dir.Remove(p.temp)
	}
	return err
}
