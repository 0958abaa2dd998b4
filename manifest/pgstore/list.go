package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"iter"
	"math"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// List implements manifest.Listings, and so do the methods below.
func (d *DB) List(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	return named("list", listOf(bucket, r).eachAtOneMoment(ctx, d))
}

func listOf(bucket string, r *manifest.Range) *pagedList[*manifest.Listed] {
	if r == nil {
		r = &manifest.Range{}
	}
	l := &pagedList[*manifest.Listed]{
		most:  rowPage,
		key:   func(l *manifest.Listed) []any { return []any{toBytes(l.Key)} },
		parse: parseListed,
	}
	versions := 0
	if r.Versioned {
		versions = 2
	}
	if r.State != manifest.Active {
		l.query = `SELECT f.id, f.row, v.row FROM cairn_files AS f LEFT JOIN cairn_versions AS v ON v.id = f.current
			WHERE f.bucket = $1 AND f.state = $2 AND f.versions >= $3 AND f.id > $4 ORDER BY f.id LIMIT $5`
		l.args = []any{toBytes(bucket), int32(r.State), versions}
		l.first = []any{toBytes(r.After)}
		return l
	}
	end := cmp.Or(string(prefixEnd(toBytes(r.Prefix))), afterPaths)
	l.args, l.first = []any{toBytes(bucket), toBytes(r.Prefix), toBytes(end)}, []any{toBytes(r.After)}
	rows, next := `f.row, v.row FROM cairn_names AS n JOIN cairn_files AS f ON f.id = n.file AND f.versions >= `+strconv.Itoa(versions)+`
		LEFT JOIN cairn_versions AS v ON v.id = f.current`, `> $4 ORDER BY n.path`
	if r.Bare {
		rows, l.most = `NULL::bytea, NULL::bytea FROM cairn_names AS n`, entryPage
	}
	if r.Reverse {
		next, l.first = `< $4 ORDER BY n.path DESC`, []any{toBytes(cmp.Or(r.After, afterPaths))}
	}
	l.query = `SELECT n.path, ` + rows + ` WHERE n.bucket = $1 AND n.path >= $2 AND n.path < $3 AND n.path ` + next + ` LIMIT $5`
	return l
}

// afterPaths comes after all paths, which are UTF-8.
const afterPaths = "\xff"

// prefixEnd returns the first key after all keys that begin with prefix, or nil
// if there is none.
func prefixEnd(prefix []byte) []byte {
	end := bytes.Clone(prefix)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end[:i+1]
		}
	}
	return nil
}

func parseListed(row pgx.CollectableRow) (*manifest.Listed, error) {
	var key, file, current []byte
	if err := row.Scan(&key, &file, &current); err != nil {
		return nil, err
	}
	if file == nil {
		return &manifest.Listed{Key: string(key)}, nil
	}
	l := &manifest.Listed{File: new(manifest.File), Key: string(key)}
	if err := l.File.UnmarshalBinary(file); err != nil {
		return nil, fmt.Errorf("file %q: %w", key, err)
	}
	if current == nil {
		return l, nil
	}
	l.Current = new(manifest.Manifest)
	if err := l.Current.UnmarshalBinary(current); err != nil {
		return nil, fmt.Errorf("manifest %s: %w", l.File.Current, err)
	}
	return l, nil
}

func (d *DB) AllFiles(ctx context.Context) iter.Seq2[*manifest.File, error] {
	return named("all files", listOfFiles().eachAtOneMoment(ctx, d))
}

func listOfFiles() *pagedList[*manifest.File] {
	return listByID(`SELECT row FROM cairn_files WHERE id > $1 ORDER BY id LIMIT $2`,
		rowPage, decode[manifest.File], func(f *manifest.File) []byte { return toBytes(f.ID) })
}

func (d *DB) View(ctx context.Context, fn func(manifest.View) error) error {
	c, end, err := d.beginScan(ctx)
	if err != nil {
		return fmt.Errorf("pgstore: view: %w", err)
	}
	defer end()
	return fn(view{rows{c}})
}

// A view has the methods of manifest.View, in a transaction that sees the rows of
// one moment.
type view struct{ rows }

func (v view) AllFiles(ctx context.Context) iter.Seq2[*manifest.File, error] {
	return named("all files", listOfFiles().eachRow(ctx, v.c))
}

func (v view) List(ctx context.Context, bucket string, r *manifest.Range) iter.Seq2[*manifest.Listed, error] {
	return named("list", listOf(bucket, r).eachRow(ctx, v.c))
}

func (v view) Buckets(ctx context.Context) ([]string, error) { return bucketNames(ctx, v.c) }

func (v view) AllLinks(ctx context.Context, bucket string) iter.Seq2[*manifest.Link, error] {
	return named("links", listLinks(bucket).eachRow(ctx, v.c))
}

