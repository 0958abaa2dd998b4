package collect

import "context"

func (d *cycle) rewriteAll(ctx context.Context) error { return nil }
