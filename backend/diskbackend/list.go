package diskbackend

import (
	"context"
	"errors"
	"io/fs"
	"iter"
	"path"
	"slices"
	"strings"
	"syscall"

	"github.com/cairn-store/cairn/backend"
)

// List implements backend.Backend. It reads one directory at a time, so an object
// may have been deleted, or have grown, by the time it is yielded.
func (b *Backend) List(ctx context.Context, prefix string) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		l := lister{b: b, ctx: ctx, prefix: prefix, yield: yield}
		// Only directories that the prefix leads to are read.
		dir := path.Dir(prefix + "x")
		if dir != "." && !backend.ValidKey(dir) {
			return
		}
		if err := l.walk(dir); err != nil && err != errStop {
			yield(backend.Info{}, wrapError("list", prefix, err))
		}
	}
}

// A lister is one listing under way.
type lister struct {
	b      *Backend
	ctx    context.Context
	prefix string
	yield  func(backend.Info, error) bool
}

var errStop = errors.New("the caller has seen enough")

// An entry is a file or a directory. The key of a directory ends in a slash, so
// that it sorts as the keys of its objects do.
type entry struct {
	key  string
	info fs.FileInfo
}

func (l *lister) walk(dir string) error {
	if err := l.ctx.Err(); err != nil {
		return err
	}
	entries, err := l.readDir(dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		if e.info.IsDir() {
			if err := l.walk(strings.TrimSuffix(e.key, "/")); err != nil {
				return err
			}
			continue
		}
		if !l.yield(backend.Info{Key: e.key, Size: e.info.Size(), ModTime: e.info.ModTime()}, nil) {
			return errStop
		}
	}
	return nil
}

// readDir returns the entries of dir that the listing includes, in key order.
func (l *lister) readDir(dir string) ([]entry, error) {
	names, err := l.b.fs.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var entries []entry
	for _, base := range names {
		key := path.Join(dir, base)
		if !backend.ValidKey(key) || !strings.HasPrefix(key+"/", l.prefix) {
			continue
		}
		info, err := l.b.fs.Stat(key)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return nil, err
		case info.IsDir():
			entries = append(entries, entry{key + "/", info})
		case info.Mode().IsRegular() && strings.HasPrefix(key, l.prefix):
			entries = append(entries, entry{key, info})
		}
	}
	slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.key, b.key) })
	return entries, nil
}

// Unfinished implements backend.Leaver: it yields temporary files.
func (b *Backend) Unfinished(ctx context.Context) iter.Seq2[backend.Info, error] {
	return func(yield func(backend.Info, error) bool) {
		if err := b.walkTemps(ctx, ".", yield); err != nil && err != errStop {
			yield(backend.Info{}, wrapError("list temporary files of", ".", err))
		}
	}
}

// walkTemps yields the temporary files in and below dir that no Writer has.
func (b *Backend) walkTemps(ctx context.Context, dir string, yield func(backend.Info, error) bool) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	bases, err := b.fs.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, base := range bases {
		name := path.Join(dir, base)
		if !isTemp(base) && !backend.ValidKey(name) {
			continue
		}
		info, err := b.fs.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it has got its name, or is gone
		case err != nil:
			return err
		case info.IsDir():
			err = b.walkTemps(ctx, name, yield)
		case isTemp(base) && !b.isBegun(name):
			// Its Writer may have ended since: then it has got its name, or is gone.
			info, err = b.fs.Stat(name)
			if err == nil && !yield(backend.Info{Key: name, Size: info.Size(), ModTime: info.ModTime()}, nil) {
				err = errStop
			}
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

func (b *Backend) isBegun(temp string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.begun[temp]
}
