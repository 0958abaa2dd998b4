package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrFormat reports a database of another version of the program.
var ErrFormat = errors.New("metadata database has a format that this program does not know")

// schemaVersion counts the changes of the tables. Version 1 had no scrubs and no
// points, version 2 no links and no hosts, version 3 no audits; a database that has one of
// them gets what is missing when it is opened.
const schemaVersion = 4

// indexSchema creates the missing tables of chunk indexes. Names of domains are
// ordered by their bytes.
//
// cairn_packs has a row for each pack that frames lie in, with the sums over
// them. If the index does not know the pack itself, the row is not known and has
// nothing but the sums. So each change of the sums is an addition to a row,
// whatever was added first.
const indexSchema = `
CREATE TABLE IF NOT EXISTS cairn_schema (
	id      int4 PRIMARY KEY,
	version int4 NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_domains (
	domain   text COLLATE "C" PRIMARY KEY,
	epoch    int8 NOT NULL DEFAULT 0,
	floor    int8 NOT NULL DEFAULT 0,
	removals int8 NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS cairn_collections (
	domain     text COLLATE "C" PRIMARY KEY,
	token      int8 NOT NULL DEFAULT 0,
	ends       int8 NOT NULL DEFAULT 0,
	checkpoint int8 NOT NULL DEFAULT 0
);
CREATE TABLE IF NOT EXISTS cairn_writers (
	domain text COLLATE "C" NOT NULL,
	id     bytea NOT NULL,
	begun  int8 NOT NULL,
	at     int8 NOT NULL,
	PRIMARY KEY (domain, id)
);
CREATE TABLE IF NOT EXISTS cairn_segments (
	domain text COLLATE "C" NOT NULL,
	digest bytea NOT NULL,
	data   bytea NOT NULL,
	PRIMARY KEY (domain, digest)
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
	domain     text COLLATE "C" NOT NULL,
	id         bytea NOT NULL,
	pack       bytea NOT NULL,
	start      int8 NOT NULL,
	header     int8 NOT NULL,
	stored     int8 NOT NULL,
	plain      int8 NOT NULL,
	slots      int8 NOT NULL,
	kind       int4 NOT NULL,
	codec      int4 NOT NULL,
	key        int8 NOT NULL,
	sources    bytea NOT NULL,
	live       int8 NOT NULL,
	live_bytes int8 NOT NULL,
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
	known       bool NOT NULL DEFAULT false,
	size        int8 NOT NULL DEFAULT 0,
	sealed      bool NOT NULL DEFAULT false,
	writer      bytea NOT NULL DEFAULT '',
	serial      int8 NOT NULL DEFAULT 0,
	last_commit int8 NOT NULL DEFAULT 0,
	records     int8 NOT NULL DEFAULT 0,
	frames      int8 NOT NULL DEFAULT 0,
	live        int8 NOT NULL DEFAULT 0,
	doomed      bool NOT NULL DEFAULT false,
	PRIMARY KEY (domain, id)
);
CREATE TABLE IF NOT EXISTS cairn_census (
	domain text COLLATE "C" NOT NULL,
	writer bytea NOT NULL,
	row    bytea NOT NULL,
	PRIMARY KEY (domain, writer)
);
CREATE TABLE IF NOT EXISTS cairn_charges (
	domain text COLLATE "C" NOT NULL,
	pack   bytea NOT NULL,
	bucket bytea NOT NULL,
	file   bytea NOT NULL,
	path   bytea NOT NULL,
	at     int8 NOT NULL,
	bytes  int8 NOT NULL,
	PRIMARY KEY (domain, pack, bucket, file, path, at)
);
CREATE TABLE IF NOT EXISTS cairn_ledger (
	id  int8 PRIMARY KEY,
	row bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_scrubs (
	domain text COLLATE "C" NOT NULL,
	pack   bytea NOT NULL,
	row    bytea NOT NULL,
	PRIMARY KEY (domain, pack)
);
CREATE TABLE IF NOT EXISTS cairn_points (
	day    int8 NOT NULL,
	domain text COLLATE "C" NOT NULL,
	row    bytea NOT NULL,
	PRIMARY KEY (day, domain)
);
`

