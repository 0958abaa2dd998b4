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

// A pagedList is a statement whose answer is read page by page.
type pagedList[E any] struct {
	// query yields the rows behind the one with a key, in order of keys. Its
	// last parameters are those of the key and how many rows it may yield.
	query string
	args  []any // the parameters before these
	first []any // a key before all others
	most  int   // rows of a page, which are held in memory
	short bool  // a page may have fewer than it may though more follow
	key   func(e E) []any
	parse pgx.RowToFunc[E]
}

// each yields all rows. Between pages other statements may be made on c, and
// what they change may or may not be seen.
func (l *pagedList[E]) eachRow(ctx context.Context, c conn) iter.Seq2[E, error] {
	return func(yield func(E, error) bool) { l.yieldPages(ctx, c, func() {}, yield) }
}

// eachAtOnce yields all rows of one moment.
func (l *pagedList[E]) eachAtOneMoment(ctx context.Context, d *DB) iter.Seq2[E, error] {
	return atOneMoment(ctx, d, func(c conn, end func(), yield func(E, error) bool) { l.yieldPages(ctx, c, end, yield) })
}

// atOneMoment yields what seq yields of the rows of one moment. seq may call end
// when it has read all it needs.
func atOneMoment[E any](ctx context.Context, d *DB, seq func(c conn, end func(), yield func(E, error) bool)) iter.Seq2[E, error] {
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
		seq(conn{tx, &outcome{}}, end, yield)
	}
}

// yield yields all rows, calls end when it has read the last page, and reports
// whether more would be asked for.
func (l *pagedList[E]) yieldPages(ctx context.Context, c conn, end func(), yield func(E, error) bool) bool {
	after, limit := l.first, min(firstPage, l.most)
	for {
		page, err := collect(ctx, c, l.parse, l.query, slices.Concat(l.args, after, []any{limit})...)
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
			if !yield(e, nil) {
				return false
			}
		}
		if last {
			return true
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
