package pgstore

import (
	"context"
	"iter"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// chargeColumns are charges as arrays, one for each column.
type chargeColumns struct {
	pack, bucket, file, path [][]byte
	at, bytes                []int64
}

func newChargeColumns(cs []manifest.Charge) *chargeColumns {
	c := &chargeColumns{}
	for i := range cs {
		e := &cs[i]
		c.pack, c.bucket = append(c.pack, e.Pack[:]), append(c.bucket, toBytes(e.Cause.Bucket))
		c.file, c.path = append(c.file, toBytes(e.Cause.File)), append(c.path, toBytes(e.Cause.Path))
		c.at, c.bytes = append(c.at, millis(e.Cause.At)), append(c.bytes, e.Bytes)
	}
	return c
}

// AddCharges implements manifest.Collections, and so do the methods below.
func (d *DB) AddCharges(ctx context.Context, domain string, cs []manifest.Charge) error {
	c := newChargeColumns(cs)
	_, err := d.alone().exec(ctx, "pgstore: add charges", `INSERT INTO cairn_charges AS c
		SELECT $1::text, pack, bucket, file, path, at, sum(bytes)::int8
		FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::int8[], $7::int8[]) AS n(pack, bucket, file, path, at, bytes)
		GROUP BY pack, bucket, file, path, at
		ON CONFLICT (domain, pack, bucket, file, path, at) DO UPDATE SET bytes = c.bytes + excluded.bytes`,
		domain, c.pack, c.bucket, c.file, c.path, c.at, c.bytes)
	return err
}

// chargeKey are the columns that tell charges apart, in the order of charges.
const chargeKey = `pack, bucket, file, at, path`

func parseCharge(row pgx.CollectableRow) (e manifest.Charge, err error) {
	var pack, bucket, file, path []byte
	var at int64
	if err := row.Scan(&pack, &bucket, &file, &at, &path, &e.Bytes); err != nil {
		return e, err
	}
	c := &column{}
	e.Pack = cas.PackID(c.bytes(16, pack))
	e.Cause = manifest.Cause{Bucket: string(bucket), File: manifest.FileID(file), Path: string(path), At: fromMillis(at)}
	return e, c.end("charge of pack", pack)
}

func (d *DB) ChargesOf(ctx context.Context, domain string, id cas.PackID, limit int) ([]manifest.Charge, error) {
	return queryAll(ctx, d.alone(), "pgstore: charges", parseCharge,
		`SELECT `+chargeKey+`, bytes FROM cairn_charges WHERE domain = $1 AND pack = $2 ORDER BY `+chargeKey+` LIMIT $3`, domain, id[:], limit)
}

func (d *DB) AllCharges(ctx context.Context, domain string) iter.Seq2[manifest.Charge, error] {
	l := &pagedList[manifest.Charge]{
		query: `SELECT ` + chargeKey + `, bytes FROM cairn_charges WHERE domain = $1 AND (` + chargeKey + `) > ($2, $3, $4, $5, $6)
			ORDER BY ` + chargeKey + ` LIMIT $7`,
		args:  []any{domain},
		first: []any{[]byte{}, []byte{}, []byte{}, int64(-1), []byte{}},
		most:  entryPage,
		key: func(e manifest.Charge) []any {
			return []any{e.Pack[:], toBytes(e.Cause.Bucket), toBytes(e.Cause.File), millis(e.Cause.At), toBytes(e.Cause.Path)}
		},
		parse: parseCharge,
	}
	return named("charges", l.eachAtOneMoment(ctx, d))
}

// AddFreed numbers the entries. Of two that add some at once and find the same
// highest number, one is made again.
func (d *DB) AddFreed(ctx context.Context, domain string, es []manifest.Freed, charges []manifest.Charge) error {
	encoded := make([][]byte, len(es))
	for i := range es {
		var err error
		if encoded[i], err = es[i].AppendBinary(nil); err != nil {
			return err
		}
	}
	c := newChargeColumns(charges)
	err := d.runTransaction(ctx, pgx.ReadCommitted, func(tx conn) error {
		b := &pgx.Batch{}
		b.Queue(`DELETE FROM cairn_charges AS c USING unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::int8[]) AS n(pack, bucket, file, path, at)
			WHERE c.domain = $1 AND c.pack = n.pack AND c.bucket = n.bucket AND c.file = n.file AND c.path = n.path AND c.at = n.at`,
			domain, c.pack, c.bucket, c.file, c.path, c.at)
		b.Queue(`INSERT INTO cairn_ledger SELECT (SELECT coalesce(max(id), 0) FROM cairn_ledger) + n.i, n.row
			FROM unnest($1::bytea[]) WITH ORDINALITY AS n(row, i)`, encoded)
		return tx.sendBatch(ctx, b)
	})
	return addContext("pgstore: add to the ledger", err)
}

func (d *DB) TrimLedger(ctx context.Context, keep int) error {
	_, err := d.alone().exec(ctx, "pgstore: trim the ledger", `DELETE FROM cairn_ledger
		WHERE id <= (SELECT id FROM cairn_ledger ORDER BY id DESC LIMIT 1 OFFSET $1)`, keep)
	return err
}

func (d *DB) Ledger(ctx context.Context) iter.Seq2[*manifest.Freed, error] {
	type entry struct {
		id  int64
		row []byte
	}
	l := &pagedList[entry]{
		query: `SELECT id, row FROM cairn_ledger WHERE id < $1 ORDER BY id DESC LIMIT $2`,
		first: []any{int64(math.MaxInt64)},
		most:  rowPage,
		key:   func(e entry) []any { return []any{e.id} },
		parse: func(row pgx.CollectableRow) (e entry, err error) { return e, row.Scan(&e.id, &e.row) },
	}
	return func(yield func(*manifest.Freed, error) bool) {
		for e, err := range named("ledger", l.eachAtOneMoment(ctx, d)) {
			f := &manifest.Freed{}
			if err == nil {
				err = f.UnmarshalBinary(e.row)
			}
			if !yield(f, err) {
				return
			}
		}
	}
}
