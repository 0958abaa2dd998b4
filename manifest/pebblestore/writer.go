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

// Register implements manifest.Epochs, and so do the methods below. The epoch
// is read under the lock, so that one that is raised later finds the writer.
func (d *DB) Register(ctx context.Context, domain string) (w manifest.Writer, err error) {
	if err := d.acquire(ctx); err != nil {
		return w, fmt.Errorf("pebblestore: register: %w", err)
	}
	defer d.release()
	c, err := d.counters(domain)
	if err != nil {
		return w, err
	}
	w.Begin = c.epoch
	rand.Read(w.ID[:])
	err = d.db.Set(domainKey(keyWriter, domain, w.ID[:]), binary.AppendUvarint(nil, w.Begin), pebble.NoSync)
	return w, err
}

func (d *DB) Unregister(ctx context.Context, domain string, id manifest.WriterID) error {
	if err := d.acquire(ctx); err != nil {
		return fmt.Errorf("pebblestore: unregister: %w", err)
	}
	defer d.release()
	return d.db.Delete(domainKey(keyWriter, domain, id[:]), pebble.NoSync)
}

func (d *DB) Writers(ctx context.Context, domain string) (ws []manifest.Writer, err error) {
	prefix := domainKey(keyWriter, domain, nil)
	for w, err := range scanOf(ctx, d.db, prefix, prefix, func(k, v []byte) (w manifest.Writer, err error) {
		n, ok := uvarints(v, 1)
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
