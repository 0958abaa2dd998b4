package pebblestore

import (
	"context"
	"encoding"
	"fmt"

	"github.com/cairn-store/cairn/manifest"
)

func apiKeyKey(id string) []byte  { return append([]byte{keyAPIKey}, id...) }
func signKeyKey(id string) []byte { return append([]byte{keySignKey}, id...) }

// APIKey implements manifest.Keys, and so do the methods below.
func (s rows) APIKey(ctx context.Context, id string) (*manifest.APIKey, error) {
	k := new(manifest.APIKey)
	if err := s.decode(apiKeyKey(id), k); err != nil {
		return nil, fmt.Errorf("API key %q: %w", id, err)
	}
	return k, ctx.Err()
}

func (s rows) APIKeys(ctx context.Context) ([]*manifest.APIKey, error) {
	return all(ctx, s, keyAPIKey, func() *manifest.APIKey { return new(manifest.APIKey) })
}

func (s rows) SignKeys(ctx context.Context) ([]*manifest.SignKey, error) {
	return all(ctx, s, keySignKey, func() *manifest.SignKey { return new(manifest.SignKey) })
}

// all returns the rows under a letter, in order of keys.
func all[R encoding.BinaryUnmarshaler](ctx context.Context, s rows, letter byte, empty func() R) (out []R, err error) {
	for r, err := range scanOf(ctx, s.r, []byte{letter}, nil, func(k, v []byte) (R, error) {
		r := empty()
		if err := r.UnmarshalBinary(v); err != nil {
			return r, fmt.Errorf("%q: %w", k, err)
		}
		return r, nil
	}) {
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// PutAPIKey implements manifest.KeyChanges, and so do the methods below.
func (t *tx) PutAPIKey(ctx context.Context, k *manifest.APIKey) error {
	return t.putRow(apiKeyKey(k.ID), k)
}

func (t *tx) DropAPIKey(ctx context.Context, id string) error { return t.b.Delete(apiKeyKey(id), nil) }

func (t *tx) PutSignKey(ctx context.Context, k *manifest.SignKey) error {
	return t.putRow(signKeyKey(k.ID), k)
}

func (t *tx) DropSignKey(ctx context.Context, id string) error {
	return t.b.Delete(signKeyKey(id), nil)
}
