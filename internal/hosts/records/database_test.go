package records

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"

	_ "modernc.org/sqlite"

	"github.com/cairn-store/cairn/buckets/links"
	"github.com/cairn-store/cairn/buckets/schema"
)

// fields are those of the hosts' records: each policy, single and many, pinning
// versions and following files, in two buckets.
func fields() []schema.Field {
	return []schema.Field{
		{Collection: "posts", Name: "cover", Bucket: "docs", Pin: schema.PinManifest, OnDelete: schema.OnDeleteCascade},
		{Collection: "posts", Name: "contract", Bucket: "docs", Pin: schema.PinFile, OnDelete: schema.OnDeleteRestrict},
		{Collection: "posts", Name: "source", Bucket: "docs", Pin: schema.PinManifest, OnDelete: schema.OnDeleteSetNull, Nullable: true},
		{Collection: "posts", Name: "scan", Bucket: "pics", Pin: schema.PinFile, OnDelete: schema.OnDeleteKeep},
		{Collection: "posts", Name: "files", Bucket: "docs", Pin: schema.PinFile, OnDelete: schema.OnDeleteCascade, Many: true, MaxCount: 3},
		{Collection: "posts", Name: "shots", Bucket: "pics", Pin: schema.PinManifest, OnDelete: schema.OnDeleteKeep, Many: true},
		{Collection: "posts", Name: "proofs", Bucket: "pics", Pin: schema.PinManifest, OnDelete: schema.OnDeleteRestrict, Many: true},
		{Collection: "posts", Name: "avatar", Bucket: "pics", Pin: schema.PinFile, OnDelete: schema.OnDeleteSetNull, Nullable: true},
		{Collection: "posts", Name: "pages", Bucket: "pics", Pin: schema.PinManifest, OnDelete: schema.OnDeleteCascade, Many: true, MaxCount: 3},
	}
}

func fieldNames() (names []string) {
	for _, f := range fields() {
		names = append(names, f.Name)
	}
	return names
}

func findField(name string) *schema.Field {
	for _, f := range fields() {
		if f.Name == name {
			return &f
		}
	}
	return nil
}

var errSession = errors.New("hostsim: another process has opened the database")

// A database is that of a host: SQLite files in a directory of their own.
type database struct {
	dir string
	sql *sql.DB
	// sizes are lengths of the log after each commit since it was emptied. To cut
	// it there is to lose the commits after.
	sizes []int64
}

func openDatabase(ctx context.Context, dir string) (*database, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	name := "file:" + filepath.Join(dir, "host.db") +
		"?_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=wal_autocheckpoint(0)&_pragma=busy_timeout(5000)&_txlock=immediate"
	db, err := sql.Open("sqlite", name)
	if err != nil {
		return nil, err
	}
	d := &database{dir: dir, sql: db}
	_, err = db.ExecContext(ctx, `
		CREATE TABLE IF NOT EXISTS _cairn (one INTEGER PRIMARY KEY CHECK (one = 1), database TEXT NOT NULL, session INTEGER NOT NULL);
		CREATE TABLE IF NOT EXISTS _tokens (token TEXT PRIMARY KEY);
		CREATE TABLE IF NOT EXISTS posts (id TEXT PRIMARY KEY, `+strings.Join(fieldNames(), " TEXT, ")+` TEXT);`)
	if err == nil {
		err = d.noteSize()
	}
	return d, err
}

// Load and Save implement links.Keeper.
func (d *database) Load(ctx context.Context) (st links.State, err error) {
	err = d.sql.QueryRowContext(ctx, `SELECT database, session FROM _cairn`).Scan(&st.Database, &st.Session)
	if errors.Is(err, sql.ErrNoRows) {
		err = nil
	}
	return st, err
}

func (d *database) Save(ctx context.Context, st links.State) error {
	_, err := d.sql.ExecContext(ctx, `INSERT OR REPLACE INTO _cairn VALUES (1, ?, ?)`, st.Database, st.Session)
	return errors.Join(err, d.noteSize())
}

func (d *database) path(suffix string) string { return filepath.Join(d.dir, "host.db"+suffix) }

func (d *database) noteSize() error {
	info, err := os.Stat(d.path("-wal"))
	if err == nil {
		d.sizes = append(d.sizes, info.Size())
	}
	return err
}

// checkpoint moves the log into the database.
func (d *database) checkpoint(ctx context.Context) error {
	_, err := d.sql.ExecContext(ctx, `PRAGMA wal_checkpoint(TRUNCATE)`)
	d.sizes = nil
	return errors.Join(err, d.noteSize())
}

// copyTo copies the files to dir, the log only up to size; negative is all.
func (d *database) copyTo(dir string, size int64) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, suffix := range []string{"", "-wal"} {
		from, err := os.Open(d.path(suffix))
		if err != nil {
			return err
		}
		to, err := os.Create(filepath.Join(dir, "host.db"+suffix))
		if err != nil {
			return errors.Join(err, from.Close())
		}
		if suffix == "-wal" && size >= 0 {
			_, err = io.CopyN(to, from, size)
		} else {
			_, err = io.Copy(to, from)
		}
		if err := errors.Join(err, to.Close(), from.Close()); err != nil {
			return err
		}
	}
	return nil
}

