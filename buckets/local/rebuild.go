package local

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// rebuild makes the metadata database anew from the packs. It is built beside
// its place and moved there when it is whole; one that is there, because it is
// damaged or has been overtaken, is set aside under a name that it returns.
func rebuild(ctx context.Context, dir string, opts *Options) (aside string, err error) {
	s, err := openBackends(ctx, dir, opts)
	if err != nil {
		return "", err
	}
	tmp := metaDir(dir) + ".new"
	if err := removeAll(tmp, opts); err != nil {
		return "", err
	}
	if err := s.openMeta(ctx, tmp, false); err != nil {
		return "", err
	}
	if err := errors.Join(s.bringUp(ctx, true), s.close()); err != nil {
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

// A lack is why there is no database to check: there is none, or it is damaged.
func lack(err error) (detail string, ok bool) {
	switch {
	case errors.Is(err, ErrNoMetadata):
		return "the metadata database is missing", true
	case errors.Is(err, pebblestore.ErrDamaged), errors.Is(err, errOvertaken):
		return err.Error(), true
	}
	return "", false
}

// mend makes the database anew, and returns what to say of it.
func mend(ctx context.Context, dir string, opts *Options) (string, error) {
	aside, err := rebuild(ctx, dir, opts)
	if err != nil {
		return "", fmt.Errorf("rebuild %s: %w", dir, err)
	}
	if aside != "" {
		return "; it was set aside as " + aside, nil
	}
	return "", nil
}
