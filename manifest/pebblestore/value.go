package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

func (s rows) Value(ctx context.Context, kind, key string) ([]byte, error) {
	v, err := s.d.get(s.r, bucketKey(keyValue, kind, key))
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", kind, key, err)
	}
	return v, ctx.Err()
}

func (s rows) ValuesAt(ctx context.Context, kind string, keys []string) ([][]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	ids, out := make([][]byte, len(keys)), make([][]byte, len(keys))
	for i, k := range keys {
		ids[i] = []byte(k)
	}
	err := find(s.r, bucketKey(keyValue, kind, ""), ids, func(i int, v []byte) error {
		out[i] = append([]byte{}, v...)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("pebblestore: values: %w", err)
	}
	return out, nil
}

func (s rows) Values(ctx context.Context, kind, prefix string) iter.Seq2[manifest.Value, error] {
	return func(yield func(manifest.Value, error) bool) {
		from := bucketKey(keyValue, kind, prefix)
		it, err := s.r.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: after(from)})
		if err != nil {
			yield(manifest.Value{}, fmt.Errorf("pebblestore: %w", err))
			return
		}
		defer it.Close()
		for ok := it.First(); ok && ctx.Err() == nil; ok = it.Next() {
			key := string(it.Key()[2+len(kind):])
			if !yield(manifest.Value{Key: key, Value: bytes.Clone(it.Value())}, nil) {
				return
			}
		}
		if err := it.Error(); err != nil || ctx.Err() != nil {
			yield(manifest.Value{}, fmt.Errorf("pebblestore: %w", firstError(err, ctx.Err())))
		}
	}
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *tx) PutValue(ctx context.Context, kind, key string, value []byte) error {
	return t.b.Set(bucketKey(keyValue, kind, key), value, nil)
}

func (t *tx) DropValue(ctx context.Context, kind, key string) error {
	return t.b.Delete(bucketKey(keyValue, kind, key), nil)
}

// Buckets implements manifest.Store.
func (d *DB) Buckets(ctx context.Context) (names []string, err error) {
	it, err := d.iter([]byte{keyUsage})
	if err != nil {
		return nil, fmt.Errorf("pebblestore: %w", err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		names = append(names, string(it.Key()[1:]))
	}
	return names, firstError(it.Error(), ctx.Err())
}
