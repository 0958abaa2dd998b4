package pebblestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
)

// What is named by an identity, after keyIdentity.
const (
	nameStore  = "s"
	nameOwner  = "o"
	nameDomain = "d" // and the domain
)

func identityKey(name string) []byte { return append([]byte{keyIdentity}, name...) }

// StoreID implements manifest.Identities, and so do the methods below.
func (d *DB) StoreID(ctx context.Context) ([16]byte, error) { return d.identity(ctx, nameStore) }

func (d *DB) OwnerID(ctx context.Context) ([16]byte, error) { return d.identity(ctx, nameOwner) }

func (d *DB) DomainID(ctx context.Context, domain string) ([16]byte, error) {
	return d.identity(ctx, nameDomain+domain)
}

// identity returns an identity, which it makes if there is none.
func (d *DB) identity(ctx context.Context, name string) ([16]byte, error) {
	id, err := d.readIdentity(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	if err := d.acquire(ctx); err != nil {
		return id, fmt.Errorf("pebblestore: identity: %w", err)
	}
	defer d.release()
	if id, err = d.readIdentity(name); !errors.Is(err, fs.ErrNotExist) {
		return id, err // another was faster
	}
	rand.Read(id[:])
	if err := d.db.Set(identityKey(name), id[:], pebble.Sync); err != nil {
		return [16]byte{}, fmt.Errorf("pebblestore: identity: %w", err)
	}
	return id, nil
}

func (d *DB) readIdentity(name string) (id [16]byte, err error) {
	v, err := d.get(d.db, identityKey(name))
	if err == nil && len(v) != len(id) {
		err = fmt.Errorf("damaged identity %q: %x", name, v)
	}
	if err != nil {
		return id, fmt.Errorf("pebblestore: identity: %w", err)
	}
	return [16]byte(v), nil
}

func (d *DB) SetIdentity(ctx context.Context, store [16]byte, domains map[string][16]byte) error {
	if err := d.acquire(ctx); err != nil {
		return fmt.Errorf("pebblestore: set identity: %w", err)
	}
	defer d.release()
	b := d.db.NewBatch()
	defer b.Close()
	if store != [16]byte{} {
		b.Set(identityKey(nameStore), store[:], nil)
	}
	for domain, id := range domains {
		if id != [16]byte{} {
			b.Set(identityKey(nameDomain+domain), id[:], nil)
		}
	}
	if err := b.Commit(pebble.Sync); err != nil {
		return fmt.Errorf("pebblestore: set identity: %w", err)
	}
	return nil
}
