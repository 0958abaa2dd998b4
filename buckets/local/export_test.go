package local

import (
	"context"
	"errors"

	"github.com/cairn-store/cairn/cas"
)

// SetMeta makes a store of these options keep its metadata in what open opens.
func (o *Options) SetMeta(open func(ctx context.Context, dir string, mustExist bool) (Database, error)) {
	o.openMeta = open
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
