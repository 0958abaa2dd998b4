package pgstore

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// segments are the segments of a domain.
type segments struct {
	d      *DB
	domain string
}

// Segments implements manifest.Store.
func (d *DB) Segments(domain string) manifest.Segments { return segments{d, domain} }

func (s segments) Segments(ctx context.Context, ds []cas.Digest) ([][]byte, error) {
	out := make([][]byte, len(ds))
	if len(ds) == 0 {
		return out, nil
	}
	type segment struct{ digest, data []byte }
	found, err := queryAll(ctx, s.d.alone(), "pgstore: segments", func(row pgx.CollectableRow) (g segment, err error) {
		return g, row.Scan(&g.digest, &g.data)
	}, `SELECT digest, data FROM cairn_segments WHERE domain = $1 AND digest = ANY($2)`, s.domain, digestBytes(ds))
	if err != nil {
		return nil, err
	}
	known := make(map[string][]byte, len(found))
	for _, g := range found {
		known[string(g.digest)] = g.data
	}
	for i := range ds {
		out[i] = known[string(ds[i][:])]
	}
	return out, nil
}

func (s segments) PutSegments(ctx context.Context, segs []manifest.Segment) error {
	if len(segs) == 0 {
		return nil
	}
	digests, data := make([][]byte, len(segs)), make([][]byte, len(segs))
	for i := range segs {
		digests[i], data[i] = segs[i].Digest[:], segs[i].Data
	}
	err := s.d.runTransaction(ctx, pgx.ReadCommitted, func(tx conn) error {
		c, err := lockDomain(ctx, tx, s.domain, false)
		if err != nil {
			return err
		}
		b := &pgx.Batch{}
		b.Queue(`INSERT INTO cairn_unindexed AS u SELECT DISTINCT $1::text, n.digest, $3::int8 FROM unnest($2::bytea[]) AS n(digest)
			WHERE NOT EXISTS (SELECT 1 FROM cairn_chunks AS c WHERE c.domain = $1 AND c.digest = n.digest) ORDER BY n.digest
			ON CONFLICT (domain, digest) DO UPDATE SET epoch = excluded.epoch WHERE u.epoch < excluded.epoch`, s.domain, digests, c.epoch)
		b.Queue(`INSERT INTO cairn_segments SELECT $1::text, n.* FROM unnest($2::bytea[], $3::bytea[]) AS n(digest, data) ORDER BY n.digest
			ON CONFLICT DO NOTHING`, s.domain, digests, data)
		return tx.sendBatch(ctx, b)
	})
	return addContext("pgstore: put segments", err)
}

// DropUnindexed implements manifest.Collections. It locks the row of the domain for
// itself, so nobody puts a segment or adds an entry meanwhile.
func (d *DB) DropUnindexed(ctx context.Context, domain string, after cas.Digest, limit int) (last cas.Digest, more bool, err error) {
	var page [][]byte
	err = d.runTransaction(ctx, pgx.ReadCommitted, func(tx conn) error {
		c, err := lockDomain(ctx, tx, domain, true)
		if err != nil {
			return err
		}
		page, err = queryAll(ctx, tx, "", pgx.RowTo[[]byte], `WITH page AS (
				SELECT digest, epoch FROM cairn_unindexed WHERE domain = $1 AND digest > $2 ORDER BY digest LIMIT $3),
			old AS (
				DELETE FROM cairn_unindexed AS u USING page WHERE u.domain = $1 AND u.digest = page.digest AND page.epoch < $4 RETURNING u.digest),
			gone AS (
				DELETE FROM cairn_segments AS g USING old WHERE g.domain = $1 AND g.digest = old.digest
					AND NOT EXISTS (SELECT 1 FROM cairn_chunks AS c WHERE c.domain = $1 AND c.digest = old.digest))
			SELECT digest FROM page ORDER BY digest`, domain, after[:], limit, c.floor)
		return err
	})
	if err != nil || len(page) == 0 {
		return last, false, addContext("pgstore: drop segments that are not indexed", err)
	}
	k := &column{}
	last = cas.Digest(k.bytes(len(last), page[len(page)-1]))
	return last, len(page) == limit, k.end("segment", page[len(page)-1])
}
