package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// Restore implements manifest.Store. It writes marks first, since they also
// apply to the rows of the same call.
func (d *DB) Restore(ctx context.Context, seq uint64, rs []manifest.Record) error {
	r, err := newReplay(rs)
	if err == nil {
		err = d.runTransaction(ctx, pgx.Serializable, func(tx conn) error {
			b := &pgx.Batch{}
			if len(rs) == 0 {
				b.Queue(`UPDATE cairn_numbers SET number = $1, last_commit = $1 WHERE number < $1`, int64(seq))
			}
			r.queueAll(b, int64(seq))
			return tx.sendBatch(ctx, b)
		})
	}
	if err != nil {
		return fmt.Errorf("pgstore: restore: %w", err)
	}
	return nil
}

// A replay is records prepared for statements.
type replay struct {
	purged, dropped [][]byte
	files           fileColumns
	versions        versionColumns
	links           linkColumns
}

func newReplay(rs []manifest.Record) (*replay, error) {
	r := &replay{}
	files := make(map[manifest.FileID]*manifest.File)
	versions := make(map[manifest.VersionID]*manifest.Manifest)
	links := make(map[manifest.LinkID]*manifest.Link)
	for i := range rs {
		switch rec := &rs[i]; {
		case rec.File != nil:
			if f := files[rec.File.ID]; f == nil || f.Revision < rec.File.Revision {
				files[rec.File.ID] = rec.File
			}
		case rec.Manifest != nil:
			versions[rec.Manifest.ID] = rec.Manifest
		case rec.Dropped != "":
			r.dropped = append(r.dropped, toBytes(rec.Dropped))
		case rec.Purged != "":
			r.purged = append(r.purged, toBytes(rec.Purged))
		case rec.Link != nil:
			if l := links[rec.Link.ID]; l == nil || l.Revision < rec.Link.Revision {
				links[rec.Link.ID] = rec.Link
			}
		}
	}
	for _, f := range files {
		if err := r.files.addFile(f); err != nil {
			return nil, err
		}
	}
	for _, m := range versions {
		if err := r.versions.addVersion(m); err != nil {
			return nil, err
		}
	}
	for _, l := range links {
		if err := r.links.addLink(l); err != nil {
			return nil, err
		}
	}
	return r, nil
}

func (r *replay) queueAll(b *pgx.Batch, number int64) {
	if len(r.dropped) > 0 {
		queueMarks(b, r.dropped, false, number)
		b.Queue(`DELETE FROM cairn_versions WHERE id = ANY($1)`, r.dropped)
	}
	if len(r.purged) > 0 {
		queueMarks(b, r.purged, true, number)
		b.Queue(`DELETE FROM cairn_versions WHERE file = ANY($1)`, r.purged)
		b.Queue(`DELETE FROM cairn_files WHERE id = ANY($1)`, r.purged)
	}
	if len(r.files.id) > 0 {
		r.files.queueUpsert(b, true)
	}
	if len(r.versions.id) > 0 {
		r.versions.queueUpsert(b, true)
	}
	if len(r.links.id) > 0 {
		r.links.queueUpsert(b, true)
	}
}

// Reindex implements manifest.Store. Rows from several packs may have the same
// path; then the file with the highest ID gets it.
func (d *DB) Reindex(ctx context.Context) error {
	err := d.runTransaction(ctx, pgx.Serializable, func(tx conn) error {
		b := &pgx.Batch{}
		b.Queue(`DELETE FROM cairn_names`)
		b.Queue(`INSERT INTO cairn_names SELECT DISTINCT ON (bucket, path) bucket, path, id FROM cairn_files
			WHERE state = $1 ORDER BY bucket, path, id DESC`, int32(manifest.Active))
		b.Queue(`DELETE FROM cairn_usage`)
		for _, of := range []string{`bucket, true, ''::bytea`, `bucket, false, owner`} {
			b.Queue(`INSERT INTO cairn_usage (bucket, whole, owner, `+usageColumns+`) SELECT `+of+`,
				sum(CASE WHEN state <> $1 THEN 1 ELSE 0 END)::int8, sum(CASE WHEN state <> $1 THEN versions ELSE 0 END)::int8,
				sum(CASE WHEN state <> $1 THEN size ELSE 0 END)::int8, sum(CASE WHEN state <> $1 THEN chunks ELSE 0 END)::int8,
				sum(CASE WHEN state = $1 THEN 1 ELSE 0 END)::int8, sum(CASE WHEN state = $1 THEN versions ELSE 0 END)::int8,
				sum(CASE WHEN state = $1 THEN size ELSE 0 END)::int8, sum(CASE WHEN state = $1 THEN chunks ELSE 0 END)::int8,
				sum(described)::int8
				FROM cairn_files GROUP BY 1, 2, 3`, int32(manifest.Trashed))
		}
		queueLinkSums(b)
		return tx.sendBatch(ctx, b)
	})
	if err != nil {
		return fmt.Errorf("pgstore: reindex: %w", err)
	}
	return nil
}
