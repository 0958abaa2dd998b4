package pgstore

import (
	"context"
	"iter"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// chargeColumns are charges as arrays, one for each column.
type chargeColumns struct {
	pack, bucket, file, path [][]byte
	at, bytes                []int64
}

func (c *chargeColumns) addCharge(e *manifest.Charge) {
	c.pack, c.bucket = append(c.pack, e.Pack[:]), append(c.bucket, toBytes(e.Cause.Bucket))
	c.file, c.path = append(c.file, toBytes(e.Cause.File)), append(c.path, toBytes(e.Cause.Path))
	c.at, c.bytes = append(c.at, millis(e.Cause.At)), append(c.bytes, e.Bytes)
}

// AddCharges implements manifest.Collections, and so do the methods below.
func (d *DB) AddCharges(ctx context.Context, domain string, cs []manifest.Charge) error {
	c := &chargeColumns{}
	for i := range cs {
		c.addCharge(&cs[i])
	}
	_, err := d.alone().exec(ctx, "pgstore: add charges", `INSERT INTO cairn_charges AS c
		SELECT $1::text, pack, bucket, file, path, at, sum(bytes)::int8
		FROM unnest($2::bytea[], $3::bytea[], $4::bytea[], $5::bytea[], $6::int8[], $7::int8[]) AS n(pack, bucket, file, path, at, bytes)
		GROUP BY pack, bucket, file, path, at
		ON CONFLICT (domain, pack, bucket, file, path, at) DO UPDATE SET bytes = c.bytes + excluded.bytes`,
		domain, c.pack, c.bucket, c.file, c.path, c.at, c.bytes)
	return err
}

// The columns of a charge in the order of charges, and their place after
// another charge.
const (
	selectCharge = `pack, bucket, file, at, path, bytes`
	chargeOrder  = `pack, bucket, file, at, path`
)

// scanCharge scans the columns of selectCharge, and more.
func scanCharge(row pgx.CollectableRow, more ...any) (e manifest.Charge, err error) {
	var pack, bucket, file, path []byte
	var at int64
	if err := row.Scan(append([]any{&pack, &bucket, &file, &at, &path, &e.Bytes}, more...)...); err != nil {
		return e, err
	}
	c := &column{}
	e.Pack = cas.PackID(c.bytes(16, pack))
	e.Cause = manifest.Cause{Bucket: string(bucket), File: manifest.FileID(file), Path: string(path), At: fromMillis(at)}
	return e, c.end("charge of pack", pack)
}

func parseCharge(row pgx.CollectableRow) (manifest.Charge, error) { return scanCharge(row) }

func (d *DB) ChargesOf(ctx context.Context, domain string, id cas.PackID) ([]manifest.Charge, error) {
	return queryAll(ctx, d.alone(), "pgstore: charges", parseCharge,
		`SELECT `+selectCharge+` FROM cairn_charges WHERE domain = $1 AND pack = $2 ORDER BY `+chargeOrder, domain, id[:])
}

func (d *DB) AllCharges(ctx context.Context, domain string) iter.Seq2[manifest.Charge, error] {
	l := &pagedList[manifest.Charge]{
		query: `SELECT ` + selectCharge + ` FROM cairn_charges WHERE domain = $1 AND (` + chargeOrder + `) > ($2, $3, $4, $5, $6)
			ORDER BY ` + chargeOrder + ` LIMIT $7`,
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

func (d *DB) AddFreed(ctx context.Context, domain string, id cas.PackID, es []manifest.Freed) error {
	c := &chargeColumns{}
	var freed []int64
	var domains []string
	var copied []bool
	for i := range es {
		c.addCharge(&es[i].Charge)
		freed, domains, copied = append(freed, millis(es[i].At)), append(domains, es[i].Domain), append(copied, es[i].Copied)
	}
	err := d.runTransaction(ctx, pgx.ReadCommitted, func(tx conn) error {
		b := &pgx.Batch{}
		b.Queue(`DELETE FROM cairn_charges WHERE domain = $1 AND pack = $2`, domain, id[:])
		// Two that add entries at once find the same highest ID; one of them is
		// made again.
		b.Queue(`INSERT INTO cairn_ledger (id, pack, bucket, file, path, at, bytes, freed, domain, copied)
			SELECT (SELECT coalesce(max(id), 0) FROM cairn_ledger) + n.i, pack, bucket, file, path, at, bytes, freed, domain, copied
			FROM unnest($1::bytea[], $2::bytea[], $3::bytea[], $4::bytea[], $5::int8[], $6::int8[], $7::int8[], $8::text[], $9::bool[])
				WITH ORDINALITY AS n(pack, bucket, file, path, at, bytes, freed, domain, copied, i)`,
			c.pack, c.bucket, c.file, c.path, c.at, c.bytes, freed, domains, copied)
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
		id int64
		*manifest.Freed
	}
	l := &pagedList[entry]{
		query: `SELECT ` + selectCharge + `, id, freed, domain, copied FROM cairn_ledger WHERE id < $1 ORDER BY id DESC LIMIT $2`,
		first: []any{int64(1<<63 - 1)},
		most:  entryPage,
		key:   func(e entry) []any { return []any{e.id} },
		parse: func(row pgx.CollectableRow) (entry, error) {
			e := entry{Freed: &manifest.Freed{}}
			var freed int64
			var err error
			e.Charge, err = scanCharge(row, &e.id, &freed, &e.Domain, &e.Copied)
			e.At = fromMillis(freed)
			return e, err
		},
	}
	return func(yield func(*manifest.Freed, error) bool) {
		for e, err := range named("ledger", l.eachAtOneMoment(ctx, d)) {
			if !yield(e.Freed, err) {
				return
			}
		}
	}
}
