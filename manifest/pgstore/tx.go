package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// A tx is a transaction: the manifest.Tx of Update.
type tx struct {
	rows
	domain  string
	records []manifest.Record
	numbers numbers // the numbers at its begin
	graves  int64   // how many it has dug
	audits  int64   // how many notes it has made
	d       *DB
}

// number is that of its commit.
func (t *tx) number() int64 { return int64(t.numbers.number) + 1 }

var (
	errNoDomain = errors.New("a transaction without a domain has changed what packs have records of")
	errFn       = errors.New("fn has failed")
)

// Update runs fn at isolation level SERIALIZABLE, and again when the database
// aborts it. A transaction with a domain first locks the row of numbers until
// its commit. So numbers become visible in order, and a transaction of another
// process waits before its fn has read anything. Transactions of this process
// wait for each other on turn instead, because the database would abort each one
// that had waited for the lock.
func (d *DB) Update(ctx context.Context, domain string, fn func(tx manifest.Tx) error) (*manifest.Commit, error) {
	if domain != "" {
		select {
		case d.turn <- struct{}{}:
			defer func() { <-d.turn }()
		case <-ctx.Done():
			return nil, fmt.Errorf("pgstore: update: %w", ctx.Err())
		}
	}
	var c *manifest.Commit
	var fnErr error
	err := d.runTransaction(ctx, pgx.Serializable, func(cn conn) (err error) {
		t := &tx{rows: rows{cn}, domain: domain, d: d}
		c, fnErr = nil, nil
		if domain != "" {
			if t.numbers, err = d.lockNumbers(ctx, cn); err != nil {
				return err
			}
		}
		fnErr = fn(t)
		switch {
		case cn.tx.err != nil:
			return cn.tx.err // even if fn has ignored it
		case fnErr != nil:
			return errFn
		}
		c, err = t.writeCommit(ctx)
		return err
	})
	switch {
	case err == nil:
		return c, nil
	case errors.Is(err, errFn), fnErr != nil:
		return nil, fnErr
	case errors.Is(err, manifest.ErrTooLarge):
		return nil, err
	}
	return c, fmt.Errorf("pgstore: update: %w", err)
}

// writeCommit adds the commit to the outbox, if there are records.
func (t *tx) writeCommit(ctx context.Context) (*manifest.Commit, error) {
	if len(t.records) == 0 && t.audits > 0 {
		return nil, t.takeNumber(ctx)
	}
	if len(t.records) == 0 {
		return nil, nil
	}
	if t.domain == "" {
		return nil, errNoDomain
	}
	c := &manifest.Commit{Seq: uint64(t.number()), Prev: t.numbers.lastCommit, Domain: t.domain}
	var err error
	if c.Slots, err = manifest.EncodeCommit(c.Seq, t.records); err != nil {
		return nil, err
	}
	b := &pgx.Batch{}
	b.Queue(`UPDATE cairn_numbers SET number = $1, last_commit = $1`, int64(c.Seq))
	b.Queue(`INSERT INTO cairn_outbox VALUES ($1, $2, $3, $4, $5)`, int64(c.Seq), int64(c.Prev), c.Domain, int64(c.Size()), c.Slots)
	if err := t.c.sendBatch(ctx, b); err != nil {
		return nil, err
	}
	return c, nil
}

// Barrier locks the row of the domain in shared mode. If the row has changed
// since the transaction began, the database aborts it, and it is run again. So
// the floor that it reads is that of its commit: whoever raises the floor waits
// for the commit, and sees what it has written.
func (t *tx) Barrier(ctx context.Context, domain string) (manifest.Barrier, error) {
	c, err := lockDomain(ctx, t.c, domain, false)
	if err != nil {
		return manifest.Barrier{}, fmt.Errorf("pgstore: barrier: %w", err)
	}
	return manifest.Barrier{Floor: uint64(c.floor), Removals: uint64(c.removals), Epoch: uint64(c.epoch)}, nil
}
