package pgstore

import (
	"context"
	"errors"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A querier is a pool of connections, or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// A conn makes statements: each by itself, or those of a transaction.
type conn struct {
	q  querier
	tx *outcome // nil outside of a transaction
}

// An outcome is the first error that the database had for a transaction. All
// that is made of the transaction after it is void, whoever passes over it.
type outcome struct{ err error }

// runStatement calls fn, which makes a statement. Outside of a transaction it tries
// again what may be.
func (c conn) runStatement(ctx context.Context, fn func() error) error {
	if c.tx == nil {
		return retry(ctx, fn)
	}
	err := fn()
	var e *pgconn.PgError
	if c.tx.err == nil && errors.As(err, &e) {
		c.tx.err = err
	}
	return err
}

// exec returns how many rows were changed.
func (c conn) exec(ctx context.Context, sql string, args ...any) (n int64, err error) {
	err = c.runStatement(ctx, func() error {
		tag, err := c.q.Exec(ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, err
}

// sendBatch makes the statements of a batch, without waiting for each.
func (c conn) sendBatch(ctx context.Context, b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return c.runStatement(ctx, func() error { return c.q.SendBatch(ctx, b).Close() })
}

// collect returns what parse makes of each row of the answer.
func collect[E any](ctx context.Context, c conn, parse pgx.RowToFunc[E], sql string, args ...any) (out []E, err error) {
	err = c.runStatement(ctx, func() error {
		rows, err := c.q.Query(ctx, sql, args...)
		if err == nil {
			out, err = pgx.CollectRows(rows, parse)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// one returns what parse makes of the first row of the answer, or
// fs.ErrNotExist.
func one[E any](ctx context.Context, c conn, parse pgx.RowToFunc[E], sql string, args ...any) (e E, err error) {
	err = c.runStatement(ctx, func() error {
		rows, err := c.q.Query(ctx, sql, args...)
		if err == nil {
			e, err = pgx.CollectOneRow(rows, parse)
		}
		return err
	})
	if errors.Is(err, pgx.ErrNoRows) {
		err = fs.ErrNotExist
	}
	return e, err
}

// decode makes a row of the binary encoding in the only column.
func decode[R any, P interface {
	*R
	UnmarshalBinary([]byte) error
}](row pgx.CollectableRow) (*R, error) {
	p, err := pgx.RowTo[[]byte](row)
	if err != nil {
		return nil, err
	}
	r := new(R)
	return r, P(r).UnmarshalBinary(p)
}

// toBytes is a string as the database takes it: columns of text don't hold every
// one.
func toBytes[S ~string](s S) []byte { return []byte(s) }

func toByteSlices[S ~string](ss []S) [][]byte {
	out := make([][]byte, len(ss))
	for i, s := range ss {
		out[i] = toBytes(s)
	}
	return out
}

// millis is a time in milliseconds, 0 for those before 1970.
func millis(t time.Time) int64 { return max(t.UnixMilli(), 0) }

// SQLSTATEs of transactions that the database has given up and that may be
// tried again. A unique violation is one where what was looked for before was
// written by another transaction meanwhile; so is a table that exists although
// it was to be made only if there is none.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	uniqueViolation      = "23505"
	duplicateTable       = "42P07"
)

// mayRetry reports whether a transaction that failed with err has changed
// nothing and may succeed when it is tried again.
func mayRetry(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case serializationFailure, deadlockDetected, uniqueViolation, duplicateTable:
		return true
	}
	return false
}

// retry calls fn until it fails with nothing that may be tried again. What is
// there already, and stays, is no accident.
func retry(ctx context.Context, fn func() error) error {
	for n := 0; ; n++ {
		err := fn()
		if !mayRetry(err) {
			return err
		}
		var e *pgconn.PgError
		if n > 20 && errors.As(err, &e) && (e.Code == uniqueViolation || e.Code == duplicateTable) {
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

// runTransaction calls fn in transactions until one is committed, or fails with what
// may not be tried again.
func (d *DB) runTransaction(ctx context.Context, level pgx.TxIsoLevel, fn func(c conn) error) error {
	return retry(ctx, func() error {
		return pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
			return fn(conn{tx, &outcome{}})
		})
	})
}

// alone makes statements each by itself.
func (d *DB) alone() conn { return d.c }
