package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// Upload implements manifest.Uploads, and so do the methods below.
func (s rows) Upload(ctx context.Context, bucket string, id manifest.UploadID) (*manifest.Upload, error) {
	return queryOne(ctx, s.c, "upload "+string(id), decode[manifest.Upload], `SELECT row FROM cairn_uploads WHERE bucket = $1 AND id = $2`, toBytes(bucket), toBytes(id))
}

// partPage is how many parts one statement reads. A part may have the references
// of some thousand chunks.
const partPage = 32

// A part is a part of an upload.
type part struct {
	upload manifest.UploadID
	n      int64
	refs   []cas.Ref
}

func parsePart(row pgx.CollectableRow) (p part, err error) {
	var id, refs []byte
	if err := row.Scan(&id, &p.n, &refs); err != nil {
		return p, err
	}
	p.upload = manifest.UploadID(id)
	if p.refs, err = manifest.ParseRefs(refs); err != nil {
		return p, fmt.Errorf("part of upload %s: %w", id, err)
	}
	return p, nil
}

func (s rows) UploadParts(ctx context.Context, id manifest.UploadID, from uint64) iter.Seq2[[]cas.Ref, error] {
	l := &pagedList[part]{
		query: `SELECT upload, part, refs FROM cairn_parts WHERE upload = $1 AND part < $2 AND part > $3 ORDER BY part LIMIT $4`,
		args:  []any{toBytes(id), int64(manifest.SentParts)},
		first: []any{int64(min(from, manifest.SentParts)) - 1},
		most:  partPage,
		key:   func(p part) []any { return []any{p.n} },
		parse: parsePart,
	}
	return func(yield func([]cas.Ref, error) bool) {
		for p, err := range named("parts", l.eachRow(ctx, s.c)) {
			if !yield(p.refs, err) {
				return
			}
		}
	}
}

func (s rows) UploadRest(ctx context.Context, id manifest.UploadID) ([]byte, error) {
	p, err := queryOne(ctx, s.c, "", pgx.RowTo[[]byte], `SELECT rest FROM cairn_rests WHERE upload = $1`, toBytes(id))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("rest of upload %s: %w", id, err)
	}
	return p, nil
}

func (s rows) UploadsUnderWay(ctx context.Context, bucket string) iter.Seq2[*manifest.Upload, error] {
	l := listByID(`SELECT row FROM cairn_uploads WHERE bucket = $1 AND under_way AND id > $2 ORDER BY id LIMIT $3`,
		rowPage, decode[manifest.Upload], func(u *manifest.Upload) []byte { return toBytes(u.ID) }, toBytes(bucket))
	return named("uploads under way", l.eachRow(ctx, s.c))
}

func (s rows) UploadsHeld(ctx context.Context, bucket, who string) (manifest.Holding, error) {
	return queryOne(ctx, s.c, "pgstore: uploads held", func(row pgx.CollectableRow) (h manifest.Holding, err error) {
		return h, row.Scan(&h.Uploads, &h.Bytes)
	}, `SELECT count(*), coalesce(sum(held), 0)::int8 FROM cairn_uploads WHERE bucket = $1 AND who = $2 AND under_way`, toBytes(bucket), toBytes(who))
}

func (s rows) HeldBytes(ctx context.Context, bucket string) (int64, error) {
	return queryOne(ctx, s.c, "pgstore: uploads held", pgx.RowTo[int64],
		`SELECT coalesce(sum(held), 0)::int8 FROM cairn_uploads WHERE bucket = $1 AND under_way`, toBytes(bucket))
}

// uploads returns the uploads that a statement finds.
func (s rows) uploads(ctx context.Context, sql string, args ...any) ([]*manifest.Upload, error) {
	return queryAll(ctx, s.c, "pgstore: uploads", decode[manifest.Upload], sql, args...)
}

func (s rows) UploadsOf(ctx context.Context, bucket, who string, limit int) ([]*manifest.Upload, error) {
	return s.uploads(ctx, `SELECT row FROM cairn_uploads WHERE bucket = $1 AND who = $2 AND under_way AND held > 0
		ORDER BY expires, id LIMIT $3`, toBytes(bucket), toBytes(who), limit)
}

func (s rows) UploadsWaiting(ctx context.Context, bucket string, part, after manifest.UploadID, limit int) ([]*manifest.Upload, error) {
	return s.uploads(ctx, `SELECT u.row FROM cairn_joins AS j JOIN cairn_uploads AS u ON u.bucket = j.bucket AND u.id = j.whole
		WHERE j.bucket = $1 AND j.part = $2 AND j.whole > $3 ORDER BY j.whole LIMIT $4`, toBytes(bucket), toBytes(part), toBytes(after), limit)
}

