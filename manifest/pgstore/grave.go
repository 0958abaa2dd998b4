package pgstore

import (
	"context"
	"fmt"
	"iter"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// dig removes the versions that a condition selects, makes a grave of each, and
// returns their IDs. A grave holds the row, so that rows need not be read to
// remove them.
func (t *tx) dig(ctx context.Context, at time.Time, condition string, arg any) (ids [][]byte, err error) {
	ids, err = queryAll(ctx, t.c, "", pgx.RowTo[[]byte], `WITH gone AS (DELETE FROM cairn_versions WHERE `+condition+` RETURNING id, file, row), dug AS (
			INSERT INTO cairn_graves (domain, number, n, bucket, path, at, row)
			SELECT $2::text, $3::int8, $4::int8 + row_number() OVER (ORDER BY g.id), coalesce(f.bucket, ''::bytea), coalesce(f.path, ''::bytea),
				$5::int8, g.row FROM gone AS g LEFT JOIN cairn_files AS f ON f.id = g.file)
		SELECT id FROM gone`, arg, t.domain, t.number(), t.graves, millis(at))
	t.graves += int64(len(ids))
	return ids, err
}

// Graves implements manifest.Collections.
func (d *DB) Graves(ctx context.Context, domain string) iter.Seq2[*manifest.Grave, error] {
	l := &pagedList[*manifest.Grave]{
		query: `SELECT number, n, bucket, path, at, row FROM cairn_graves WHERE domain = $1 AND (number, n) < ($2, $3)
			ORDER BY number DESC, n DESC LIMIT $4`,
		args:  []any{domain},
		first: []any{int64(math.MaxInt64), int64(math.MaxInt64)},
		most:  rowPage,
		key:   func(g *manifest.Grave) []any { return []any{int64(g.ID.Commit), int64(g.ID.N)} },
		parse: parseGrave,
	}
	return named("graves", l.eachAtOneMoment(ctx, d))
}

func parseGrave(row pgx.CollectableRow) (*manifest.Grave, error) {
	var number, n, at int64
	var bucket, path, version []byte
	if err := row.Scan(&number, &n, &bucket, &path, &at, &version); err != nil {
		return nil, err
	}
	m := &manifest.Manifest{}
	if err := m.UnmarshalBinary(version); err != nil {
		return nil, fmt.Errorf("grave %d of commit %d: %w", n, number, err)
	}
	return &manifest.Grave{ID: manifest.GraveID{Commit: uint64(number), N: uint32(n)}, Bucket: string(bucket), Path: string(path),
		File: m.File, Version: m.ID, Size: m.Size, At: fromMillis(at), Top: m.Top, Chunks: m.Inline}, nil
}

// DropGraves implements manifest.Collections.
func (d *DB) DropGraves(ctx context.Context, domain string, ids []manifest.GraveID) error {
	numbers, ns := make([]int64, len(ids)), make([]int64, len(ids))
	for i, id := range ids {
		numbers[i], ns[i] = int64(id.Commit), int64(id.N)
	}
	_, err := d.alone().exec(ctx, "pgstore: drop graves", `DELETE FROM cairn_graves AS g USING unnest($2::int8[], $3::int8[]) AS d(number, n)
		WHERE g.domain = $1 AND g.number = d.number AND g.n = d.n`, domain, numbers, ns)
	return err
}
