package pgstore

import (
	"context"
	"fmt"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// Roots implements manifest.Roots.
func (d *DB) Roots(ctx context.Context, domain string) iter.Seq2[*manifest.Root, error] {
	return named("roots", atOneMoment(ctx, d, func(c conn, _ func(), yield func(*manifest.Root, error) bool) {
		homes, err := rows{c}.Homes(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		// elsewhere are buckets whose versions are not in the domain. moving are
		// buckets that a move copies from or to it: their uploads count whatever
		// domain they name.
		elsewhere, moving := [][]byte{}, [][]byte{}
		for _, h := range homes {
			if h.Domain != "" && !h.In(domain) {
				elsewhere = append(elsewhere, toBytes(h.Bucket))
			}
			if h.To != "" && h.In(domain) {
				moving = append(moving, toBytes(h.Bucket))
			}
		}
		if versionRoots(elsewhere).yieldPages(ctx, c, func() {}, yield) {
			uploadRoots(ctx, c, domain, moving, yield)
		}
	}))
}

func versionRoots(elsewhere [][]byte) *pagedList[*manifest.Root] {
	return listByID(`SELECT v.row FROM cairn_versions AS v JOIN cairn_files AS f ON f.id = v.file
			WHERE NOT f.bucket = ANY($1) AND v.id > $2 ORDER BY v.id LIMIT $3`,
		rowPage, func(row pgx.CollectableRow) (*manifest.Root, error) {
			m, err := decode[manifest.Manifest](row)
			if err != nil {
				return nil, fmt.Errorf("version: %w", err)
			}
			return &manifest.Root{Version: m.ID, Top: m.Top, Chunks: m.Inline}, nil
		}, func(r *manifest.Root) []byte { return toBytes(r.Version) }, elsewhere)
}

func uploadRoots(ctx context.Context, c conn, domain string, moving [][]byte, yield func(*manifest.Root, error) bool) {
	l := &pagedList[part]{
		query: `SELECT p.upload, p.part, p.refs FROM cairn_parts AS p JOIN cairn_uploads AS u ON u.id = p.upload
			WHERE u.under_way AND (NOT u.listed OR p.part >= $3) AND (u.domain = $1 OR u.bucket = ANY($2)) AND (p.upload, p.part) > ($4, $5)
			ORDER BY p.upload, p.part LIMIT $6`,
		args:  []any{toBytes(domain), moving, int64(manifest.SentParts)},
		first: []any{[]byte{}, int64(-1)},
		most:  partPage,
		key:   func(p part) []any { return []any{toBytes(p.upload), p.n} },
		parse: parsePart,
	}
	l.yieldPages(ctx, c, func() {}, func(p part, err error) bool {
		if err != nil {
			return yield(nil, err)
		}
		return yield(&manifest.Root{Upload: p.upload, Chunks: p.refs}, nil)
	})
}
