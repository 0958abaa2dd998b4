package local

import "context"

// SetMeta makes a store of these options keep its metadata in what open opens.
func (o *Options) SetMeta(open func(ctx context.Context, dir string, mustExist bool) (Database, error)) {
	o.openMeta = open
}
