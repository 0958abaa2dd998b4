package pgstore

import (
	"context"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// Grant implements manifest.Grants, and so does Grants.
func (s rows) Grant(ctx context.Context, bucket string, id manifest.GrantID) (*manifest.Grant, error) {
	return queryOne(ctx, s.c, "grant "+string(id), decode[manifest.Grant], `SELECT row FROM cairn_grants WHERE bucket = $1 AND id = $2`, toBytes(bucket), toBytes(id))
}

func (s rows) GrantUses(ctx context.Context, bucket string, id manifest.GrantID) (int64, error) {
	return queryOne(ctx, s.c, "grant "+string(id), pgx.RowTo[int64], `SELECT coalesce(sum(uses), 0)::bigint FROM cairn_grants WHERE bucket = $1 AND id = $2`,
		toBytes(bucket), toBytes(id))
}

func (s rows) Grants(ctx context.Context, bucket, owner string) iter.Seq2[*manifest.Grant, error] {
	l := listByID(`SELECT row FROM cairn_grants WHERE bucket = $1 AND id > $2 ORDER BY id LIMIT $3`,
		rowPage, decode[manifest.Grant], func(g *manifest.Grant) []byte { return toBytes(g.ID) }, toBytes(bucket))
	if owner != "" {
		l.query = `SELECT row FROM cairn_grants WHERE bucket = $1 AND owner = $2 AND id > $3 ORDER BY id LIMIT $4`
		l.args = append(l.args, toBytes(owner))
	}
	return named("grants", l.eachRow(ctx, s.c))
}

// PutGrant implements manifest.GrantChanges, and so do the methods below.
func (t *tx) PutGrant(ctx context.Context, g *manifest.Grant) error {
	return t.putRow(ctx, "pgstore: put grant", g, `INSERT INTO cairn_grants (bucket, id, owner, expires, uses, row) VALUES ($1, $2, $3, $4, 0, $5)
		ON CONFLICT (bucket, id) DO UPDATE SET owner = excluded.owner, expires = excluded.expires, uses = 0, row = excluded.row`,
		toBytes(g.Bucket), toBytes(g.ID), toBytes(g.Owner), millis(g.ExpiresAt))
}

func (t *tx) UseGrant(ctx context.Context, bucket string, id manifest.GrantID) (int64, error) {
	return queryOne(ctx, t.c, "grant "+string(id), pgx.RowTo[int64], `UPDATE cairn_grants SET uses = uses + 1 WHERE bucket = $1 AND id = $2 RETURNING uses`,
		toBytes(bucket), toBytes(id))
}

func (t *tx) DropGrant(ctx context.Context, bucket string, id manifest.GrantID) error {
	return t.drop(ctx, "pgstore: drop grant", `DELETE FROM cairn_grants WHERE bucket = $1 AND id = $2`, toBytes(bucket), toBytes(id))
}

func (t *tx) DropGrantsOf(ctx context.Context, owner string, limit int) (int, error) {
	return t.dropSome(ctx, "cairn_grants", "bucket, id", "owner = $1 ORDER BY bucket, id", toBytes(owner), limit)
}

func (t *tx) SweepGrants(ctx context.Context, before time.Time, limit int) (int, error) {
	return t.dropSome(ctx, "cairn_grants", "bucket, id", "expires < $1 ORDER BY expires", millis(before), limit)
}
