package pgstore

import (
	"context"
	"iter"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// PutPoint implements manifest.Points, and so do the methods below.
func (d *DB) PutPoint(ctx context.Context, p *manifest.Point) error {
	encoded, err := p.AppendBinary(nil)
	if err != nil {
		return err
	}
	_, err = d.alone().exec(ctx, "pgstore: put point", `INSERT INTO cairn_points VALUES ($1, $2, $3)
		ON CONFLICT (day, domain) DO UPDATE SET row = excluded.row`, millis(p.Day), p.Domain, encoded)
	return err
}

func (d *DB) Points(ctx context.Context, since time.Time) iter.Seq2[*manifest.Point, error] {
	l := &pagedList[*manifest.Point]{
		query: `SELECT row FROM cairn_points WHERE (day, domain) > ($2, $3) AND day >= $1 ORDER BY day, domain LIMIT $4`,
		args:  []any{millis(since)},
		first: []any{int64(-1), ""},
		most:  rowPage,
		key:   func(p *manifest.Point) []any { return []any{millis(p.Day), p.Domain} },
		parse: decode[manifest.Point],
	}
	return named("points", l.eachAtOneMoment(ctx, d))
}

func (d *DB) DropPoints(ctx context.Context, before time.Time) error {
	_, err := d.alone().exec(ctx, "pgstore: drop points", `DELETE FROM cairn_points WHERE day < $1`, millis(before))
	return err
}
