// Package pgstore keeps rows, segments and chunk indexes in a database that
// speaks PostgreSQL's protocol, which many processes may use at once. Its
// statements are plain: CockroachDB and YugabyteDB are meant to take them too.
//
// Rows are stored in their binary encoding, beside the columns that they are
// found and ordered by. A call makes no more statements when it is about more
// rows; iterators make one a page.
package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/cairn-store/cairn/manifest"
)

// A DB is an open database: a manifest.Store, and a cas.Index for every domain.
type DB struct {
	rows
	pool *pgxpool.Pool
	// scans are the connections of iterators of one moment, which are held
	// while they yield: what their callers do meanwhile needs others.
	scans *pgxpool.Pool

	turn   chan struct{} // holds one token while somebody makes a commit
	opened uint64        // the highest number when it was opened
}

// Options are choices of Open; nil and zero values mean the defaults.
type Options struct {
	Conns int // that transactions and look-ups use at once; default 16
	Scans int // that listings of one moment use at once; default 16
}

// Open opens the database that a URL or a string of keywords names, as libpq
// reads them, and makes the tables that it lacks. Tables are found in the
// connection's search_path.
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
	d := &DB{turn: make(chan struct{}, 1)}
	err := error(nil)
	if d.pool, err = pool(orDefault(opts.Conns, 16)); err != nil {
		return nil, fmt.Errorf("pgstore: open: %w", err)
	}
	d.rows = rows{conn{q: d.pool}}
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
	n, err := one(ctx, d.alone(), d.parseNumbers, selectNumbers)
	d.opened = n.number
	return err
}

// Ready implements manifest.Store. What keeps the database from being changed
// shows when it is.
func (d *DB) Ready() error { return nil }

// DiskSize implements manifest.Store: the bytes of the whole database, 0 where
// it cannot tell.
func (d *DB) DiskSize() int64 {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	n, err := one(ctx, d.alone(), pgx.RowTo[int64], `SELECT pg_database_size(current_database())`)
	if err != nil {
		return 0
	}
	return n
}

// Close closes the connections. What was acknowledged is durable.
func (d *DB) Close() error {
	d.scans.Close()
	d.pool.Close()
	return nil
}

var (
	_ manifest.Store = (*DB)(nil)
	_ manifest.Tx    = (*tx)(nil)
)
