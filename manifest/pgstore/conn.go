package pgstore

import (
	"context"
	"encoding"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/cairn-store/cairn/cas"
)

// A querier is a pool of connections, or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
}

// A conn makes statements, each by itself or all in one transaction.
type conn struct {
	q    querier
	life *cas.Lifetime // of the DB; its calls are statements and transactions
	tx   *outcome      // nil outside of a transaction
}

// An outcome is the first error of the database in a transaction. After it the
// whole transaction is void, even if the caller ignores the error.
type outcome struct{ err error }

// runStatement calls fn, which makes a statement. Outside of a transaction it
// retries transient failures.
func (c conn) runStatement(ctx context.Context, fn func() error) error {
	if err := c.life.Enter(); err != nil {
		return err
	}
	defer c.life.Leave()
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

// exec makes a statement and returns how many rows it has changed. Errors of
// exec and of the functions below say what was being done.
func (c conn) exec(ctx context.Context, what, sql string, args ...any) (n int64, err error) {
	err = c.runStatement(ctx, func() error {
		tag, err := c.q.Exec(ctx, sql, args...)
		n = tag.RowsAffected()
		return err
	})
	return n, addContext(what, err)
}

// sendBatch makes the statements of a batch in one round trip.
func (c conn) sendBatch(ctx context.Context, b *pgx.Batch) error {
	if b.Len() == 0 {
		return nil
	}
	return c.runStatement(ctx, func() error { return c.q.SendBatch(ctx, b).Close() })
}

// queryAll returns the rows of the answer, parsed.
func queryAll[E any](ctx context.Context, c conn, what string, parse pgx.RowToFunc[E], sql string, args ...any) (out []E, err error) {
	err = c.runStatement(ctx, func() error {
		rows, err := c.q.Query(ctx, sql, args...)
		if err == nil {
			out, err = pgx.CollectRows(rows, parse)
		}
		return err
	})
	if err != nil {
		return nil, addContext(what, err)
	}
	return out, nil
}

// queryOne returns the first row of the answer, parsed, or fs.ErrNotExist.
func queryOne[E any](ctx context.Context, c conn, what string, parse pgx.RowToFunc[E], sql string, args ...any) (e E, err error) {
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
	if err != nil {
		var zero E
		return zero, addContext(what, err)
	}
	return e, nil
}

// addContext says in an error what was being done; "" adds nothing.
func addContext(what string, err error) error {
	if err == nil || what == "" {
		return err
	}
	return fmt.Errorf("%s: %w", what, err)
}

// putRow makes a statement that writes a row: its last parameter is the row's
// binary encoding.
func (t *tx) putRow(ctx context.Context, what string, row encoding.BinaryAppender, sql string, args ...any) error {
	p, err := row.AppendBinary(nil)
	if err == nil {
		_, err = t.c.exec(ctx, what, sql, append(args, p)...)
	}
	return err
}

// drop makes a statement that drops rows.
func (t *tx) drop(ctx context.Context, what, sql string, args ...any) error {
	_, err := t.c.exec(ctx, what, sql, args...)
	return err
}

// dropSome drops rows of a table that a condition selects, at most as many as
// the last parameter says, and returns how many. key is the primary key, which
// identifies the rows.
func (t *tx) dropSome(ctx context.Context, table, key, condition string, args ...any) (int, error) {
	return dropSome(ctx, t.c, table, key, condition, args...)
}

func dropSome(ctx context.Context, c conn, table, key, condition string, args ...any) (int, error) {
	n, err := c.exec(ctx, "pgstore: drop from "+table, fmt.Sprintf(`DELETE FROM %[1]s WHERE (%[2]s) IN (SELECT %[2]s FROM %[1]s WHERE %[3]s LIMIT $%[4]d)`,
		table, key, condition, len(args)), args...)
	return int(n), err
}

// decode decodes a row from the only column.
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

// toBytes converts a string for a column of bytes, since columns of text do not
// hold every string.
func toBytes[S ~string](s S) []byte { return []byte(s) }

func toByteSlices[S ~string](ss []S) [][]byte {
	out := make([][]byte, len(ss))
	for i, s := range ss {
		out[i] = toBytes(s)
	}
	return out
}

// millis returns a time in milliseconds, 0 for times before 1970.
func millis(t time.Time) int64 { return max(t.UnixMilli(), 0) }

// fromMillis returns the time for what millis returned: the zero time for 0.
func fromMillis(ms int64) time.Time {
	if ms == 0 {
		return time.Time{}
	}
	return time.UnixMilli(ms).UTC()
}

// nowMillis is the time by the clock of the database.
const nowMillis = `(extract(epoch FROM clock_timestamp()) * 1000)::int8`

// SQLSTATEs of aborted transactions that may be retried. A unique violation
// means that another transaction has written a row after this one had looked for
// it, a duplicate table that another process has created it at the same time.
const (
	serializationFailure = "40001"
	deadlockDetected     = "40P01"
	uniqueViolation      = "23505"
	duplicateTable       = "42P07"
)

// mayRetry reports whether err says that a transaction has changed nothing and
// may succeed on a retry.
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

// retry calls fn until it returns nil or an error that may not be retried. A row
// or table that still exists after 20 tries is no accident.
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
		// A random wait, so that conflicting transactions do not meet again.
		most := min(time.Millisecond<<min(n, 10), 100*time.Millisecond)
		select {
		case <-time.After(rand.N(most)):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		}
	}
}

// runTransaction runs fn in a transaction, and again in another if it may be
// retried.
func (d *DB) runTransaction(ctx context.Context, level pgx.TxIsoLevel, fn func(c conn) error) error {
	if err := d.life.Enter(); err != nil {
		return err
	}
	defer d.life.Leave()
	return retry(ctx, func() error {
		return pgx.BeginTxFunc(ctx, d.pool, pgx.TxOptions{IsoLevel: level}, func(tx pgx.Tx) error {
			return fn(conn{tx, d.life, &outcome{}})
		})
	})
}

// alone returns a conn that makes each statement by itself.
func (d *DB) alone() conn { return d.c }
