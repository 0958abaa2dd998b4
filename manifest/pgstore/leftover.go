package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// LeftoverBytes implements manifest.Leftovers.
func (s rows) LeftoverBytes(ctx context.Context, bucket, who string) (all, own int64, err error) {
	sums, err := queryOne(ctx, s.c, "pgstore: leftovers", pgx.RowTo[[]int64], `SELECT ARRAY[coalesce(sum(bytes), 0)::int8, coalesce(sum(bytes) FILTER (WHERE who = $2), 0)::int8]
		FROM cairn_leftovers WHERE bucket = $1`, toBytes(bucket), toBytes(who))
	if err != nil {
		return 0, 0, err
	}
	return sums[0], sums[1], nil
}

// HasLeftovers implements manifest.Leftovers.
func (s rows) HasLeftovers(ctx context.Context, domain string) (bool, error) {
	return queryOne(ctx, s.c, "pgstore: leftovers", pgx.RowTo[bool], `SELECT EXISTS (SELECT FROM cairn_leftovers WHERE domain = $1)`, domain)
}

// LeftoversOf implements manifest.Leftovers.
func (s rows) LeftoversOf(ctx context.Context, domain string) ([]manifest.Leftover, error) {
	return queryAll(ctx, s.c, "pgstore: leftovers", func(row pgx.CollectableRow) (manifest.Leftover, error) {
		var bucket []byte
		var epoch, bytes int64
		err := row.Scan(&bucket, &epoch, &bytes)
		return manifest.Leftover{Domain: domain, Bucket: string(bucket), Epoch: uint64(epoch), Bytes: bytes}, err
	}, `SELECT bucket, min(epoch), sum(bytes)::int8 FROM cairn_leftovers WHERE domain = $1 GROUP BY bucket ORDER BY bucket`, domain)
}

// AddLeftover implements manifest.LeftoverChanges.
func (t *tx) AddLeftover(ctx context.Context, l *manifest.Leftover) error {
	_, err := t.c.exec(ctx, "pgstore: add leftover", `INSERT INTO cairn_leftovers AS l VALUES ($1, $2, $3, $4, $5)
		ON CONFLICT (domain, epoch, bucket, who) DO UPDATE SET bytes = l.bytes + excluded.bytes`,
		l.Domain, int64(l.Epoch), toBytes(l.Bucket), toBytes(l.Who), l.Bytes)
	return err
}

// DropLeftovers implements manifest.LeftoverChanges.
func (t *tx) DropLeftovers(ctx context.Context, domain string, before uint64, limit int) (int, error) {
	return t.dropSome(ctx, "cairn_leftovers", "domain, epoch, bucket, who", "domain = $1 AND epoch < $2", domain, int64(before), limit)
}