func (s rows) UploadsOver(ctx context.Context, bucket string, before time.Time, limit int) ([]*manifest.Upload, error) {
	return s.uploads(ctx, `SELECT row FROM cairn_uploads WHERE bucket = $1 AND NOT expired AND expires < $2
		ORDER BY expires, id LIMIT $3`, toBytes(bucket), millis(before), limit)
}

// PutUpload implements manifest.UploadChanges, and so do the methods below.
func (t *tx) PutUpload(ctx context.Context, u *manifest.Upload) error {
	row, err := u.AppendBinary(nil)
	if err != nil {
		return err
	}
	b := &pgx.Batch{}
	b.Queue(`INSERT INTO cairn_uploads (bucket, id, who, domain, under_way, listed, expired, expires, held, row)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
		ON CONFLICT (bucket, id) DO UPDATE SET who = excluded.who, domain = excluded.domain,
			under_way = excluded.under_way, listed = excluded.listed, expired = excluded.expired,
			expires = excluded.expires, held = excluded.held, row = excluded.row`,
		toBytes(u.Bucket), toBytes(u.ID), toBytes(u.Who), toBytes(u.Domain), u.UnderWay(), u.Listed, u.Expired, millis(u.ExpiresAt), u.Held, row)
	if !u.UnderWay() {
		queueForget(b, [][]byte{toBytes(u.ID)})
		return t.c.sendBatch(ctx, b)
	}
	parts := toByteSlices(u.Joins)
	b.Queue(`DELETE FROM cairn_joins WHERE whole = $1 AND NOT part = ANY($2)`, toBytes(u.ID), parts)
	if len(parts) > 0 {
		b.Queue(`INSERT INTO cairn_joins SELECT $1::bytea, j.part, $2::bytea FROM unnest($3::bytea[]) AS j(part) ON CONFLICT DO NOTHING`,
			toBytes(u.Bucket), toBytes(u.ID), parts)
	}
	return t.c.sendBatch(ctx, b)
}

// queueForget drops the joins and the rests of uploads.
func queueForget(b *pgx.Batch, ids [][]byte) {
	b.Queue(`DELETE FROM cairn_joins WHERE whole = ANY($1)`, ids)
	b.Queue(`DELETE FROM cairn_rests WHERE upload = ANY($1)`, ids)
}

func (t *tx) DropParts(ctx context.Context, id manifest.UploadID, limit int) (more bool, err error) {
	return t.dropParts(ctx, [][]byte{toBytes(id)}, limit)
}

func (t *tx) dropParts(ctx context.Context, ids [][]byte, limit int) (more bool, err error) {
	n, err := t.dropSome(ctx, "cairn_parts", "upload, part", "upload = ANY($1)", ids, limit)
	return n == limit, err
}

func (t *tx) PutPart(ctx context.Context, id manifest.UploadID, n uint64, refs []cas.Ref) error {
	_, err := t.c.exec(ctx, "pgstore: put part", `INSERT INTO cairn_parts VALUES ($1, $2, $3) ON CONFLICT (upload, part) DO UPDATE SET refs = excluded.refs`,
		toBytes(id), int64(n), manifest.AppendRefs([]byte{}, refs))
	return err
}

func (t *tx) PutRest(ctx context.Context, id manifest.UploadID, rest []byte) error {
	if len(rest) == 0 {
		return t.drop(ctx, "pgstore: drop rest", `DELETE FROM cairn_rests WHERE upload = $1`, toBytes(id))
	}
	_, err := t.c.exec(ctx, "pgstore: put rest", `INSERT INTO cairn_rests VALUES ($1, $2) ON CONFLICT (upload) DO UPDATE SET rest = excluded.rest`, toBytes(id), rest)
	return err
}

func (t *tx) DropUpload(ctx context.Context, bucket string, id manifest.UploadID) error {
	n, err := t.c.exec(ctx, "pgstore: drop upload", `DELETE FROM cairn_uploads WHERE bucket = $1 AND id = $2`, toBytes(bucket), toBytes(id))
	if err != nil || n == 0 {
		return err
	}
	b := &pgx.Batch{}
	queueForget(b, [][]byte{toBytes(id)})
	return t.c.sendBatch(ctx, b)
}

func (t *tx) SweepUploads(ctx context.Context, bucket string, before time.Time, limit int) (int, error) {
	ids, err := queryAll(ctx, t.c, "pgstore: sweep uploads", pgx.RowTo[[]byte], `SELECT id FROM cairn_uploads WHERE bucket = $1 AND expired AND expires < $2
		ORDER BY expires, id LIMIT $3`, toBytes(bucket), millis(before), limit)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	if more, err := t.dropParts(ctx, ids, limit); err != nil || more {
		return limit, err // the rows stay until their parts are gone
	}
	b := &pgx.Batch{}
	b.Queue(`DELETE FROM cairn_uploads WHERE bucket = $1 AND id = ANY($2)`, toBytes(bucket), ids)
	queueForget(b, ids)
	return len(ids), t.c.sendBatch(ctx, b)
}
