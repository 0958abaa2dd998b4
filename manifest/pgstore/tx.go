package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// A tx is a transaction.
type tx struct {
	rows
	domain  string
	records []manifest.Record
	numbers numbers // as they were when it began
}

var (
	errNoDomain = errors.New("a transaction without a domain has changed what packs have records of")
	errFn       = errors.New("fn has failed")
)

// Update runs fn at SERIALIZABLE, again where the database gives it up. One
// that may have records locks the row of numbers first, until it is committed:
// so numbers become visible in order, and another process waits before its fn
// has done anything. Those of this process wait for each other here, since
// each that had waited in the database would be given up.
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
		t := &tx{rows: rows{cn}, domain: domain}
		c, fnErr = nil, nil
		if domain != "" {
			if t.numbers, err = d.lockNumbers(ctx, cn); err != nil {
				return err
			}
		}
		fnErr = fn(t)
		switch {
		case cn.tx.err != nil:
			return cn.tx.err // whatever fn has made of it
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

// writeCommit writes the commit, if there are records.
func (t *tx) writeCommit(ctx context.Context) (*manifest.Commit, error) {
	if len(t.records) == 0 {
		return nil, nil
	}
	if t.domain == "" {
		return nil, errNoDomain
	}
	c := &manifest.Commit{Seq: t.numbers.number + 1, Prev: t.numbers.lastCommit, Domain: t.domain}
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

// Removals locks the row of the transaction's domain for sharing, so that no
// chunk is removed before the commit.
func (t *tx) Removals(ctx context.Context) (uint64, error) {
	if t.domain == "" {
		return 0, fmt.Errorf("pgstore: removals: %w", errNoDomain)
	}
	c, err := lockDomain(ctx, t.c, t.domain, false)
	if err != nil {
		return 0, fmt.Errorf("pgstore: removals: %w", err)
	}
	return uint64(c.removals), nil
}
