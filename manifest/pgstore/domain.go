package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"

	"github.com/cairn-store/cairn/manifest"
)

// counters are those of a domain. Those of a new domain are zero.
type counters struct{ epoch, floor, removals int64 }

const selectCounters = `SELECT epoch, floor, removals FROM cairn_domains WHERE domain = $1`

func parseCounters(row pgx.CollectableRow) (c counters, err error) {
	return c, row.Scan(&c.epoch, &c.floor, &c.removals)
}

func (d *DB) readCounters(ctx context.Context, domain string) (counters, error) {
	c, err := queryOne(ctx, d.alone(), "", parseCounters, selectCounters, domain)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return c, fmt.Errorf("pgstore: counters of domain %q: %w", domain, err)
	}
	return c, nil
}

// Domains returns the names of the domains that have packs in the index.
func (d *DB) Domains() ([]string, error) {
	return queryAll(context.Background(), d.c, "pgstore: domains", pgx.RowTo[string], `SELECT DISTINCT domain FROM cairn_packs WHERE known ORDER BY domain`)
}

// lockDomain locks the row of a domain until the end of the transaction, shared
// or exclusively (alone), and creates it if needed.
func lockDomain(ctx context.Context, tx conn, domain string, alone bool) (counters, error) {
	mode := `SHARE`
	if alone {
		mode = `UPDATE`
	}
	for {
		c, err := queryOne(ctx, tx, "", parseCounters, selectCounters+` FOR `+mode, domain)
		if !errors.Is(err, fs.ErrNotExist) {
			return c, err
		}
		if _, err := tx.exec(ctx, "", `INSERT INTO cairn_domains (domain) VALUES ($1) ON CONFLICT DO NOTHING`, domain); err != nil {
			return c, err
		}
	}
}

// Epoch implements manifest.Epochs, and so do the methods below.
func (d *DB) Epoch(ctx context.Context, domain string) (uint64, error) {
	c, err := d.readCounters(ctx, domain)
	return uint64(c.epoch), err
}

func (d *DB) Floor(ctx context.Context, domain string) (uint64, error) {
	c, err := d.readCounters(ctx, domain)
	return uint64(c.floor), err
}

func (d *DB) Removals(ctx context.Context, domain string) (uint64, error) {
	c, err := d.readCounters(ctx, domain)
	return uint64(c.removals), err
}

func (d *DB) NextEpoch(ctx context.Context, domain string) (uint64, error) {
	epoch, err := queryOne(ctx, d.alone(), fmt.Sprintf("pgstore: next epoch of domain %q", domain), pgx.RowTo[int64], `INSERT INTO cairn_domains AS d (domain, epoch) VALUES ($1, 1)
		ON CONFLICT (domain) DO UPDATE SET epoch = d.epoch + 1 RETURNING epoch`, domain)
	if err != nil {
		return 0, err
	}
	return uint64(epoch), nil
}

// Register reads the epoch under a lock of the domain's row, so that whoever
// raises the epoch later finds the writer.
func (d *DB) Register(ctx context.Context, domain string) (w manifest.Writer, err error) {
	rand.Read(w.ID[:])
	err = d.runTransaction(ctx, pgx.ReadCommitted, func(tx conn) error {
		c, err := lockDomain(ctx, tx, domain, false)
		if err != nil {
			return err
		}
		w.Begin = uint64(c.epoch)
		at, err := queryOne(ctx, tx, "", pgx.RowTo[int64], `INSERT INTO cairn_writers VALUES ($1, $2, $3, `+nowMillis+`) RETURNING at`,
			domain, w.ID[:], c.epoch)
		w.At = fromMillis(at)
		return err
	})
	if err != nil {
		return manifest.Writer{}, fmt.Errorf("pgstore: register: %w", err)
	}
	return w, nil
}

func (d *DB) Unregister(ctx context.Context, domain string, id manifest.WriterID) error {
	_, err := d.alone().exec(ctx, "pgstore: unregister", `DELETE FROM cairn_writers WHERE domain = $1 AND id = $2`, domain, id[:])
	return err
}

func (d *DB) Writers(ctx context.Context, domain string) ([]manifest.Writer, error) {
	return queryAll(ctx, d.alone(), fmt.Sprintf("pgstore: writers of domain %q", domain), func(row pgx.CollectableRow) (w manifest.Writer, err error) {
		var id []byte
		var begin, at int64
		err = row.Scan(&id, &begin, &at)
		c := column{}
		w = manifest.Writer{ID: manifest.WriterID(c.bytes(16, id)), Begin: uint64(begin), At: fromMillis(at)}
		return w, errors.Join(err, c.end("writer", id))
	}, `SELECT id, begun, at FROM cairn_writers WHERE domain = $1 ORDER BY begun, id`, domain)
}
