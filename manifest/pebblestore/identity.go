package pebblestore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"

	"github.com/cockroachdb/pebble/v2"
)

// Names of identities, after keyIdentity.
const (
	nameStore  = "s"
	nameOwner  = "o"
	nameDomain = "d" // followed by the name of the domain
)

func identityKey(name string) []byte { return append([]byte{keyIdentity}, name...) }

// StoreID implements manifest.Identities, and so do the methods below.
func (d *DB) StoreID(ctx context.Context) ([16]byte, error) { return d.makeIdentity(ctx, nameStore) }

func (d *DB) OwnerID(ctx context.Context) ([16]byte, error) { return d.makeIdentity(ctx, nameOwner) }

func (d *DB) DomainID(ctx context.Context, domain string) ([16]byte, error) {
	return d.makeIdentity(ctx, nameDomain+domain)
}

// makeIdentity returns an identity, which it creates if needed.
func (d *DB) makeIdentity(ctx context.Context, name string) ([16]byte, error) {
	id, err := d.readIdentity(name)
	if !errors.Is(err, fs.ErrNotExist) {
		return id, err
	}
	err = d.writeBatch(ctx, true, func(b *pebble.Batch) (err error) {
		if id, err = d.readIdentity(name); !errors.Is(err, fs.ErrNotExist) {
			return err // another caller has created it
		}
		rand.Read(id[:])
		return b.Set(identityKey(name), id[:], nil)
	})
	if err != nil {
		return [16]byte{}, fmt.Errorf("pebblestore: identity: %w", err)
	}
	return id, nil
}

func (d *DB) readIdentity(name string) (id [16]byte, err error) {
	v, err := d.getValue(d.db, identityKey(name))
	if err == nil && len(v) != len(id) {
		err = fmt.Errorf("damaged identity %q: %x", name, v)
	}
	if err != nil {
		return id, fmt.Errorf("pebblestore: identity: %w", err)
	}
	return [16]byte(v), nil
}

func (d *DB) SetIdentity(ctx context.Context, store [16]byte, domains map[string][16]byte) error {
	err := d.writeBatch(ctx, true, func(b *pebble.Batch) error {
		if store != [16]byte{} {
			b.Set(identityKey(nameStore), store[:], nil)
		}
		for domain, id := range domains {
			if id != [16]byte{} {
				b.Set(identityKey(nameDomain+domain), id[:], nil)
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: set identity: %w", err)
	}
	return nil
}
