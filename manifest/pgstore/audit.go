package pgstore

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// auditSchema creates the table of notes that nobody has written elsewhere yet.
const auditSchema = `
CREATE TABLE IF NOT EXISTS cairn_audits (
	number int8 NOT NULL,
	n      int8 NOT NULL,
	entry  bytea NOT NULL,
	PRIMARY KEY (number, n)
);
`

// NoteAudit implements manifest.AuditChanges. A transaction that makes no records
// locks the row of numbers too, until its commit: so notes become visible in order.
func (t *tx) NoteAudit(ctx context.Context, entry []byte) (err error) {
	if t.domain == "" && t.audits == 0 {
		if t.numbers, err = t.d.lockNumbers(ctx, t.c); err != nil {
			return err
		}
	}
	_, err = t.c.exec(ctx, "pgstore: note audit", `INSERT INTO cairn_audits VALUES ($1, $2, $3)`, t.number(), t.audits, entry)
	t.audits++
	return err
}

// takeNumber takes the number of a transaction that makes no records and has noted
// something.
func (t *tx) takeNumber(ctx context.Context) error {
	_, err := t.c.exec(ctx, "pgstore: take a number", `UPDATE cairn_numbers SET number = $1`, t.number())
	return err
}

// Audits implements manifest.Audits.
func (d *DB) Audits(ctx context.Context) iter.Seq2[*manifest.Audit, error] {
	l := &pagedList[*manifest.Audit]{
		query: `SELECT number, n, entry FROM cairn_audits WHERE (number, n) > ($1, $2) ORDER BY number, n LIMIT $3`,
		first: []any{int64(0), int64(-1)},
		most:  1000,
		key:   func(a *manifest.Audit) []any { return []any{int64(a.Number), int64(a.N)} },
		parse: func(row pgx.CollectableRow) (*manifest.Audit, error) {
			var number, n int64
			a := &manifest.Audit{}
			err := row.Scan(&number, &n, &a.Entry)
			a.Number, a.N = uint64(number), uint32(n)
			return a, err
		},
	}
	return named("audits", l.eachAtOneMoment(ctx, d))
}

// DropAudits implements manifest.Audits.
func (d *DB) DropAudits(ctx context.Context, upTo uint64) error {
	_, err := d.alone().exec(ctx, "pgstore: drop audits", `DELETE FROM cairn_audits WHERE number <= $1`, int64(upTo))
	return err
}
