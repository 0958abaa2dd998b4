package local

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// rebuild makes the metadata database anew from the packs. It is built beside
// its place and moved there when it is whole. One that is there, because it is
// damaged or has been overtaken, is set aside under the name that is returned.
func rebuild(ctx context.Context, dir string, opts *Options) (aside string, err error) {
	lock, err := lockDir(dir, opts)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	s, err := openBackends(ctx, dir, opts)
	if err != nil {
		return "", err
	}
	tmp := metaDir(dir) + ".new"
	if err := removeAll(tmp, opts); err != nil {
		return "", err
	}
	if err := s.openStore(ctx, tmp, false); err != nil {
		return "", err
	}
	if err := errors.Join(s.checked.Rebuild(ctx), s.close()); err != nil {
		return "", err
	}
	if aside, err = setAside(dir, opts); err != nil {
		return "", err
	}
	return aside, rename(tmp, metaDir(dir), opts)
}

// setAside moves what is in the place of the database out of the way. What
// holds no database at all is removed.
func setAside(dir string, opts *Options) (string, error) {
	exists, err := pebblestore.Exists(metaDir(dir), opts.MetaFS)
	if err == nil && !exists {
		return "", removeAll(metaDir(dir), opts)
	}
	if err != nil && !errors.Is(err, pebblestore.ErrDamaged) {
		return "", err
	}
	aside := metaDir(dir) + ".damaged-" + time.Now().UTC().Format("20060102T150405.000")
	return aside, rename(metaDir(dir), aside, opts)
}

func removeAll(path string, opts *Options) error {
	if opts.MetaFS != nil {
		return opts.MetaFS.RemoveAll(path)
	}
	return os.RemoveAll(path)
}

func rename(from, to string, opts *Options) error {
	if opts.MetaFS != nil {
		return opts.MetaFS.Rename(from, to)
	}
	return os.Rename(from, to)
}
