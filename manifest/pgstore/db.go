// Package pgstore stores rows, segments and chunk indexes in a database that
// speaks PostgreSQL's protocol, which many processes may use at once. Its
// statements are plain, so that CockroachDB and YugabyteDB should take them too.
//
// Rows are stored in their binary encoding, beside the columns by which they are
// found and ordered. A call makes the same number of statements for any number
// of rows. Iterators make one for each page.
//
// Start with schema.go, the tables, and conn.go, which makes statements and
// retries them.
//
// A write: DB.Update (tx.go) runs fn in a transaction. The methods of tx, in the
// files of their rows (file.go, upload.go, grant.go, …), make statements and
// collect records. writeCommit then adds the records to the outbox under the
// next number. Index.Apply (apply.go) changes the chunk index.
//
// A read: methods of rows, in the same files, parse the answer of one statement
// (queryOne, queryAll). Listings (list.go, root.go) are a pagedList (page.go),
// read page by page in one read-only transaction.
package pgstore

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// A DB is an open database: a manifest.Store, and a cas.Index for every domain.
type DB struct {
	rows
	life *cas.Lifetime
	pool *pgxpool.Pool
	// scans are the connections of iterators that read as of one moment. An
	// iterator holds its connection while it yields, so the statements that its
	// caller makes meanwhile need other connections.
	scans *pgxpool.Pool

	turn   chan struct{} // holds one token while a transaction of this process has a domain
	opened uint64        // the highest number when the database was opened
}

// Options are choices of Open; nil and zero values mean the defaults.
type Options struct {
	Conns int // connections for transactions and look-ups; default 16
	Scans int // connections for listings; default 16
}

// Open opens the database that url names, a URL or keywords in libpq's form, and
// creates missing tables in the connection's search_path.
func Open(ctx context.Context, url string, opts *Options) (*DB, error) {
	config, err := pgxpool.ParseConfig(url)
	if err != nil {
		return nil, fmt.Errorf("pgstore: open: %w", err)
	}
	if opts == nil {
		opts = &Options{}
	}
	return open(ctx, config, opts)
}

func open(ctx context.Context, config *pgxpool.Config, opts *Options) (*DB, error) {
	pool := func(conns int) (*pgxpool.Pool, error) {
		c := config.Copy()
		c.MaxConns = int32(conns)
		return pgxpool.NewWithConfig(ctx, c)
	}
	d := &DB{life: cas.NewLifetime(), turn: make(chan struct{}, 1)}
	err := error(nil)
	if d.pool, err = pool(orDefault(opts.Conns, 16)); err != nil {
		return nil, fmt.Errorf("pgstore: open: %w", err)
	}
	d.rows = rows{conn{q: d.pool, life: d.life}}
	if d.scans, err = pool(orDefault(opts.Scans, 16)); err != nil {
		d.pool.Close()
		return nil, fmt.Errorf("pgstore: open: %w", err)
	}
	if err := d.start(ctx); err != nil {
		d.Close()
		return nil, fmt.Errorf("pgstore: open: %w", err)
	}
	return d, nil
}

func orDefault(n, or int) int {
	if n == 0 {
		return or
	}
	return n
}

func (d *DB) start(ctx context.Context) error {
	if err := d.migrate(ctx); err != nil {
		return err
	}
	n, err := queryOne(ctx, d.alone(), "", d.parseNumbers, selectNumbers)
	d.opened = n.number
	return err
}

// Verify implements manifest.Store. It does nothing: the server verifies what it
// reads, if its data checksums are on.
func (d *DB) Verify(ctx context.Context) error { return cmp.Or(d.life.Err(), ctx.Err()) }

// Ready implements manifest.Store. It returns nil until Close: only a write shows
// whether the database takes writes.
func (d *DB) Ready() error { return d.life.Err() }

// DiskSize implements manifest.Store. It returns the bytes of the whole
// database, or 0 if they are not known.
func (d *DB) DiskSize() int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	n, err := queryOne(ctx, d.alone(), "", pgx.RowTo[int64], `SELECT pg_database_size(current_database())`)
	if err != nil {
		return 0
	}
	return n
}

// Close waits for the statements and transactions under way, and closes the
// connections. Views and iterators end with cas.ErrClosed, as every later call does. What
// was acknowledged is durable.
func (d *DB) Close() error {
	return d.life.Close(func() error {
		d.scans.Close()
		d.pool.Close()
		return nil
	})
}

var (
	_ manifest.Store = (*DB)(nil)
	_ manifest.Tx    = (*tx)(nil)
)
