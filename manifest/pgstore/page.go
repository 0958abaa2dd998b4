package pgstore

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/jackc/pgx/v5"
)

// firstPage is the size of the first page of a list, since some callers need few
// rows.
const firstPage = 128

// A pagedList is a query that is read page by page.
type pagedList[E any] struct {
	// query returns the rows after a key, in order of keys. Its parameters are
	// args, the values of the key, and the size of the page.
	query string
	args  []any
	first []any // the values of a key before all others
	most  int   // rows in a page
	short bool  // a page may be short though more rows follow
	key   func(e E) []any
	parse pgx.RowToFunc[E]
}

// listByID returns a list of rows that are ordered by an ID, which is not empty.
// The parameters of the query are args, the ID before the page, and the size of
// the page.
func listByID[E any](query string, most int, parse pgx.RowToFunc[E], id func(E) []byte, args ...any) *pagedList[E] {
	return &pagedList[E]{query: query, args: args, first: []any{[]byte{}}, most: most, parse: parse,
		key: func(e E) []any { return []any{id(e)} }}
}

// eachRow yields all rows. Other statements may be made on c between pages; the
// list may or may not yield what they change.
func (l *pagedList[E]) eachRow(ctx context.Context, c conn) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) { l.yieldPages(ctx, c, func() {}, yield) }
}

// eachAtOneMoment yields all rows as of one moment.
func (l *pagedList[E]) eachAtOneMoment(ctx context.Context, d *DB) iter.Seq2[E, error] {
	return atOneMoment(ctx, d, func(c conn, end func(), yield func(E, error) bool) { l.yieldPages(ctx, c, end, yield) })
}

// atOneMoment yields what seq yields of the rows as of one moment. seq may call
// end when it needs no more rows, to free the connection.
func atOneMoment[E any](ctx context.Context, d *DB, seq func(c conn, end func(), yield func(E, error) bool)) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		c, end, err := d.beginScan(ctx)
		if err != nil {
			var zero E
			yield(zero, err)
			return
		}
		defer end()
		seq(c, end, yield)
	}
}

// beginScan returns a conn whose statements see the rows of one moment, until end
// is called.
func (d *DB) beginScan(ctx context.Context) (c conn, end func(), err error) {
	if err := d.life.Enter(); err != nil {
		return conn{}, nil, err
	}
	defer d.life.Leave()
	// All connections may be held by iterators that rest.
	begin, stop := d.life.Context(ctx)
	tx, err := d.scans.BeginTx(begin, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	stop()
	if err != nil {
		return conn{}, nil, d.life.Explain(err)
	}
	// The transaction is read-only, so a failed rollback has no effect.
	release := d.life.Hold(func() { _ = tx.Rollback(context.WithoutCancel(ctx)) })
	return conn{tx, d.life, &outcome{}}, release, nil
}

// yieldPages yields all rows and reports whether yield wants more. It calls end
// after the last page was read.
func (l *pagedList[E]) yieldPages(ctx context.Context, c conn, end func(), yield func(E, error) bool) bool {
	after, limit := l.first, min(firstPage, l.most)
	for {
		page, err := queryAll(ctx, c, "", l.parse, l.query, slices.Concat(l.args, after, []any{limit})...)
		if err != nil {
			var zero E
			yield(zero, err)
			return false
		}
		last := len(page) == 0 || len(page) < limit && !l.short
		if last {
			end()
		}
		for _, e := range page {
			if c.life.Err() == nil && !yield(e, nil) {
				return false
			}
		}
		if err := c.life.Err(); err != nil {
			var zero E
			yield(zero, err)
			return false
		}
		if last {
			return true
		}
		after, limit = l.key(page[len(page)-1]), l.most
	}
}

// named says in errors what was being done.
func named[E any](what string, seq iter.Seq2[E, error]) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		for e, err := range seq {
			if err != nil {
				err = fmt.Errorf("pgstore: %s: %w", what, err)
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
