package pgstore

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// numbers are the numbers given to commits and to other records.
type numbers struct {
	number     uint64 // the highest number
	lastCommit uint64 // the number of the latest commit, or one between it and the next
}

// parseNumbers raises lastCommit to the highest number at the time when the
// database was opened. That may be the number of records that packs have without
// a commit.
func (d *DB) parseNumbers(row pgx.CollectableRow) (numbers, error) {
	var number, last int64
	err := row.Scan(&number, &last)
	return numbers{uint64(number), max(uint64(last), d.opened)}, err
}

const selectNumbers = `SELECT number, last_commit FROM cairn_numbers`

func (d *DB) lockNumbers(ctx context.Context, tx conn) (numbers, error) {
	return queryOne(ctx, tx, "", d.parseNumbers, selectNumbers+` FOR UPDATE`)
}

// LastCommit implements manifest.Store, and so do the methods below.
func (d *DB) LastCommit(ctx context.Context) (uint64, error) {
	n, err := queryOne(ctx, d.alone(), "pgstore: last commit", d.parseNumbers, selectNumbers)
	if err != nil {
		return 0, err
	}
	return n.lastCommit, nil
}

func (d *DB) TakeNumber(ctx context.Context) (uint64, error) {
	n, err := queryOne(ctx, d.alone(), "pgstore: take a number", pgx.RowTo[int64], `UPDATE cairn_numbers SET number = number + 1 RETURNING number`)
	if err != nil {
		return 0, err
	}
	return uint64(n), nil
}

func (d *DB) LastNumber(ctx context.Context) (uint64, error) {
	n, err := queryOne(ctx, d.alone(), "pgstore: last number", d.parseNumbers, selectNumbers)
	return n.number, err
}

// Commits of the outbox that are read at once, and their bytes, unless one
// commit alone has more.
const (
	outboxPage  = 512
	outboxBytes = manifest.MaxCommit
)

func (d *DB) Unwritten(ctx context.Context) iter.Seq2[*manifest.Commit, error] {
	l := &pagedList[*manifest.Commit]{
		query: `SELECT number, prev, domain, slots FROM (
			SELECT number, prev, domain, slots, sum(size) OVER (ORDER BY number) AS upto, size FROM (
				SELECT * FROM cairn_outbox WHERE number > $2 ORDER BY number LIMIT $3) AS page) AS summed
			WHERE upto <= $1 OR upto = size ORDER BY number`,
		args:  []any{int64(outboxBytes)},
		first: []any{int64(0)},
		most:  outboxPage,
		short: true,
		key:   func(c *manifest.Commit) []any { return []any{int64(c.Seq)} },
		parse: func(row pgx.CollectableRow) (*manifest.Commit, error) {
			var seq, prev int64
			c := &manifest.Commit{}
			err := row.Scan(&seq, &prev, &c.Domain, &c.Slots)
			c.Seq, c.Prev = uint64(seq), uint64(prev)
			return c, err
		},
	}
	return named("unwritten", l.eachAtOneMoment(ctx, d))
}

func (d *DB) Written(ctx context.Context, seqs ...uint64) error {
	ns := make([]int64, len(seqs))
	for i, seq := range seqs {
		ns[i] = int64(seq)
	}
	_, err := d.alone().exec(ctx, "pgstore: written", `DELETE FROM cairn_outbox WHERE number = ANY($1)`, ns)
	return err
}
