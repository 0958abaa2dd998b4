package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// HaveReceipts implements manifest.Receipts.
func (s rows) HaveReceipts(ctx context.Context, scope manifest.Scope, ds []cas.Digest, at time.Time) ([]bool, error) {
	found, err := queryAll(ctx, s.c, "pgstore: receipts", pgx.RowTo[[]byte], `SELECT digest FROM cairn_receipts WHERE scope = $1 AND digest = ANY($2) AND expires > $3`,
		scope[:], digestBytes(ds), millis(at))
	if err != nil {
		return nil, err
	}
	known := make(map[string]bool, len(found))
	for _, d := range found {
		known[string(d)] = true
	}
	has := make([]bool, len(ds))
	for i := range ds {
		has[i] = known[string(ds[i][:])]
	}
	return has, nil
}

// PutReceipts implements manifest.ReceiptChanges.
func (t *tx) PutReceipts(ctx context.Context, scope manifest.Scope, ds []cas.Digest, expires time.Time) error {
	_, err := t.c.exec(ctx, "pgstore: put receipts", `INSERT INTO cairn_receipts SELECT DISTINCT $1::bytea, r.digest, $3::int8 FROM unnest($2::bytea[]) AS r(digest)
		ON CONFLICT (scope, digest) DO UPDATE SET expires = excluded.expires`, scope[:], digestBytes(ds), millis(expires))
	return err
}

// SweepReceipts implements manifest.ReceiptChanges.
func (t *tx) SweepReceipts(ctx context.Context, before time.Time, limit int) (int, error) {
	return t.dropSome(ctx, "cairn_receipts", "scope, digest", "expires < $1 ORDER BY expires", millis(before), limit)
}
