package pgstore

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// PutScrubbed implements manifest.Scrubs, and so do the methods below. Of several
// entries of a pack the last counts.
func (d *DB) PutScrubbed(ctx context.Context, domain string, ss []manifest.Scrubbed) error {
	last := make(map[cas.PackID]*manifest.Scrubbed, len(ss))
	for i := range ss {
		last[ss[i].Pack] = &ss[i]
	}
	var ids, encoded [][]byte
	for id, s := range last {
		p, err := s.AppendBinary(nil)
		if err != nil {
			return err
		}
		ids, encoded = append(ids, id[:]), append(encoded, p)
	}
	_, err := d.alone().exec(ctx, "pgstore: note scrubbed packs", `INSERT INTO cairn_scrubs
		SELECT $1::text, * FROM unnest($2::bytea[], $3::bytea[]) AS n(pack, row) ORDER BY pack
		ON CONFLICT (domain, pack) DO UPDATE SET row = excluded.row`, domain, ids, encoded)
	return err
}

func (d *DB) AllScrubbed(ctx context.Context, domain string) iter.Seq2[manifest.Scrubbed, error] {
	parse := func(row pgx.CollectableRow) (s manifest.Scrubbed, err error) {
		p, err := pgx.RowTo[[]byte](row)
		if err == nil {
			err = s.UnmarshalBinary(p)
		}
		return s, err
	}
	l := listByID(`SELECT row FROM cairn_scrubs WHERE domain = $1 AND pack > $2 ORDER BY pack LIMIT $3`, rowPage, parse,
		func(s manifest.Scrubbed) []byte { return s.Pack[:] }, domain)
	return named("scrubbed packs", l.eachAtOneMoment(ctx, d))
}

func (d *DB) DropScrubbed(ctx context.Context, domain string, ids []cas.PackID) error {
	keys := make([][]byte, len(ids))
	for i := range ids {
		keys[i] = ids[i][:]
	}
	_, err := d.alone().exec(ctx, "pgstore: drop scrubbed packs", `DELETE FROM cairn_scrubs WHERE domain = $1 AND pack = ANY($2::bytea[])`,
		domain, keys)
	return err
}
