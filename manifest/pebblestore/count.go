package pebblestore

import (
	"cmp"
	"context"
	"fmt"
)

// Count returns how many keys begin with each letter: see key.go.
func (d *DB) Count(ctx context.Context) (map[byte]int, error) {
	n := make(map[byte]int)
	it, err := d.newCursor(nil)
	if err != nil {
		return nil, fmt.Errorf("pebblestore: count: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok && ctx.Err() == nil; ok = it.Next() {
		n[it.Key()[0]]++
	}
	return n, cmp.Or(it.Error(), ctx.Err())
}
