package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrFormat reports a database of another version of the program.
var ErrFormat = errors.New("metadata database has a format that this program does not know")

const schemaVersion = 1

// schema makes what there is not. Text that is ordered or compared is ordered
// by its bytes. Names that others choose freely are bytes, since text can't
// hold every one.
const schema = `
CREATE TABLE IF NOT EXISTS cairn_schema (
	id      int4 PRIMARY KEY,
	version int4 NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_domains (
	domain   text COLLATE "C" PRIMARY KEY,
	epoch    int8 NOT NULL,
	removals int8 NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_chunks (
	domain text COLLATE "C" NOT NULL,
	digest bytea NOT NULL,
	frame  bytea NOT NULL,
	slot   int8 NOT NULL,
	start  int8 NOT NULL,
	size   int8 NOT NULL,
	state  int4 NOT NULL,
	stamp  int8 NOT NULL,
	PRIMARY KEY (domain, digest)
);
CREATE TABLE IF NOT EXISTS cairn_frames (
	domain  text COLLATE "C" NOT NULL,
	id      bytea NOT NULL,
	pack    bytea NOT NULL,
	start   int8 NOT NULL,
	header  int8 NOT NULL,
	stored  int8 NOT NULL,
	plain   int8 NOT NULL,
	slots   int8 NOT NULL,
	kind    int4 NOT NULL,
	codec   int4 NOT NULL,
	key     int8 NOT NULL,
	sources bytea NOT NULL,
	PRIMARY KEY (domain, id)
);
CREATE INDEX IF NOT EXISTS cairn_frames_place ON cairn_frames (domain, pack, start, id);
CREATE TABLE IF NOT EXISTS cairn_sources (
	domain text COLLATE "C" NOT NULL,
	digest bytea NOT NULL,
	frame  bytea NOT NULL,
	PRIMARY KEY (domain, digest, frame)
);
CREATE INDEX IF NOT EXISTS cairn_sources_frame ON cairn_sources (domain, frame);
CREATE TABLE IF NOT EXISTS cairn_packs (
	domain      text COLLATE "C" NOT NULL,
	id          bytea NOT NULL,
	size        int8 NOT NULL,
	sealed      bool NOT NULL,
	writer      bytea NOT NULL,
	serial      int8 NOT NULL,
	last_commit int8 NOT NULL,
	PRIMARY KEY (domain, id)
);
`

// undefinedTable is the SQLSTATE of a statement about a table there is not.
const undefinedTable = "42P01"

// migrate brings the tables to what this program knows. Several processes may
// do so at once.
func (d *DB) migrate(ctx context.Context) error {
	version, err := d.schemaVersion(ctx)
	if err != nil {
		return err
	}
	switch version {
	case schemaVersion:
		return nil
	case 0:
	default:
		return fmt.Errorf("%w: it has format %d, this program knows %d", ErrFormat, version, schemaVersion)
	}
	// Of two who make a table at once, one may fail though it is to be made
	// only if there is none.
	return retry(ctx, func() error {
		if _, err := d.pool.Exec(ctx, schema); err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
		_, err := d.pool.Exec(ctx, `INSERT INTO cairn_schema VALUES (1, $1) ON CONFLICT DO NOTHING`, schemaVersion)
		return err
	})
}

// schemaVersion returns 0 for a database without tables.
func (d *DB) schemaVersion(ctx context.Context) (version int, err error) {
	err = d.pool.QueryRow(ctx, `SELECT version FROM cairn_schema`).Scan(&version)
	var e *pgconn.PgError
	if errors.Is(err, pgx.ErrNoRows) || errors.As(err, &e) && e.Code == undefinedTable {
		return 0, nil
	}
	return version, err
}
