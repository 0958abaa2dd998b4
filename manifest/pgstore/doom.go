package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// DoomPack implements manifest.DoomChanges. Whoever adds frames to the pack
// writes its row too: the database aborts this transaction if they came to their
// end after it had begun, and those that come later find that the pack is
// doomed.
func (t *tx) DoomPack(ctx context.Context, id cas.PackID, size int64, voids []cas.Void) error {
	what := fmt.Sprintf("pgstore: doom pack %s", id)
	if t.domain == "" {
		return addContext(what, errNoDomain)
	}
	x := &index{domain: t.domain}
	var frames int64
	p, err := queryOne(ctx, t.c, what, func(row pgx.CollectableRow) (cas.PackEntry, error) {
		return x.scanPack(row, &frames)
	}, `SELECT `+selectPack+`, frames FROM cairn_packs WHERE domain = $1 AND id = $2 AND known FOR UPDATE`, t.domain, id[:])
	if err != nil {
		return err
	}
	if !p.Doomed {
		base, err := t.checkpoint(ctx, t.domain)
		if err != nil {
			return err
		}
		if !p.Sealed || frames > 0 || p.LastCommit > base {
			return addContext(what, manifest.ErrNotDead)
		}
		if _, err := t.c.exec(ctx, what, `UPDATE cairn_packs SET doomed = true, size = $3 WHERE domain = $1 AND id = $2`, t.domain, id[:], size); err != nil {
			return err
		}
	}
	t.records = append(t.records, manifest.Record{Doomed: &manifest.Doom{Pack: id, Writer: p.Writer, Serial: p.Serial}})
	dead := &manifest.Census{Writer: p.Writer}
	dead.Add(p.Serial)
	all := []*manifest.Census{dead}
	for _, c := range manifest.CountVoids(voids) {
		t.records = append(t.records, manifest.Record{Census: c})
		all = append(all, c)
	}
	return addContext(what, t.mergeCensus(ctx, t.domain, all))
}

// RestoreCensus implements manifest.DoomChanges.
func (t *tx) RestoreCensus(ctx context.Context, domain string, c *manifest.Census) error {
	return addContext("pgstore: restore census", t.mergeCensus(ctx, domain, []*manifest.Census{c}))
}

// RestoreDooms implements manifest.DoomChanges.
func (t *tx) RestoreDooms(ctx context.Context, domain string, ids []cas.PackID) error {
	_, err := t.c.exec(ctx, "pgstore: restore dooms", `UPDATE cairn_packs SET sealed = true, doomed = true
		WHERE domain = $1 AND id = ANY($2) AND known`, domain, bytesOf(ids))
	return err
}

// mergeCensus adds dead serials to those that are counted.
func (t *tx) mergeCensus(ctx context.Context, domain string, cs []*manifest.Census) error {
	merged := make(map[[16]byte]*manifest.Census)
	var writers [][]byte
	for _, c := range cs {
		if merged[c.Writer] == nil {
			merged[c.Writer] = &manifest.Census{Writer: c.Writer}
			writers = append(writers, c.Writer[:])
		}
		merged[c.Writer].Merge(c)
	}
	known, err := queryAll(ctx, t.c, "", decode[manifest.Census], `SELECT row FROM cairn_census WHERE domain = $1 AND writer = ANY($2)`, domain, writers)
	if err != nil {
		return err
	}
	for _, c := range known {
		merged[c.Writer].Merge(c)
	}
	var encoded [][]byte
	for _, w := range writers {
		p, err := merged[[16]byte(w)].AppendBinary(nil)
		if err != nil {
			return err
		}
		encoded = append(encoded, p)
	}
	_, err = t.c.exec(ctx, "", `INSERT INTO cairn_census SELECT $1::text, * FROM unnest($2::bytea[], $3::bytea[]) AS n
		ON CONFLICT (domain, writer) DO UPDATE SET row = excluded.row`, domain, writers, encoded)
	return err
}

// Dead implements manifest.Collections.
func (d *DB) Dead(ctx context.Context, domain string) ([]*manifest.Census, error) {
	return queryAll(ctx, d.alone(), "pgstore: dead packs", decode[manifest.Census], `SELECT row FROM cairn_census WHERE domain = $1 ORDER BY writer`, domain)
}
