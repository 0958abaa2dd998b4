package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/jackc/pgx/v5"
)

// Names of identities.
const (
	nameStore  = "s"
	nameOwner  = "o"
	nameDomain = "d" // followed by the name of the domain
)

// StoreID implements manifest.Identities, and so do the methods below.
func (d *DB) StoreID(ctx context.Context) ([16]byte, error) { return d.makeIdentity(ctx, nameStore) }

func (d *DB) OwnerID(ctx context.Context) ([16]byte, error) { return d.makeIdentity(ctx, nameOwner) }

func (d *DB) DomainID(ctx context.Context, domain string) ([16]byte, error) {
	return d.makeIdentity(ctx, nameDomain+domain)
}

// makeIdentity returns an identity, which it creates if needed. If two processes
// create one at once, both return the first.
func (d *DB) makeIdentity(ctx context.Context, name string) ([16]byte, error) {
	id, err := d.readIdentity(ctx, name)
	if errors.Is(err, fs.ErrNotExist) {
		var made [16]byte
		rand.Read(made[:])
		_, err = d.alone().exec(ctx, "", `INSERT INTO cairn_identities VALUES ($1, $2) ON CONFLICT DO NOTHING`, toBytes(name), made[:])
		if err == nil {
			id, err = d.readIdentity(ctx, name)
		}
	}
	if err != nil {
		return [16]byte{}, fmt.Errorf("pgstore: identity: %w", err)
	}
	return id, nil
}

func (d *DB) readIdentity(ctx context.Context, name string) ([16]byte, error) {
	return queryOne(ctx, d.alone(), "", func(row pgx.CollectableRow) ([16]byte, error) {
		id, err := pgx.RowTo[[]byte](row)
		c := column{}
		return [16]byte(c.bytes(16, id)), errors.Join(err, c.end("identity", id))
	}, `SELECT id FROM cairn_identities WHERE name = $1`, toBytes(name))
}

func (d *DB) SetIdentity(ctx context.Context, store [16]byte, domains map[string][16]byte) error {
	var names, ids [][]byte
	set := func(name string, id [16]byte) {
		if id != [16]byte{} {
			names, ids = append(names, toBytes(name)), append(ids, id[:])
		}
	}
	set(nameStore, store)
	for domain, id := range domains {
		set(nameDomain+domain, id)
	}
	_, err := d.alone().exec(ctx, "pgstore: set identity", `INSERT INTO cairn_identities SELECT * FROM unnest($1::bytea[], $2::bytea[]) AS i
		ON CONFLICT (name) DO UPDATE SET id = excluded.id`, names, ids)
	return err
}