// rowSchema creates the missing tables of rows. IDs, names, paths and owners are
// bytes and ordered by them: text cannot hold every string, and no request of a
// client should be an error of the database.
const rowSchema = `
CREATE TABLE IF NOT EXISTS cairn_numbers (
	id          int4 PRIMARY KEY,
	number      int8 NOT NULL,
	last_commit int8 NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_outbox (
	number int8 PRIMARY KEY,
	prev   int8 NOT NULL,
	domain text COLLATE "C" NOT NULL,
	size   int8 NOT NULL,
	slots  bytea[] NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_clock (
	id     int4 PRIMARY KEY,
	latest int8 NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_identities (
	name bytea PRIMARY KEY,
	id   bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_files (
	id       bytea PRIMARY KEY,
	bucket   bytea NOT NULL,
	path     bytea NOT NULL,
	owner    bytea NOT NULL,
	state    int4 NOT NULL,
	deleted  int8 NOT NULL,
	revision int8 NOT NULL,
	current  bytea NOT NULL,
	versions int8 NOT NULL,
	size     int8 NOT NULL,
	chunks   int8 NOT NULL,
	described int8 NOT NULL,
	row      bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS cairn_files_bucket ON cairn_files (bucket, state, id);
CREATE INDEX IF NOT EXISTS cairn_files_deleted ON cairn_files (bucket, state, deleted);
CREATE TABLE IF NOT EXISTS cairn_names (
	bucket bytea NOT NULL,
	path   bytea NOT NULL,
	file   bytea NOT NULL,
	PRIMARY KEY (bucket, path)
);
CREATE TABLE IF NOT EXISTS cairn_versions (
	id      bytea PRIMARY KEY,
	file    bytea NOT NULL,
	version int8 NOT NULL,
	row     bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS cairn_versions_file ON cairn_versions (file, version DESC);
CREATE TABLE IF NOT EXISTS cairn_marks (
	id     bytea PRIMARY KEY,
	file   bool NOT NULL,
	number int8 NOT NULL
);
CREATE INDEX IF NOT EXISTS cairn_marks_number ON cairn_marks (number);
CREATE TABLE IF NOT EXISTS cairn_graves (
	domain text COLLATE "C" NOT NULL,
	number int8 NOT NULL,
	n      int8 NOT NULL,
	bucket bytea NOT NULL,
	path   bytea NOT NULL,
	at     int8 NOT NULL,
	row    bytea NOT NULL,
	PRIMARY KEY (domain, number, n)
);
CREATE TABLE IF NOT EXISTS cairn_usage (
	bucket           bytea NOT NULL,
	whole            bool NOT NULL,
	owner            bytea NOT NULL,
	files            int8 NOT NULL,
	versions         int8 NOT NULL,
	bytes            int8 NOT NULL,
	chunks           int8 NOT NULL,
	trashed_files    int8 NOT NULL,
	trashed_versions int8 NOT NULL,
	trashed_bytes    int8 NOT NULL,
	trashed_chunks   int8 NOT NULL,
	described        int8 NOT NULL,
	PRIMARY KEY (bucket, whole, owner)
);
CREATE TABLE IF NOT EXISTS cairn_homes (
	bucket bytea PRIMARY KEY,
	row    bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_uploads (
	bucket    bytea NOT NULL,
	id        bytea NOT NULL,
	who       bytea NOT NULL,
	domain    bytea NOT NULL,
	under_way bool NOT NULL,
	listed    bool NOT NULL,
	expired   bool NOT NULL,
	expires   int8 NOT NULL,
	held      int8 NOT NULL,
	row       bytea NOT NULL,
	PRIMARY KEY (bucket, id)
);
CREATE INDEX IF NOT EXISTS cairn_uploads_id ON cairn_uploads (id);
CREATE INDEX IF NOT EXISTS cairn_uploads_who ON cairn_uploads (bucket, who, under_way);
CREATE INDEX IF NOT EXISTS cairn_uploads_expires ON cairn_uploads (bucket, expired, expires);
CREATE TABLE IF NOT EXISTS cairn_leftovers (
	domain text COLLATE "C" NOT NULL,
	epoch  int8 NOT NULL,
	bucket bytea NOT NULL,
	who    bytea NOT NULL,
	bytes  int8 NOT NULL,
	PRIMARY KEY (domain, epoch, bucket, who)
);
CREATE INDEX IF NOT EXISTS cairn_leftovers_bucket ON cairn_leftovers (bucket, who);
CREATE TABLE IF NOT EXISTS cairn_parts (
	upload bytea NOT NULL,
	part   int8 NOT NULL,
	refs   bytea NOT NULL,
	PRIMARY KEY (upload, part)
);
CREATE TABLE IF NOT EXISTS cairn_rests (
	upload bytea PRIMARY KEY,
	rest   bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_joins (
	bucket bytea NOT NULL,
	part   bytea NOT NULL,
	whole  bytea NOT NULL,
	PRIMARY KEY (bucket, part, whole)
);
CREATE INDEX IF NOT EXISTS cairn_joins_whole ON cairn_joins (whole);
CREATE TABLE IF NOT EXISTS cairn_grants (
	bucket  bytea NOT NULL,
	id      bytea NOT NULL,
	owner   bytea NOT NULL,
	expires int8 NOT NULL,
	uses    int8 NOT NULL,
	row     bytea NOT NULL,
	PRIMARY KEY (bucket, id)
);
CREATE INDEX IF NOT EXISTS cairn_grants_owner ON cairn_grants (owner, bucket, id);
CREATE INDEX IF NOT EXISTS cairn_grants_expires ON cairn_grants (expires);
CREATE TABLE IF NOT EXISTS cairn_api_keys (
	id  bytea PRIMARY KEY,
	row bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_sign_keys (
	id  bytea PRIMARY KEY,
	row bytea NOT NULL
);
CREATE TABLE IF NOT EXISTS cairn_receipts (
	scope   bytea NOT NULL,
	digest  bytea NOT NULL,
	expires int8 NOT NULL,
	PRIMARY KEY (scope, digest)
);
CREATE INDEX IF NOT EXISTS cairn_receipts_expires ON cairn_receipts (expires);
CREATE TABLE IF NOT EXISTS cairn_onces (
	bucket  bytea NOT NULL,
	key     bytea NOT NULL,
	expires int8 NOT NULL,
	row     bytea NOT NULL,
	PRIMARY KEY (bucket, key)
);
CREATE INDEX IF NOT EXISTS cairn_onces_expires ON cairn_onces (expires);
INSERT INTO cairn_numbers VALUES (1, 0, 0) ON CONFLICT DO NOTHING;
`

