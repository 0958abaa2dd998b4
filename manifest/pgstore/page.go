package pgstore

import (
	"context"
	"fmt"
	"iter"
	"slices"

	"github.com/jackc/pgx/v5"
)

// firstPage is how many rows the first page of a list has, for those who want
// little.
const firstPage = 128

// A list is a statement whose answer is read page by page.
type list[E any] struct {
	// query yields the rows behind the one with a key, in order of keys. Its
	// last parameters are those of the key and how many rows it may yield.
	query string
	args  []any // the parameters before these
	first []any // a key before all others
	most  int   // rows of a page, which are held in memory
	key   func(e E) []any
	parse func(row pgx.CollectableRow) (E, error)
}

// page reads the page behind a key.
func (l *list[E]) page(ctx context.Context, q querier, after []any, limit int) ([]E, error) {
	rows, err := q.Query(ctx, l.query, slices.Concat(l.args, after, []any{limit})...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, l.parse)
}

// each yields all rows. Between pages other statements may be made on q, and
// what they change may or may not be seen.
func (l *list[E]) each(ctx context.Context, q querier) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) { l.yield(ctx, q, func() {}, yield) }
}

// eachAtOnce yields all rows of one moment.
func (l *list[E]) eachAtOnce(ctx context.Context, d *DB) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) {
		tx, err := d.scans.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
		if err != nil {
			var zero E
			yield(zero, err)
			return
		}
		// Nothing is written: there is nothing that could fail to be undone.
		end := func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }
		defer end()
		l.yield(ctx, tx, end, yield)
	}
}

// yield yields all rows, and calls end when it has read the last page.
func (l *list[E]) yield(ctx context.Context, q querier, end func(), yield func(E, error) bool) {
	after, limit := l.first, min(firstPage, l.most)
	for {
		page, err := l.page(ctx, q, after, limit)
		if err != nil {
			var zero E
			yield(zero, err)
			return
		}
		whole := len(page) < limit
		if whole {
			end()
		}
		for _, e := range page {
			if !yield(e, nil) {
				return
			}
		}
		if whole {
			return
		}
		after, limit = l.key(page[len(page)-1]), l.most
	}
}

// named adds to errors what was being done.
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
