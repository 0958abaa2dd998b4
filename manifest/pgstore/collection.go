package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// TakeLease implements manifest.Collections, and so do the methods below. A
// lease is free when its end has passed; the token stays.
func (d *DB) TakeLease(ctx context.Context, domain string, length time.Duration) (manifest.Lease, error) {
	what := fmt.Sprintf("pgstore: take the lease of domain %q", domain)
	token, err := queryOne(ctx, d.alone(), "", pgx.RowTo[int64], `INSERT INTO cairn_collections AS c (domain, token, ends) VALUES ($1, 1, `+nowMillis+` + $2)
		ON CONFLICT (domain) DO UPDATE SET token = c.token + 1, ends = excluded.ends WHERE c.ends <= `+nowMillis+`
		RETURNING token`, domain, length.Milliseconds())
	if errors.Is(err, fs.ErrNotExist) {
		err = manifest.ErrLeased
	}
	if err != nil {
		return manifest.Lease{}, addContext(what, err)
	}
	return manifest.Lease{Domain: domain, Token: uint64(token)}, nil
}

func (d *DB) RenewLease(ctx context.Context, l manifest.Lease, length time.Duration) error {
	what := fmt.Sprintf("pgstore: renew the lease of domain %q", l.Domain)
	n, err := d.alone().exec(ctx, what, `UPDATE cairn_collections SET ends = `+nowMillis+` + $3 WHERE domain = $1 AND token = $2`,
		l.Domain, int64(l.Token), length.Milliseconds())
	if err == nil && n == 0 {
		err = addContext(what, cas.ErrFenced)
	}
	return err
}

func (d *DB) ReleaseLease(ctx context.Context, l manifest.Lease) error {
	_, err := d.alone().exec(ctx, "pgstore: release a lease", `UPDATE cairn_collections SET ends = 0 WHERE domain = $1 AND token = $2`,
		l.Domain, int64(l.Token))
	return err
}

// checkLease returns cas.ErrFenced if another collector has taken the lease of a
// domain since token, and keeps others from it until the end of the transaction.
func checkLease(ctx context.Context, tx conn, domain string, token uint64) error {
	now, err := queryOne(ctx, tx, "", pgx.RowTo[int64], `SELECT token FROM cairn_collections WHERE domain = $1 FOR SHARE`, domain)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if uint64(now) != token {
		return fmt.Errorf("lease %d of domain %q, the last is %d: %w", token, domain, now, cas.ErrFenced)
	}
	return nil
}

// RaiseFloor locks the row of the domain, so it waits for transactions that have
// read the floor, see tx.Barrier.
func (d *DB) RaiseFloor(ctx context.Context, l manifest.Lease, floor uint64) error {
	err := d.runTransaction(ctx, pgx.ReadCommitted, func(tx conn) error {
		c, err := lockDomain(ctx, tx, l.Domain, true)
		if err != nil {
			return err
		}
		if err := checkLease(ctx, tx, l.Domain, l.Token); err != nil {
			return err
		}
		if floor > uint64(c.epoch) {
			return fmt.Errorf("floor %d is above epoch %d", floor, c.epoch)
		}
		_, err = tx.exec(ctx, "", `UPDATE cairn_domains SET floor = $2 WHERE domain = $1 AND floor < $2`, l.Domain, int64(floor))
		return err
	})
	return addContext(fmt.Sprintf("pgstore: raise the floor of domain %q", l.Domain), err)
}

func (d *DB) Checkpoint(ctx context.Context, domain string) (uint64, error) {
	return rows{d.alone()}.checkpoint(ctx, domain)
}

func (s rows) checkpoint(ctx context.Context, domain string) (uint64, error) {
	base, err := queryOne(ctx, s.c, "", pgx.RowTo[int64], `SELECT checkpoint FROM cairn_collections WHERE domain = $1`, domain)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	return uint64(base), addContext("pgstore: checkpoint", err)
}

func (d *DB) SetCheckpoint(ctx context.Context, domain string, base uint64) error {
	_, err := d.alone().exec(ctx, "pgstore: set checkpoint", `INSERT INTO cairn_collections AS c (domain, checkpoint) VALUES ($1, $2)
		ON CONFLICT (domain) DO UPDATE SET checkpoint = excluded.checkpoint WHERE c.checkpoint < excluded.checkpoint`, domain, int64(base))
	return err
}

func (d *DB) DropMarks(ctx context.Context, upTo uint64, limit int) (more bool, err error) {
	n, err := dropSome(ctx, d.alone(), "cairn_marks", "id", "number <= $1", int64(upTo), limit)
	return n == limit, err
}