// linkSchema creates the missing tables of links. Each list of links has an index
// of its own, of only the links in it. The column record is a hash of the names
// of the record, since an index does not hold long ones.
const linkSchema = `
CREATE TABLE IF NOT EXISTS cairn_links (
	id       bytea PRIMARY KEY,
	host     bytea NOT NULL,
	bucket   bytea NOT NULL,
	file     bytea NOT NULL,
	version  bytea NOT NULL,
	record   bytea NOT NULL,
	who      bytea NOT NULL,
	state    int4 NOT NULL,
	policy   int4 NOT NULL,
	listed   bool NOT NULL,
	at       int8 NOT NULL,
	revision int8 NOT NULL,
	row      bytea NOT NULL
);
CREATE INDEX IF NOT EXISTS cairn_links_file ON cairn_links (file, id) WHERE listed;
CREATE INDEX IF NOT EXISTS cairn_links_record ON cairn_links (record, id) WHERE state = 1;
CREATE INDEX IF NOT EXISTS cairn_links_host ON cairn_links (host, id) WHERE listed;
CREATE INDEX IF NOT EXISTS cairn_links_ended ON cairn_links (bucket, at, id) WHERE NOT listed;
CREATE INDEX IF NOT EXISTS cairn_links_pending ON cairn_links (who) WHERE state = 0;
CREATE INDEX IF NOT EXISTS cairn_links_bucket ON cairn_links (bucket, id);
CREATE TABLE IF NOT EXISTS cairn_link_sums (
	target bytea NOT NULL,
	state  int4 NOT NULL,
	policy int4 NOT NULL,
	links  int8 NOT NULL,
	PRIMARY KEY (target, state, policy)
);
CREATE TABLE IF NOT EXISTS cairn_link_events (
	file bytea PRIMARY KEY
);
CREATE TABLE IF NOT EXISTS cairn_hosts (
	name bytea PRIMARY KEY,
	row  bytea NOT NULL
);
`

// undefinedTable is the SQLSTATE of a statement about a table that does not
// exist.
const undefinedTable = "42P01"

// migrate creates the tables that are missing. Several processes may do so at once.
func (d *DB) migrate(ctx context.Context) error {
	version, err := d.schemaVersion(ctx)
	if err != nil {
		return err
	}
	switch version {
	case schemaVersion:
		return nil
	case 0, 1, 2, 3:
	default:
		return fmt.Errorf("%w: it has format %d, this program knows %d", ErrFormat, version, schemaVersion)
	}
	// If two processes create a table at once, one of them may fail in spite of
	// IF NOT EXISTS.
	return retry(ctx, func() error {
		if _, err := d.pool.Exec(ctx, indexSchema+rowSchema+linkSchema+auditSchema); err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
		_, err := d.pool.Exec(ctx, `INSERT INTO cairn_schema AS s VALUES (1, $1)
			ON CONFLICT (id) DO UPDATE SET version = excluded.version WHERE s.version < excluded.version`, schemaVersion)
		return err
	})
}

// schemaVersion returns 0 for a database without tables.
func (d *DB) schemaVersion(ctx context.Context) (version int, err error) {
	version, err = queryOne(ctx, d.alone(), "", pgx.RowTo[int], `SELECT version FROM cairn_schema`)
	var e *pgconn.PgError
	if errors.Is(err, fs.ErrNotExist) || errors.As(err, &e) && e.Code == undefinedTable {
		return 0, nil
	}
	return version, err
}
