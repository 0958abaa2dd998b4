package pgstore

import (
	"context"
	"iter"

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

// AllSegments implements manifest.Listings.
func (d *DB) AllSegments(ctx context.Context, domain string) iter.Seq2[manifest.SegmentSize, error] {
	parse := func(row pgx.CollectableRow) (s manifest.SegmentSize, err error) {
		var digest []byte
		if err := row.Scan(&digest, &s.Bytes); err != nil {
			return s, err
		}
		c := &column{}
		s.Digest = cas.Digest(c.bytes(len(s.Digest), digest))
		return s, (&index{d, domain}).end(c, "segment", digest)
	}
	l := listByID(`SELECT digest, length(data)::int8 FROM cairn_segments WHERE domain = $1 AND digest > $2 ORDER BY digest LIMIT $3`,
		entryPage, parse, func(s manifest.SegmentSize) []byte { return s.Digest[:] }, domain)
	return named("all segments", l.eachAtOneMoment(ctx, d))
}

func (s segments) PutSegments(ctx context.Context, segs []manifest.Segment) error {
	if len(segs) == 0 {
		return nil
	}
	digests, data := make([][]byte, len(segs)), make([][]byte, len(segs))
	for i := range segs {
		digests[i], data[i] = segs[i].Digest[:], segs[i].Data
	}
	_, err := s.d.alone().exec(ctx, "pgstore: put segments", `INSERT INTO cairn_segments SELECT $1::text, * FROM unnest($2::bytea[], $3::bytea[]) AS g
		ON CONFLICT DO NOTHING`, s.domain, digests, data)
	return err
}
