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
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// A DB is an open database: a cas.Index for every domain.
type DB struct {
	pool *pgxpool.Pool
	// scans are the connections of iterators of one moment, which are held
	// while they yield: what their callers do meanwhile needs others.
	scans *pgxpool.Pool
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
	d := &DB{}
	err := error(nil)
	if d.pool, err = pool(orDefault(opts.Conns, 16)); err != nil {
		return nil, fmt.Errorf("pgstore: open: %w", err)
	}
	if d.scans, err = pool(orDefault(opts.Scans, 16)); err != nil {
		d.pool.Close()
		return nil, fmt.Errorf("pgstore: open: %w", err)
	}
	if err := d.migrate(ctx); err != nil {
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

// Close closes the connections. What was acknowledged is durable.
func (d *DB) Close() error {
	d.scans.Close()
	d.pool.Close()
	return nil
}

// A querier is a connection of its own, or the one of a transaction.
type querier interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// SQLSTATEs of transactions that the database has given up and that may be
// tried again. A unique violation is one where what was looked for before was
// written by another transaction meanwhile.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	uniqueViolation      = "23505"
)

// mayRetry reports whether a transaction that failed with err has changed
// nothing and may succeed when it is tried again.
func mayRetry(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	return e.Code == serializationFailure || e.Code == deadlockDetected || e.Code == uniqueViolation
}

// retry calls fn until it fails with nothing that may be tried again. A unique
// violation that stays is no accident.
func retry(ctx context.Context, fn func() error) error {
	for n := 0; ; n++ {
		err := fn()
		if !mayRetry(err) {
			return err
		}
		var e *pgconn.PgError
		if n > 20 && errors.As(err, &e) && e.Code == uniqueViolation {
			return err
		}
		// Those who got into each other's way should not meet again.
		most := min(time.Millisecond<<min(n, 10), 100*time.Millisecond)
		select {
		case <-time.After(rand.N(most)):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// transact calls fn in transactions until one is committed, or fails with what
// may not be tried again.
func (d *DB) transact(ctx context.Context, level pgx.TxIsoLevel, fn func(tx pgx.Tx) error) error {
	return retry(ctx, func() error {
		return pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{IsoLevel: level}, fn)
	})
}
