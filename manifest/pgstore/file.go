package pgstore

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// rows finds rows as c sees them.
type rows struct{ c conn }

// File implements manifest.Files, and so do the methods below.
func (s rows) File(ctx context.Context, id manifest.FileID) (*manifest.File, error) {
	f, err := one(ctx, s.c, decode[manifest.File], `SELECT row FROM cairn_files WHERE id = $1`, toBytes(id))
	if err != nil {
		return nil, fmt.Errorf("file %s: %w", id, err)
	}
	return f, nil
}

func (s rows) FileByPath(ctx context.Context, bucket, path string) (*manifest.File, error) {
	f, err := one(ctx, s.c, decode[manifest.File], `SELECT f.row FROM cairn_names AS n JOIN cairn_files AS f ON f.id = n.file
		WHERE n.bucket = $1 AND n.path = $2`, toBytes(bucket), toBytes(path))
	if err != nil {
		return nil, fmt.Errorf("file %q: %w", path, err)
	}
	return f, nil
}

func (s rows) Manifest(ctx context.Context, id manifest.VersionID) (*manifest.Manifest, error) {
	m, err := one(ctx, s.c, decode[manifest.Manifest], `SELECT row FROM cairn_versions WHERE id = $1`, toBytes(id))
	if err != nil {
		return nil, fmt.Errorf("manifest %s: %w", id, err)
	}
	return m, nil
}

func (s rows) Version(ctx context.Context, file manifest.FileID, n uint64) (*manifest.Manifest, error) {
	m, err := one(ctx, s.c, decode[manifest.Manifest],
		`SELECT row FROM cairn_versions WHERE file = $1 AND version = $2 ORDER BY id DESC LIMIT 1`, toBytes(file), int64(n))
	if err != nil {
		return nil, fmt.Errorf("version %d of %s: %w", n, file, err)
	}
	return m, nil
}

// rowPage is how many rows are read at once: some kilobytes each, at most
// manifest.MaxRecord.
const rowPage = 512

func (s rows) Versions(ctx context.Context, file manifest.FileID) iter.Seq2[*manifest.Manifest, error] {
	l := &pagedList[*manifest.Manifest]{
		query: `SELECT row FROM cairn_versions WHERE file = $1 AND version < $2 ORDER BY version DESC LIMIT $3`,
		args:  []any{toBytes(file)},
		first: []any{int64(math.MaxInt64)},
		most:  rowPage,
		key:   func(m *manifest.Manifest) []any { return []any{int64(m.Version)} },
		parse: decode[manifest.Manifest],
	}
	return named("versions of "+string(file), l.eachRow(ctx, s.c))
}

func (s rows) OldVersions(ctx context.Context, file manifest.FileID, above uint64, n int) ([]*manifest.Manifest, error) {
	ms, err := collect(ctx, s.c, decode[manifest.Manifest],
		`SELECT row FROM cairn_versions WHERE file = $1 AND version > $2 ORDER BY version LIMIT $3`,
		toBytes(file), int64(min(above, math.MaxInt64)), n)
	if err != nil {
		return nil, fmt.Errorf("pgstore: versions of %s: %w", file, err)
	}
	return ms, nil
}

func (s rows) Usage(ctx context.Context, bucket string) (manifest.Usage, error) {
	return s.readUsage(ctx, bucket, true, "")
}

func (s rows) OwnerUsage(ctx context.Context, bucket, owner string) (manifest.Usage, error) {
	return s.readUsage(ctx, bucket, false, owner)
}

// usageColumns are in the order of usageFields.
const usageColumns = `files, versions, bytes, chunks, trashed_files, trashed_versions, trashed_bytes, trashed_chunks`

// usageFields lists the sums of a usage.
func usageFields(u *manifest.Usage) []*int64 {
	return []*int64{&u.Files, &u.Versions, &u.Bytes, &u.Chunks,
		&u.TrashedFiles, &u.TrashedVersions, &u.TrashedBytes, &u.TrashedChunks}
}

// readUsage sums up, so that what is not there is zeros.
func (s rows) readUsage(ctx context.Context, bucket string, whole bool, owner string) (manifest.Usage, error) {
	us, err := collect(ctx, s.c, func(row pgx.CollectableRow) (u manifest.Usage, err error) {
		var fields []any
		for _, f := range usageFields(&u) {
			fields = append(fields, f)
		}
		err = row.Scan(fields...)
		return u, err
	}, `SELECT `+usageColumns+` FROM cairn_usage WHERE bucket = $1 AND whole = $2 AND owner = $3`, toBytes(bucket), whole, toBytes(owner))
	if err != nil {
		return manifest.Usage{}, fmt.Errorf("pgstore: usage of %q: %w", bucket, err)
	}
	return append(us, manifest.Usage{})[0], nil
}

