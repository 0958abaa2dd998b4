package alyx

import (
	"context"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A table is _alyx_files.
type table struct {
	db    *sql.DB
	query string // of a page of rows behind a rowid
}

// pageRows is how many rows are read at a time, so that no read of a database in use
// takes long.
const pageRows = 500

// ownerColumns are columns that may tell an owner. Alyx's own table has none of them.
var ownerColumns = []string{"owner", "owner_id", "uploader_id", "user_id"}

// openTable looks at what columns there are.
func openTable(ctx context.Context, db *sql.DB) (*table, error) {
	found, err := db.QueryContext(ctx, `SELECT name FROM pragma_table_info('_alyx_files')`)
	if err != nil {
		return nil, fmt.Errorf("the database cannot be read: %w", err)
	}
	defer found.Close()
	var columns []string
	for found.Next() {
		var name string
		if err := found.Scan(&name); err != nil {
			return nil, err
		}
		columns = append(columns, name)
	}
	if err := found.Err(); err != nil {
		return nil, err
	}
	if len(columns) == 0 {
		return nil, fmt.Errorf("the database has no table _alyx_files: it is not one of Alyx with file storage")
	}
	owner := "NULL"
	for _, c := range ownerColumns {
		if slices.Contains(columns, c) {
			owner = c
			break
		}
	}
	texts := []string{"id", "bucket", "name", "mime_type", "checksum", "compressed", "compression_type", "metadata", "created_at", "updated_at", owner}
	kept, long := "", ""
	for _, c := range texts {
		most := maxText
		if c == "metadata" {
			most = maxMetadata
		}
		kept += fmt.Sprintf(", CASE WHEN length(CAST(%s AS BLOB)) <= %d THEN %[1]s END", c, most)
		long += fmt.Sprintf(" WHEN length(CAST(%s AS BLOB)) > %d THEN '%[1]s'", c, most)
	}
	var b strings.Builder
	b.WriteString("SELECT rowid" + kept + ", CASE" + long + " END")
	for _, c := range []string{"size", "original_size"} {
		fmt.Fprintf(&b, ", CASE typeof(%s) WHEN 'integer' THEN %[1]s END", c)
	}
	b.WriteString(" FROM _alyx_files WHERE rowid > ? ORDER BY rowid LIMIT ?")
	return &table{db, b.String()}, nil
}

// The bytes that a text of a row may have, and its metadata, of which a bucket keeps
// less. They bound the memory that a page of rows takes.
const (
	maxText     = 4 << 10
	maxMetadata = 64 << 10
)

func (t *table) countRows(ctx context.Context, bucket string) (n int64, err error) {
	err = t.db.QueryRowContext(ctx, `SELECT count(*) FROM _alyx_files WHERE bucket = ?`, bucket).Scan(&n)
	return n, err
}

// Buckets returns the names of the buckets that have files, with how many.
func Buckets(ctx context.Context, db *sql.DB) (map[string]int64, error) {
	if _, err := openTable(ctx, db); err != nil {
		return nil, fmt.Errorf("alyx: %w", err)
	}
	rows, err := db.QueryContext(ctx, `SELECT coalesce(bucket, ''), count(*) FROM _alyx_files GROUP BY bucket`)
	if err != nil {
		return nil, fmt.Errorf("alyx: %w", err)
	}
	defer rows.Close()
	out := make(map[string]int64)
	for rows.Next() {
		var name string
		var n int64
		if err := rows.Scan(&name, &n); err != nil {
			return nil, fmt.Errorf("alyx: %w", err)
		}
		out[name] = n
	}
	return out, rows.Err()
}

// eachRow implements rows. No statement is open while fn runs.
func (t *table) eachRow(ctx context.Context, fn func(*row) error) error {
	for last := int64(-1 << 63); ; {
		page, err := t.readPage(ctx, last)
		if err != nil {
			return fmt.Errorf("read _alyx_files: %w", err)
		}
		for _, r := range page {
			if err := fn(r); err != nil {
				return err
			}
			last = r.rowid
		}
		if len(page) < pageRows {
			return nil
		}
	}
}

func (t *table) readPage(ctx context.Context, after int64) (page []*row, err error) {
	rows, err := t.db.QueryContext(ctx, t.query, after, pageRows)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	for rows.Next() {
		r := &row{}
		var id, bucket, name, mime, checksum, compressed, codec, metadata, created, updated, owner, long sql.NullString
		var size, original sql.NullInt64
		if err := rows.Scan(&r.rowid, &id, &bucket, &name, &mime, &checksum, &compressed, &codec, &metadata, &created, &updated, &owner,
			&long, &size, &original); err != nil {
			return nil, err
		}
		r.id, r.bucket, r.name, r.mime, r.owner = id.String, bucket.String, name.String, mime.String, owner.String
		r.codec, r.size, r.original = strings.ToLower(codec.String), size.Int64, original.Int64
		r.created, r.updated = parseTime(created.String), parseTime(updated.String)
		r.readCompressed(compressed.String)
		r.readChecksum(checksum.String)
		r.readMetadata(metadata.String)
		if !size.Valid {
			r.problem = errors.New("its size is no whole number")
		}
		if long.Valid {
			r.problem = fmt.Errorf("its %s is too long", long.String)
		}
		page = append(page, r)
	}
	return page, rows.Err()
}

// A row is one file of Alyx.
type row struct {
	rowid            int64
	id, bucket, name string
	mime, owner      string
	size             int64
	checksum         []byte // SHA-256 of the content, nil for none
	compressed       bool
	codec            string // of a compressed file, "" if it is not told
	original         int64  // bytes before compression, 0 if it is not told
	metadata         map[string]any
	created, updated time.Time // zero if unknown

	problem error  // why the row cannot be imported
	changed string // what is lost of it
	plain   int64  // bytes of the content, known when it was read
}

// fileID is the ID of the file in Cairn: the UUID in its canonical form.
func (r *row) fileID() string { return strings.ToLower(r.id) }

// readCompressed reads a BOOLEAN, which is any value to SQLite.
func (r *row) readCompressed(text string) {
	if text == "" {
		return
	}
	var err error
	if r.compressed, err = strconv.ParseBool(text); err != nil {
		r.problem = fmt.Errorf("compressed %.80q: want true or false", text)
	}
}

func (r *row) readChecksum(text string) {
	if text == "" {
		return
	}
	sum, err := hex.DecodeString(text)
	if err != nil || len(sum) != 32 {
		r.problem = fmt.Errorf("checksum %.80q: want a SHA-256 in hex", text)
		return
	}
	r.checksum = sum
}

func (r *row) readMetadata(text string) {
	if text == "" {
		return
	}
	if err := json.Unmarshal([]byte(text), &r.metadata); err != nil {
		r.metadata, r.changed = nil, "its metadata is left out: it is not a JSON object"
	}
}

// times are the times of the file, zero if they are not known. What lies after now
// was written by a clock that was wrong, and counts as now.
func (r *row) times(now time.Time) (created, updated time.Time) {
	created, updated = r.created, r.updated
	if created.IsZero() {
		created = updated
	}
	if updated.IsZero() {
		updated = created
	}
	if updated.After(now) {
		updated = now
	}
	if created.After(updated) {
		created = updated
	}
	return created, updated
}

// parseTime reads a time as Alyx writes it, or as SQLite does. What is no time, or
// before 1970, is zero.
func parseTime(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", time.DateTime, "2006-01-02T15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil && t.Unix() > 0 {
			return t.UTC()
		}
	}
	return time.Time{}
}
