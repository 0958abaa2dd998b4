package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/cairn-store/cairn/api/client"
	"github.com/cairn-store/cairn/buckets/names"
)

// A treeWriter writes the files of a bucket or folder below a folder of this
// machine. What the server says is not trusted: nothing is written elsewhere, and
// nothing through a link.
type treeWriter struct {
	*getter
	root   *os.Root
	ctx    context.Context
	bucket string
	prefix string // of the paths in the bucket

	// folders are those on the way down to the path at hand. Paths come in order,
	// so each folder is looked at once.
	folders []*localFolder

	outside bool // links may lead out of the root
	later   bool // links and folders wait for the end
}

// A localFolder is a folder below the root.
type localFolder struct {
	name  string
	err   error               // nothing can be written there
	parts map[string][]string // as of findParts
}

// getTree reads all files of a bucket or folder into dir. It goes on after a file
// that fails.
func (g *getter) getTree(ctx context.Context, ref, dir string, outside bool) error {
	bucket, folder, _ := strings.Cut(ref, "/")
	w := &treeWriter{getter: g, ctx: ctx, bucket: bucket, prefix: names.CanonicalPath(strings.Trim(folder, "/")), outside: outside}
	if w.prefix != "" {
		w.prefix += "/"
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	var err error
	if w.root, err = os.OpenRoot(dir); err != nil {
		return err
	}
	defer w.root.Close()
	work, wctx := newPool(ctx, 8, 2) // each large file has its read-ahead
	n := 0
	if g.bar != nil {
		counted := make(chan struct{})
		go func() {
			defer close(counted)
			g.expectTree(wctx, bucket, w.prefix)
		}()
		defer func() { <-counted }() // it ends with wctx, at the latest
	}
	for f, err := range g.files.List(wctx, bucket, &client.ListOptions{Prefix: w.prefix, Markers: true}) {
		if err != nil {
			return errors.Join(work.wait(), err)
		}
		n++
		w.schedule(wctx, work, f)
	}
	if err := work.wait(); err != nil {
		return err
	}
	if w.later {
		if err := w.finishTree(); err != nil {
			return err
		}
	}
	if n == 0 && folder != "" {
		return fmt.Errorf("%s: no files there", ref)
	}
	if g.failed {
		return errReported
	}
	return nil
}

// expectTree counts the files below prefix for the progress, which then knows percent and
// time left. Where that fails, it does not.
func (g *getter) expectTree(ctx context.Context, bucket, prefix string) {
	for f, err := range g.files.List(ctx, bucket, &client.ListOptions{Prefix: prefix, Markers: true}) {
		if err != nil {
			return
		}
		g.bar.expect(1, f.Size)
	}
	g.bar.expectNoMore()
}

// schedule has work write a file.
func (w *treeWriter) schedule(ctx context.Context, work *pool, f *client.File) {
	name, err := w.localName(f.Path)
	var at *localFolder
	if err == nil {
		if at = w.enterFolder(path.Dir(name)); at.err != nil {
			err = at.err
		}
	}
	var p *part
	if err == nil {
		p, err = newPart(w.root, name, f)
	}
	if err != nil {
		w.reportFailure(f.Path, err)
		w.bar.begin(f.Path, f.Size).end()
		return
	}
	kept := readAttributes(f)
	if isMarker(f) || kept.mayBeLink(f) {
		w.later = true
		w.bar.begin(f.Path, f.Size).end()
		return
	}
	left := p.leftovers(at.parts)
	work.run(f.Size, func() error {
		got, err := w.writeFile(ctx, f, f.ID, p, left, kept)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			w.reportFailure(f.Path, err)
			return nil
		}
		p.removeLeftovers(left)
		if w.t.json {
			return w.showFetched(got, w.outputOf(name))
		}
		return nil
	})
}

// localName returns where a file is written below the root.
func (w *treeWriter) localName(stored string) (string, error) {
	name, below := strings.CutPrefix(stored, w.prefix)
	if !below || !fs.ValidPath(name) || name == "." || !filepath.IsLocal(filepath.FromSlash(name)) {
		return "", errors.New("it is not written: its path leads out of the folder")
	}
	if partName.MatchString(path.Base(name)) {
		return "", errors.New("it is not written: its name is one that get gives to files that are not complete")
	}
	return name, nil
}

// enterFolder makes a folder if it is not there.
func (w *treeWriter) enterFolder(folder string) *localFolder {
	n := len(w.folders)
	for ; n > 0; n-- {
		if top := w.folders[n-1].name; top == "." || top == folder || strings.HasPrefix(folder, top+"/") {
			break
		}
	}
	w.folders = w.folders[:n]
	if n > 0 && w.folders[n-1].name == folder {
		return w.folders[n-1]
	}
	f := &localFolder{name: folder}
	if folder != "." {
		f.err = w.enterFolder(path.Dir(folder)).err
	}
	if f.err == nil {
		f.parts, f.err = w.makeFolder(folder)
	}
	w.folders = append(w.folders, f)
	return f
}

// makeFolder makes a folder in one that is there. A link is none, wherever it
// leads: what is to be below a folder must not be written elsewhere.
func (w *treeWriter) makeFolder(folder string) (map[string][]string, error) {
	err := w.root.Mkdir(folder, 0o777)
	if err == nil || !errors.Is(err, fs.ErrExist) && folder != "." {
		return nil, err
	}
	info, err := w.root.Lstat(folder)
	if err == nil && !info.IsDir() {
		err = fmt.Errorf("%s: %s is in the way of a folder", folder, describeMode(info.Mode()))
	}
	if err != nil {
		return nil, err
	}
	if info.Mode()&0o300 != 0o300 && runtime.GOOS != "windows" {
		w.openFolder(folder)
	}
	return findParts(w.root, folder)
}

// openFolder lets the user write to a folder that an earlier get has given a mode
// without that. It gets its mode again in the end.
func (w *treeWriter) openFolder(folder string) {
	f, err := w.files.StatPath(w.ctx, w.bucket, w.prefix+path.Join(folder, names.FolderMarker), nil)
	if err != nil || !isMarker(f) {
		return
	}
	if mode, ok := readAttributes(f).permissions(); ok {
		w.root.Chmod(folder, mode|0o700) // without it the files below will fail
	}
}

func (g *getter) reportFailure(name string, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.failed = true
	g.t.reportFailure("get", name, err)
}