// PutFile implements manifest.FileChanges, and so do the methods below.
func (t *tx) PutFile(ctx context.Context, f *manifest.File) error {
	// The row that there is, and the one that has the path.
	found, err := collect(ctx, t.c, decode[manifest.File], `SELECT row FROM cairn_files WHERE id = $1
		UNION ALL SELECT f.row FROM cairn_names AS n JOIN cairn_files AS f ON f.id = n.file
		WHERE n.bucket = $2 AND n.path = $3 AND f.id <> $1`, toBytes(f.ID), toBytes(f.Bucket), toBytes(f.Path()))
	if err != nil {
		return fmt.Errorf("pgstore: put file %s: %w", f.ID, err)
	}
	b := &pgx.Batch{}
	for _, old := range found {
		switch {
		case old.ID == f.ID:
			queueUnlist(b, old)
		case f.State == manifest.Active:
			return manifest.ErrConflict
		}
	}
	f.Revision++
	if f.State == manifest.Active {
		b.Queue(`INSERT INTO cairn_names VALUES ($1, $2, $3)`, toBytes(f.Bucket), toBytes(f.Path()), toBytes(f.ID))
	}
	queueUsage(b, f, 1)
	c := &fileColumns{}
	if err := c.add(f); err != nil {
		return err
	}
	c.queueUpsert(b, false)
	row := *f
	t.records = append(t.records, manifest.Record{File: &row})
	return t.c.sendBatch(ctx, b)
}

// queueUnlist takes f, as it stands in the database, out of the index of names and
// the usage.
func queueUnlist(b *pgx.Batch, f *manifest.File) {
	if f.State == manifest.Active {
		b.Queue(`DELETE FROM cairn_names WHERE bucket = $1 AND path = $2 AND file = $3`, toBytes(f.Bucket), toBytes(f.Path()), toBytes(f.ID))
	}
	queueUsage(b, f, -1)
}

// queueUsage adds f to the usages that it counts in, or takes it out of them.
func queueUsage(b *pgx.Batch, f *manifest.File, sign int64) {
	var u manifest.Usage
	if f.State == manifest.Trashed {
		u = manifest.Usage{TrashedFiles: sign, TrashedVersions: sign * int64(f.Versions), TrashedBytes: sign * f.TotalSize, TrashedChunks: sign * f.TotalChunks}
	} else {
		u = manifest.Usage{Files: sign, Versions: sign * int64(f.Versions), Bytes: sign * f.TotalSize, Chunks: sign * f.TotalChunks}
	}
	args := []any{toBytes(f.Bucket), toBytes(f.Owner)}
	for _, n := range usageFields(&u) {
		args = append(args, *n)
	}
	b.Queue(`INSERT INTO cairn_usage AS u (bucket, whole, owner, `+usageColumns+`)
		VALUES ($1, true, '', $3, $4, $5, $6, $7, $8, $9, $10), ($1, false, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (bucket, whole, owner) DO UPDATE SET files = u.files + excluded.files, versions = u.versions + excluded.versions,
			bytes = u.bytes + excluded.bytes, chunks = u.chunks + excluded.chunks,
			trashed_files = u.trashed_files + excluded.trashed_files, trashed_versions = u.trashed_versions + excluded.trashed_versions,
			trashed_bytes = u.trashed_bytes + excluded.trashed_bytes, trashed_chunks = u.trashed_chunks + excluded.trashed_chunks`, args...)
}

func (t *tx) PutManifest(ctx context.Context, m *manifest.Manifest) error {
	row := *m
	c := &versionColumns{}
	if err := c.add(m); err != nil {
		return err
	}
	b := &pgx.Batch{}
	c.queueUpsert(b, false)
	t.records = append(t.records, manifest.Record{Manifest: &row})
	return t.c.sendBatch(ctx, b)
}

func (t *tx) DropManifests(ctx context.Context, ids []manifest.VersionID) error {
	gone, err := collect(ctx, t.c, pgx.RowTo[[]byte], `DELETE FROM cairn_versions WHERE id = ANY($1) RETURNING id`, toByteSlices(ids))
	if err != nil {
		return fmt.Errorf("pgstore: drop manifests: %w", err)
	}
	was := make(map[manifest.VersionID]bool, len(gone))
	for _, id := range gone {
		was[manifest.VersionID(id)] = true
	}
	for _, id := range ids {
		if !was[id] {
			return fmt.Errorf("manifest %s: %w", id, fs.ErrNotExist)
		}
		t.records = append(t.records, manifest.Record{Dropped: id})
	}
	b := &pgx.Batch{}
	queueMarks(b, gone, false)
	return t.c.sendBatch(ctx, b)
}

// queueMarks notes what is gone for good.
func queueMarks(b *pgx.Batch, ids [][]byte, file bool) {
	b.Queue(`INSERT INTO cairn_marks SELECT m.id, $2::bool FROM unnest($1::bytea[]) AS m(id) ON CONFLICT DO NOTHING`, ids, file)
}

func (t *tx) Purge(ctx context.Context, id manifest.FileID) error {
	f, err := t.File(ctx, id)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	queueUnlist(b, f)
	b.Queue(`DELETE FROM cairn_versions WHERE file = $1`, toBytes(id))
	b.Queue(`DELETE FROM cairn_files WHERE id = $1`, toBytes(id))
	queueMarks(b, toByteSlices([]manifest.FileID{id}), true)
	t.records = append(t.records, manifest.Record{Purged: id})
	return t.c.sendBatch(ctx, b)
}
