package pebblestore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

func grantKey(letter byte, bucket string, id manifest.GrantID) []byte {
	return bucketKey(letter, bucket, string(id))
}

// signedKey finds a grant by its signer.
func signedKey(owner string, rest []byte) []byte {
	sum := sha256.Sum256([]byte(owner))
	return append(append([]byte{keySigned}, sum[:16]...), rest...)
}

// Grant implements manifest.Grants, and so does Grants.
func (s rows) Grant(ctx context.Context, bucket string, id manifest.GrantID) (*manifest.Grant, error) {
	return getRow[manifest.Grant](ctx, s, grantKey(keyGrant, bucket, id), "grant %s", id)
}

func (s rows) GrantUses(ctx context.Context, bucket string, id manifest.GrantID) (int64, error) {
	v, err := s.d.getValue(s.r, grantKey(keyUses, bucket, id))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	ns, ok := parseUvarints(v, 1)
	if !ok {
		return 0, fmt.Errorf("pebblestore: damaged uses of grant %s: %x", id, v)
	}
	return int64(ns[0]), nil
}

func (s rows) Grants(ctx context.Context, bucket, owner string) iter.Seq2[*manifest.Grant, error] {
	prefix := bucketKey(keyGrant, bucket, "")
	if owner != "" {
		prefix = signedKey(owner, bucketScope(bucket))
	}
	parse := rowParser[manifest.Grant]("grant", len(prefix))
	return scanPrefix(ctx, s, prefix, func(k, v []byte) (*manifest.Grant, error) {
		if owner != "" {
			return s.Grant(ctx, bucket, manifest.GrantID(k[len(prefix):]))
		}
		return parse(k, v)
	})
}

// PutGrant implements manifest.GrantChanges, and so do the methods below.
func (t *tx) PutGrant(ctx context.Context, g *manifest.Grant) error {
	key := grantKey(keyGrant, g.Bucket, g.ID)
	t.b.Set(expiryKey(keyGrant, nil, g.ExpiresAt, key[1:]), nil, nil)
	t.b.Set(signedKey(g.Owner, key[1:]), nil, nil)
	return t.putRow(key, g)
}

func (t *tx) UseGrant(ctx context.Context, bucket string, id manifest.GrantID) (int64, error) {
	if _, err := t.d.getValue(t.b, grantKey(keyGrant, bucket, id)); err != nil {
		return 0, fmt.Errorf("grant %s: %w", id, err)
	}
	n, err := t.GrantUses(ctx, bucket, id)
	if err != nil {
		return 0, err
	}
	return n + 1, t.b.Set(grantKey(keyUses, bucket, id), binary.AppendUvarint(nil, uint64(n+1)), nil)
}

func (t *tx) DropGrant(ctx context.Context, bucket string, id manifest.GrantID) error {
	g, err := t.Grant(ctx, bucket, id)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	key := grantKey(keyGrant, bucket, id)
	t.b.Delete(expiryKey(keyGrant, nil, g.ExpiresAt, key[1:]), nil)
	t.b.Delete(signedKey(g.Owner, key[1:]), nil)
	t.b.Delete(grantKey(keyUses, bucket, id), nil)
	return t.b.Delete(key, nil)
}

// dropGrantAt drops a grant, given its key without the letter.
func (t *tx) dropGrantAt(ctx context.Context, rest []byte) error {
	bucket, id, ok := splitBucket(rest)
	if !ok {
		return fmt.Errorf("pebblestore: damaged entry of a grant %x", rest)
	}
	return t.DropGrant(ctx, bucket, manifest.GrantID(id))
}

func (t *tx) DropGrantsOf(ctx context.Context, owner string, limit int) (n int, err error) {
	prefix := signedKey(owner, nil)
	for rest, err := range scanPrefix(ctx, t.rows, prefix, func(k, _ []byte) ([]byte, error) {
		return append([]byte(nil), k[len(prefix):]...), nil
	}) {
		if err != nil || n == limit {
			return n, err
		}
		if err := t.dropGrantAt(ctx, rest); err != nil {
			return n, err
		}
		n++
	}
	return n, nil
}

func (t *tx) SweepGrants(ctx context.Context, before time.Time, limit int) (int, error) {
	return t.sweepExpired(keyGrant, nil, before, limit, func(rest []byte) error { return t.dropGrantAt(ctx, rest) })
}
