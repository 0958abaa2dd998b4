package pgstore

import (
	"context"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// rows has the read methods, for the rows that c sees.
type rows struct{ c conn }

// File implements manifest.Files, and so do the methods below.
func (s rows) File(ctx context.Context, id manifest.FileID) (*manifest.File, error) {
	return queryOne(ctx, s.c, "file "+string(id), decode[manifest.File], `SELECT row FROM cairn_files WHERE id = $1`, toBytes(id))
}

func (s rows) IsPurged(ctx context.Context, id manifest.FileID) (bool, error) {
	return queryOne(ctx, s.c, "mark of "+string(id), pgx.RowTo[bool], `SELECT EXISTS (SELECT 1 FROM cairn_marks WHERE id = $1)`, toBytes(id))
}

func (s rows) FileByPath(ctx context.Context, bucket, path string) (*manifest.File, error) {
	return queryOne(ctx, s.c, fmt.Sprintf("file %q", path), decode[manifest.File], `SELECT f.row FROM cairn_names AS n JOIN cairn_files AS f ON f.id = n.file
		WHERE n.bucket = $1 AND n.path = $2`, toBytes(bucket), toBytes(path))
}

func (s rows) Manifest(ctx context.Context, id manifest.VersionID) (*manifest.Manifest, error) {
	return queryOne(ctx, s.c, "manifest "+string(id), decode[manifest.Manifest], `SELECT row FROM cairn_versions WHERE id = $1`, toBytes(id))
}

func (s rows) Version(ctx context.Context, file manifest.FileID, n uint64) (*manifest.Manifest, error) {
	return queryOne(ctx, s.c, fmt.Sprintf("version %d of %s", n, file), decode[manifest.Manifest],
		`SELECT row FROM cairn_versions WHERE file = $1 AND version = $2 ORDER BY id DESC LIMIT 1`, toBytes(file), int64(n))
}

// rowPage is how many rows one statement reads. A row has some kilobytes, at
// most manifest.MaxRecord.
const rowPage = 512

func (s rows) Versions(ctx context.Context, file manifest.FileID) iter.Seq2[*manifest.Manifest, error] {
	return s.VersionsBelow(ctx, file, math.MaxInt64)
}

func (s rows) VersionsBelow(ctx context.Context, file manifest.FileID, below uint64) iter.Seq2[*manifest.Manifest, error] {
	l := &pagedList[*manifest.Manifest]{
		query: `SELECT row FROM cairn_versions WHERE file = $1 AND version < $2 ORDER BY version DESC LIMIT $3`,
		args:  []any{toBytes(file)},
		first: []any{int64(min(below, math.MaxInt64))},
		most:  rowPage,
		key:   func(m *manifest.Manifest) []any { return []any{int64(m.Version)} },
		parse: decode[manifest.Manifest],
	}
	return named("versions of "+string(file), l.eachRow(ctx, s.c))
}

func (s rows) OldVersions(ctx context.Context, file manifest.FileID, above uint64, n int) ([]*manifest.Manifest, error) {
	return queryAll(ctx, s.c, "pgstore: versions of "+string(file), decode[manifest.Manifest],
		`SELECT row FROM cairn_versions WHERE file = $1 AND version > $2 ORDER BY version LIMIT $3`,
		toBytes(file), int64(min(above, math.MaxInt64)), n)
}

func (s rows) Rows(ctx context.Context, files []manifest.FileID, versions []manifest.VersionID) ([]*manifest.Row, error) {
	type placed struct {
		n   int64 // from 1
		row *manifest.Row
	}
	found, err := queryAll(ctx, s.c, "pgstore: rows", func(row pgx.CollectableRow) (p placed, err error) {
		var f, v []byte
		if err := row.Scan(&p.n, &f, &v); err != nil {
			return p, err
		}
		p.row, err = parseRow(f, v)
		return p, err
	}, `SELECT n.n, f.row, v.row FROM unnest($1::bytea[]) WITH ORDINALITY AS n(id, n) JOIN cairn_files AS f ON f.id = n.id
			LEFT JOIN cairn_versions AS v ON v.id = f.current
		UNION ALL SELECT n.n + cardinality($1::bytea[]), f.row, v.row FROM unnest($2::bytea[]) WITH ORDINALITY AS n(id, n)
			JOIN cairn_versions AS v ON v.id = n.id JOIN cairn_files AS f ON f.id = v.file`, toByteSlices(files), toByteSlices(versions))
	if err != nil {
		return nil, err
	}
	out := make([]*manifest.Row, len(files)+len(versions))
	for _, p := range found {
		out[p.n-1] = p.row
	}
	return out, nil
}

// parseRow decodes a file and a version, which may be nil.
func parseRow(file, version []byte) (*manifest.Row, error) {
	r := &manifest.Row{File: new(manifest.File)}
	if err := r.File.UnmarshalBinary(file); err != nil {
		return nil, fmt.Errorf("file: %w", err)
	}
	if version == nil {
		return r, nil
	}
	r.Manifest = new(manifest.Manifest)
	if err := r.Manifest.UnmarshalBinary(version); err != nil {
		return nil, fmt.Errorf("version of %s: %w", r.File.ID, err)
	}
	return r, nil
}

func (s rows) Usage(ctx context.Context, bucket string) (manifest.Usage, error) {
	return s.readUsage(ctx, bucket, true, "")
}

func (s rows) OwnerUsage(ctx context.Context, bucket, owner string) (manifest.Usage, error) {
	return s.readUsage(ctx, bucket, false, owner)
}

// usageColumns are in the order of manifest.Usage.Sums.
const usageColumns = `files, versions, bytes, chunks, trashed_files, trashed_versions, trashed_bytes, trashed_chunks, described`

// readUsage returns zero sums if there is no row.
func (s rows) readUsage(ctx context.Context, bucket string, whole bool, owner string) (manifest.Usage, error) {
	us, err := queryAll(ctx, s.c, fmt.Sprintf("pgstore: usage of %q", bucket), func(row pgx.CollectableRow) (u manifest.Usage, err error) {
		var fields []any
		for _, f := range u.Sums() {
			fields = append(fields, f)
		}
		err = row.Scan(fields...)
		return u, err
	}, `SELECT `+usageColumns+` FROM cairn_usage WHERE bucket = $1 AND whole = $2 AND owner = $3`, toBytes(bucket), whole, toBytes(owner))
	if err != nil {
		return manifest.Usage{}, err
	}
	return append(us, manifest.Usage{})[0], nil
}

// PutFile implements manifest.FileChanges, and so do the methods below.
func (t *tx) PutFile(ctx context.Context, f *manifest.File) error {
	// The present row of the file, and the row of the file that has the path.
	found, err := queryAll(ctx, t.c, "", decode[manifest.File], `SELECT row FROM cairn_files WHERE id = $1
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
	if err := c.addFile(f); err != nil {
		return err
	}
	c.queueUpsert(b, false)
	row := *f
	t.records = append(t.records, manifest.Record{File: &row})
	return t.c.sendBatch(ctx, b)
}

// queueUnlist removes the present row f of a file from the index of names and
// from the usage.
func queueUnlist(b *pgx.Batch, f *manifest.File) {
	if f.State == manifest.Active {
		b.Queue(`DELETE FROM cairn_names WHERE bucket = $1 AND path = $2 AND file = $3`, toBytes(f.Bucket), toBytes(f.Path()), toBytes(f.ID))
	}
	queueUsage(b, f, -1)
}

// queueUsage adds f to the usages of its bucket and owner, or subtracts it if
// sign is -1.
func queueUsage(b *pgx.Batch, f *manifest.File, sign int64) {
	var u manifest.Usage
	u.Add(f, sign)
	args := []any{toBytes(f.Bucket), toBytes(f.Owner)}
	for _, n := range u.Sums() {
		args = append(args, *n)
	}
	b.Queue(`INSERT INTO cairn_usage AS u (bucket, whole, owner, `+usageColumns+`)
		VALUES ($1, true, '', $3, $4, $5, $6, $7, $8, $9, $10, $11), ($1, false, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
		ON CONFLICT (bucket, whole, owner) DO UPDATE SET files = u.files + excluded.files, versions = u.versions + excluded.versions,
			bytes = u.bytes + excluded.bytes, chunks = u.chunks + excluded.chunks,
			trashed_files = u.trashed_files + excluded.trashed_files, trashed_versions = u.trashed_versions + excluded.trashed_versions,
			trashed_bytes = u.trashed_bytes + excluded.trashed_bytes, trashed_chunks = u.trashed_chunks + excluded.trashed_chunks,
			described = u.described + excluded.described`, args...)
}

func (t *tx) PutManifest(ctx context.Context, m *manifest.Manifest) error {
	row := *m
	c := &versionColumns{}
	if err := c.addVersion(m); err != nil {
		return err
	}
	b := &pgx.Batch{}
	c.queueUpsert(b, false)
	t.records = append(t.records, manifest.Record{Manifest: &row})
	return t.c.sendBatch(ctx, b)
}

func (t *tx) DropManifests(ctx context.Context, ids []manifest.VersionID, at time.Time) error {
	gone, err := t.dig(ctx, at, `id = ANY($1)`, toByteSlices(ids))
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
	queueMarks(b, gone, false, t.number())
	return t.c.sendBatch(ctx, b)
}

// queueMarks adds marks of files or versions that commit number removes for good.
func queueMarks(b *pgx.Batch, ids [][]byte, file bool, number int64) {
	b.Queue(`INSERT INTO cairn_marks AS m SELECT n.id, $2::bool, $3::int8 FROM unnest($1::bytea[]) AS n(id)
		ON CONFLICT (id) DO UPDATE SET number = excluded.number WHERE m.number < excluded.number`, ids, file, number)
}

func (t *tx) Purge(ctx context.Context, id manifest.FileID, at time.Time) error {
	f, err := t.File(ctx, id)
	if err != nil {
		return err
	}
	if _, err := t.dig(ctx, at, `file = $1`, toBytes(id)); err != nil {
		return fmt.Errorf("pgstore: purge %s: %w", id, err)
	}
	b := &pgx.Batch{}
	queueUnlist(b, f)
	b.Queue(`DELETE FROM cairn_files WHERE id = $1`, toBytes(id))
	queueMarks(b, toByteSlices([]manifest.FileID{id}), true, t.number())
	t.records = append(t.records, manifest.Record{Purged: id})
	return t.c.sendBatch(ctx, b)
}
