package pgstore

import (
	"context"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// Grant implements manifest.Grants, and so does Grants.
func (s rows) Grant(ctx context.Context, bucket string, id manifest.GrantID) (*manifest.Grant, error) {
	g, err := one(ctx, s.c, decode[manifest.Grant], `SELECT row FROM cairn_grants WHERE bucket = $1 AND id = $2`, toBytes(bucket), toBytes(id))
	if err != nil {
		return nil, fmt.Errorf("grant %s: %w", id, err)
	}
	return g, nil
}

func (s rows) Grants(ctx context.Context, bucket, owner string) iter.Seq2[*manifest.Grant, error] {
	l := &pagedList[*manifest.Grant]{
		query: `SELECT row FROM cairn_grants WHERE bucket = $1 AND id > $2 ORDER BY id LIMIT $3`,
		args:  []any{toBytes(bucket)},
		first: []any{[]byte{}},
		most:  rowPage,
		key:   func(g *manifest.Grant) []any { return []any{toBytes(g.ID)} },
		parse: decode[manifest.Grant],
	}
	if owner != "" {
		l.query = `SELECT row FROM cairn_grants WHERE bucket = $1 AND owner = $2 AND id > $3 ORDER BY id LIMIT $4`
		l.args = append(l.args, toBytes(owner))
	}
	return named("grants", l.eachRow(ctx, s.c))
}

// PutGrant implements manifest.GrantChanges, and so do the methods below.
func (t *tx) PutGrant(ctx context.Context, g *manifest.Grant) error {
	row, err := g.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, err = t.c.exec(ctx, `INSERT INTO cairn_grants (bucket, id, owner, expires, uses, row) VALUES ($1, $2, $3, $4, 0, $5)
		ON CONFLICT (bucket, id) DO UPDATE SET owner = excluded.owner, expires = excluded.expires, uses = 0, row = excluded.row`,
		toBytes(g.Bucket), toBytes(g.ID), toBytes(g.Owner), millis(g.ExpiresAt), row)
	return err
}

func (t *tx) UseGrant(ctx context.Context, bucket string, id manifest.GrantID) (int64, error) {
	n, err := one(ctx, t.c, pgx.RowTo[int64], `UPDATE cairn_grants SET uses = uses + 1 WHERE bucket = $1 AND id = $2 RETURNING uses`,
		toBytes(bucket), toBytes(id))
	if err != nil {
		return 0, fmt.Errorf("grant %s: %w", id, err)
	}
	return n, nil
}

func (t *tx) DropGrant(ctx context.Context, bucket string, id manifest.GrantID) error {
	_, err := t.c.exec(ctx, `DELETE FROM cairn_grants WHERE bucket = $1 AND id = $2`, toBytes(bucket), toBytes(id))
	return err
}

func (t *tx) DropGrantsOf(ctx context.Context, owner string, limit int) (int, error) {
	n, err := t.c.exec(ctx, `DELETE FROM cairn_grants WHERE (bucket, id) IN (
		SELECT bucket, id FROM cairn_grants WHERE owner = $1 ORDER BY bucket, id LIMIT $2)`, toBytes(owner), limit)
	return int(n), err
}

func (t *tx) SweepGrants(ctx context.Context, before time.Time, limit int) (int, error) {
	n, err := t.c.exec(ctx, `DELETE FROM cairn_grants WHERE (bucket, id) IN (
		SELECT bucket, id FROM cairn_grants WHERE expires < $1 ORDER BY expires LIMIT $2)`, millis(before), limit)
	return int(n), err
}
