package local

import (
	"context"
	"errors"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest/pebblestore"
)

// SetMeta makes a store of these options keep its metadata in what open opens.
func (o *Options) SetMeta(open func(ctx context.Context, dir string, mustExist bool) (Database, error)) {
	o.openMeta = open
}

// WrapMeta makes a store of these options use its database through what wrap
// returns.
func (o *Options) WrapMeta(wrap func(Database) Database) {
	open := o.openMeta
	if open == nil {
		files := o.MetaFS
		open = func(_ context.Context, dir string, mustExist bool) (Database, error) {
			return pebblestore.Open(dir, &pebblestore.Options{FS: files, MustExist: mustExist})
		}
	}
	o.openMeta = func(ctx context.Context, dir string, mustExist bool) (Database, error) {
		d, err := open(ctx, dir, mustExist)
		if err != nil {
			return nil, err
		}
		return wrap(d), nil
	}
}

// IndexPacks returns the packs of the first backend that the index names.
func IndexPacks(ctx context.Context, dir string, opts *Options) (packs []cas.PackEntry, err error) {
	p, err := open(ctx, dir, opts)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	for e, err := range p.domains[0].chunks.Index().AllPacks(ctx) {
		if err != nil {
			return nil, err
		}
		packs = append(packs, e)
	}
	return packs, nil
}
