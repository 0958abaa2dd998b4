package pebblestore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

// Register implements manifest.Epochs, and so do the methods below. It reads the
// epoch with DB.lock held, so that whoever raises the epoch later finds the
// writer.
func (d *DB) Register(ctx context.Context, domain string) (w manifest.Writer, err error) {
	err = d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		c, err := d.readCounters(domain)
		if err != nil {
			return err
		}
		w.Begin = c.epoch
		rand.Read(w.ID[:])
		return b.Set(domainKey(keyWriter, domain, w.ID[:]), binary.AppendUvarint(nil, w.Begin), nil)
	})
	if err != nil {
		return manifest.Writer{}, fmt.Errorf("pebblestore: register: %w", err)
	}
	return w, nil
}

func (d *DB) Unregister(ctx context.Context, domain string, id manifest.WriterID) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error { return b.Delete(domainKey(keyWriter, domain, id[:]), nil) })
	if err != nil {
		return fmt.Errorf("pebblestore: unregister: %w", err)
	}
	return nil
}

func (d *DB) Writers(ctx context.Context, domain string) (ws []manifest.Writer, err error) {
	prefix := domainKey(keyWriter, domain, nil)
	for w, err := range scanPrefix(ctx, d.db, prefix, func(k, v []byte) (w manifest.Writer, err error) {
		n, ok := parseUvarints(v, 1)
		if !ok || len(k) != len(prefix)+len(w.ID) {
			return w, fmt.Errorf("pebblestore: damaged entry of a writer %x: %x", k, v)
		}
		return manifest.Writer{ID: manifest.WriterID(k[len(prefix):]), Begin: n[0]}, nil
	}) {
		if err != nil {
			return nil, err
		}
		ws = append(ws, w)
	}
	slices.SortFunc(ws, func(a, b manifest.Writer) int {
		return cmp.Or(cmp.Compare(a.Begin, b.Begin), slices.Compare(a.ID[:], b.ID[:]))
	})
	return ws, nil
}