// change runs a transaction of a session: it fails if that is not the last one.
func (d *database) change(ctx context.Context, session uint64, fn func(tx *sql.Tx) error) error {
	tx, err := d.sql.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	var now uint64
	if err := tx.QueryRowContext(ctx, `SELECT session FROM _cairn`).Scan(&now); err != nil && !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	if now != session {
		return errSession
	}
	if err := fn(tx); err != nil {
		return err
	}
	return errors.Join(tx.Commit(), d.noteSize())
}

// write makes the changes of a hold.
func (d *database) write(ctx context.Context, session uint64, h *hold) error {
	return d.change(ctx, session, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO _tokens VALUES (?)`, h.token); err != nil {
			return err
		}
		for i := range h.changes {
			if err := writeRecord(ctx, tx, &h.changes[i], h.values[i]); err != nil {
				return err
			}
		}
		return nil
	})
}

func writeRecord(ctx context.Context, tx *sql.Tx, c *links.Change, values map[string][]string) error {
	if c.Deleted {
		_, err := tx.ExecContext(ctx, `DELETE FROM posts WHERE id = ?`, c.Record)
		return err
	}
	if _, err := tx.ExecContext(ctx, `INSERT OR IGNORE INTO posts (id) VALUES (?)`, c.Record); err != nil {
		return err
	}
	for name, ids := range values {
		if _, err := tx.ExecContext(ctx, `UPDATE posts SET `+name+` = ? WHERE id = ?`, encodeValues(ids), c.Record); err != nil {
			return err
		}
	}
	return nil
}

// encodeValues is how a column holds values: one ID a line, NULL for none.
func encodeValues(ids []string) any {
	if len(ids) == 0 {
		return nil
	}
	p, err := json.Marshal(ids)
	if err != nil {
		panic(err)
	}
	return string(p)
}

func decodeValues(text sql.NullString) (ids []string, err error) {
	if text.Valid {
		err = json.Unmarshal([]byte(text.String), &ids)
	}
	return ids, err
}

// clear takes a value out of a field.
func (d *database) clear(ctx context.Context, session uint64, record, field, value string) error {
	return d.change(ctx, session, func(tx *sql.Tx) error {
		var text sql.NullString
		err := tx.QueryRowContext(ctx, `SELECT `+field+` FROM posts WHERE id = ?`, record).Scan(&text)
		if errors.Is(err, sql.ErrNoRows) {
			return nil
		}
		if err != nil {
			return err
		}
		ids, err := decodeValues(text)
		if err != nil {
			return err
		}
		ids = slices.DeleteFunc(ids, func(id string) bool { return id == value })
		_, err = tx.ExecContext(ctx, `UPDATE posts SET `+field+` = ? WHERE id = ?`, encodeValues(ids), record)
		return err
	})
}

// has reports whether a record has a value.
func (d *database) has(ctx context.Context, record, field, value string) (bool, error) {
	var text sql.NullString
	err := d.sql.QueryRowContext(ctx, `SELECT `+field+` FROM posts WHERE id = ?`, record).Scan(&text)
	if errors.Is(err, sql.ErrNoRows) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	ids, err := decodeValues(text)
	return slices.Contains(ids, value), err
}

// wrote reports whether the change of a token is in the database.
func (d *database) wrote(ctx context.Context, token string) (n int, err error) {
	err = d.sql.QueryRowContext(ctx, `SELECT count(*) FROM _tokens WHERE token = ?`, token).Scan(&n)
	return n, err
}

// rows yields all fields of all records that have values.
func (d *database) rows(ctx context.Context) iter.Seq2[links.Row, error] {
	return func(yield func(links.Row, error) bool) {
		names := fieldNames()
		found, err := d.sql.QueryContext(ctx, `SELECT id, `+strings.Join(names, ", ")+` FROM posts ORDER BY id`)
		if err != nil {
			yield(links.Row{}, err)
			return
		}
		defer found.Close()
		for found.Next() {
			var id string
			texts := make([]sql.NullString, len(names))
			into := []any{&id}
			for i := range texts {
				into = append(into, &texts[i])
			}
			if err := found.Scan(into...); err != nil {
				yield(links.Row{}, err)
				return
			}
			for i, text := range texts {
				ids, err := decodeValues(text)
				if (len(ids) > 0 || err != nil) && !yield(links.Row{Collection: "posts", Record: id, Field: names[i], Values: ids}, err) {
					return
				}
			}
		}
		if err := found.Err(); err != nil {
			yield(links.Row{}, err)
		}
	}
}

// A place is a value of a record's field.
type place struct{ host, record, field, value string }

func (p place) String() string { return fmt.Sprintf("%s/%s.%s=%s", p.host, p.record, p.field, p.value) }