func (d *DB) AllRows(ctx context.Context, bucket string) iter.Seq2[*manifest.Row, error] {
	l := &pagedList[*manifest.Row]{
		query: `SELECT f.row, v.row FROM cairn_files AS f LEFT JOIN cairn_versions AS v ON v.file = f.id
			WHERE ($1 OR f.bucket = $2) AND f.id >= $3 AND (f.id > $3 OR v.version < $4)
			ORDER BY f.id, v.version DESC LIMIT $5`,
		args:  []any{bucket == "", toBytes(bucket)},
		first: []any{[]byte{}, int64(math.MaxInt64)},
		most:  rowPage,
		key: func(r *manifest.Row) []any {
			if r.Manifest == nil {
				return []any{toBytes(r.File.ID), int64(0)}
			}
			return []any{toBytes(r.File.ID), int64(r.Manifest.Version)}
		},
		parse: rowParser(),
	}
	return named("all rows", l.eachAtOneMoment(ctx, d))
}

// rowParser parses rows of a file and a version. Consecutive rows of one file
// share the File.
func rowParser() pgx.RowToFunc[*manifest.Row] {
	var file []byte
	var shared *manifest.File
	return func(row pgx.CollectableRow) (*manifest.Row, error) {
		var f, v []byte
		if err := row.Scan(&f, &v); err != nil {
			return nil, err
		}
		if shared == nil || !bytes.Equal(f, file) {
			file, shared = f, new(manifest.File)
			if err := shared.UnmarshalBinary(f); err != nil {
				return nil, fmt.Errorf("file: %w", err)
			}
		}
		r := &manifest.Row{File: shared}
		if v == nil {
			return r, nil
		}
		r.Manifest = new(manifest.Manifest)
		if err := r.Manifest.UnmarshalBinary(v); err != nil {
			return nil, fmt.Errorf("version of %s: %w", shared.ID, err)
		}
		return r, nil
	}
}

func (d *DB) TrashedBefore(ctx context.Context, bucket string, before time.Time, after manifest.FileID, limit int) ([]*manifest.File, error) {
	return queryAll(ctx, d.alone(), fmt.Sprintf("pgstore: trash of %q", bucket), decode[manifest.File], `SELECT row FROM cairn_files
		WHERE bucket = $1 AND state = $2 AND deleted < $3 AND id > $4 ORDER BY id LIMIT $5`,
		toBytes(bucket), int32(manifest.Trashed), millis(before), toBytes(after), limit)
}

func (d *DB) Marks(ctx context.Context) iter.Seq2[manifest.Record, error] {
	l := listByID(`SELECT id, file FROM cairn_marks WHERE id > $1 ORDER BY id LIMIT $2`,
		entryPage, func(row pgx.CollectableRow) (r manifest.Record, err error) {
			var id []byte
			var file bool
			err = row.Scan(&id, &file)
			if file {
				return manifest.Record{Purged: manifest.FileID(id)}, err
			}
			return manifest.Record{Dropped: manifest.VersionID(id)}, err
		}, func(r manifest.Record) []byte { return toBytes(string(r.Purged) + string(r.Dropped)) })
	return named("marks", l.eachAtOneMoment(ctx, d))
}

func (d *DB) OwnerUsages(ctx context.Context) iter.Seq2[*manifest.OwnedUsage, error] {
	l := &pagedList[*manifest.OwnedUsage]{
		query: `SELECT bucket, owner, ` + usageColumns + ` FROM cairn_usage
			WHERE NOT whole AND (bucket, whole, owner) > ($1, false, $2) ORDER BY bucket, whole, owner LIMIT $3`,
		first: []any{[]byte{}, []byte{}}, // a bucket has a name
		most:  entryPage,
		key:   func(o *manifest.OwnedUsage) []any { return []any{toBytes(o.Bucket), toBytes(o.Owner)} },
		parse: parseOwnedUsage,
	}
	return named("usage of owners", l.eachAtOneMoment(ctx, d))
}

func parseOwnedUsage(row pgx.CollectableRow) (*manifest.OwnedUsage, error) {
	o := &manifest.OwnedUsage{}
	var bucket, owner []byte
	fields := []any{&bucket, &owner}
	for _, f := range o.Sums() {
		fields = append(fields, f)
	}
	err := row.Scan(fields...)
	o.Bucket, o.Owner = string(bucket), string(owner)
	return o, err
}

func (d *DB) Buckets(ctx context.Context) ([]string, error) { return bucketNames(ctx, d.alone()) }

func bucketNames(ctx context.Context, c conn) ([]string, error) {
	return queryAll(ctx, c, "pgstore: buckets", func(row pgx.CollectableRow) (string, error) {
		name, err := pgx.RowTo[[]byte](row)
		return string(name), err
	}, `SELECT bucket FROM cairn_usage WHERE whole ORDER BY bucket`)
}
