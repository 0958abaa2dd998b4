package pebblestore

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/cas"
	"github.com/cairn-store/cairn/manifest"
)

// RaiseFloor implements manifest.Collections, and so do the methods below.
func (d *DB) RaiseFloor(ctx context.Context, l manifest.Lease, floor uint64) error {
	_, err := d.changeCounters(ctx, l.Domain, func(c *counters) error {
		switch {
		case c.lease != l.Token:
			return cas.ErrFenced
		case floor > c.epoch:
			return fmt.Errorf("floor %d is above the epoch, %d", floor, c.epoch)
		}
		c.floor = max(c.floor, floor)
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: raise the floor of %q: %w", l.Domain, err)
	}
	return nil
}

// Barrier implements manifest.Tx. The counters change under DB.lock too, so they
// stay as they are until the commit.
func (t *tx) Barrier(ctx context.Context, domain string) (manifest.Barrier, error) {
	c, err := t.d.readCounters(domain)
	return manifest.Barrier{Floor: c.floor, Removals: c.removals, Epoch: c.epoch}, errors.Join(err, ctx.Err())
}

// Graves.

func graveKey(domain string, id manifest.GraveID) []byte {
	k := binary.BigEndian.AppendUint64(domainKey(keyGrave, domain, nil), id.Commit)
	return binary.BigEndian.AppendUint32(k, id.N)
}

func (d *DB) Graves(ctx context.Context, domain string) iter.Seq2[*manifest.Grave, error] {
	prefix := domainKey(keyGrave, domain, nil)
	return scanBack(ctx, d.rows, prefix, prefixEnd(prefix), rowParser[manifest.Grave]("grave", len(prefix)))
}

func (d *DB) DropGraves(ctx context.Context, domain string, ids []manifest.GraveID) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		for _, id := range ids {
			if err := b.Delete(graveKey(domain, id), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: drop graves: %w", err)
	}
	return nil
}

// Charges.

func chargeKey(domain string, c *manifest.Charge) []byte {
	k := append(domainKey(keyCharge, domain, c.Pack[:]), c.Cause.Bucket...)
	k = append(append(k, 0), c.Cause.File...)
	at := uint64(0)
	if !c.Cause.At.IsZero() {
		at = millis(c.Cause.At)
	}
	return append(binary.BigEndian.AppendUint64(append(k, 0), at), c.Cause.Path...)
}

func (d *DB) AddCharges(ctx context.Context, domain string, cs []manifest.Charge) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		t := &tx{rows: rows{d, b}, b: b}
		for _, c := range cs {
			key := chargeKey(domain, &c)
			old, err := getRow[manifest.Charge](ctx, t.rows, key, "charge")
			if err != nil && !errors.Is(err, fs.ErrNotExist) {
				return err
			}
			if old != nil {
				c.Bytes += old.Bytes
			}
			if err := t.putRow(key, &c); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: add charges: %w", err)
	}
	return nil
}

func (d *DB) ChargesOf(ctx context.Context, domain string, id cas.PackID, limit int) (cs []manifest.Charge, err error) {
	for c, err := range d.scanCharges(ctx, domainKey(keyCharge, domain, id[:])) {
		if err != nil {
			return nil, err
		}
		if len(cs) == limit {
			break
		}
		cs = append(cs, c)
	}
	return cs, nil
}

func (d *DB) AllCharges(ctx context.Context, domain string) iter.Seq2[manifest.Charge, error] {
	return d.scanCharges(ctx, domainKey(keyCharge, domain, nil))
}

func (d *DB) scanCharges(ctx context.Context, prefix []byte) iter.Seq2[manifest.Charge, error] {
	return scanPrefix(ctx, d.rows, prefix, func(k, v []byte) (c manifest.Charge, err error) {
		if err := c.UnmarshalBinary(v); err != nil {
			return c, fmt.Errorf("charge %x: %w", k, err)
		}
		return c, nil
	})
}

// The ledger.

func freedKey(n uint64) []byte { return binary.BigEndian.AppendUint64([]byte{keyFreed}, n) }

// lastFreed returns the number of the newest entry of the ledger, 0 for none.
func lastFreed(r pebble.Reader) (uint64, error) {
	it, err := r.NewIter(&pebble.IterOptions{LowerBound: []byte{keyFreed}, UpperBound: []byte{keyFreed + 1}})
	if err != nil {
		return 0, asDamageIfCorrupt(err)
	}
	defer it.Close()
	if !it.Last() {
		return 0, asDamageIfCorrupt(it.Error())
	}
	return binary.BigEndian.Uint64(it.Key()[1:]), nil
}

func (d *DB) AddFreed(ctx context.Context, domain string, es []manifest.Freed, charges []manifest.Charge) error {
	err := d.writeBatch(ctx, true, func(b *pebble.Batch) error {
		n, err := lastFreed(b)
		if err != nil {
			return err
		}
		t := &tx{rows: rows{d, b}, b: b}
		for i := range es {
			if err := t.putRow(freedKey(n+1+uint64(i)), &es[i]); err != nil {
				return err
			}
		}
		for i := range charges {
			if err := b.Delete(chargeKey(domain, &charges[i]), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: add to the ledger: %w", err)
	}
	return nil
}

// TrimLedger removes a range, since the numbers of entries follow one another.
func (d *DB) TrimLedger(ctx context.Context, keep int) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		n, err := lastFreed(b)
		if err != nil || n <= uint64(keep) {
			return err
		}
		return b.DeleteRange(freedKey(0), freedKey(n-uint64(keep)+1), nil)
	})
	if err != nil {
		return fmt.Errorf("pebblestore: trim the ledger: %w", err)
	}
	return nil
}

func (d *DB) Ledger(ctx context.Context) iter.Seq2[*manifest.Freed, error] {
	prefix := []byte{keyFreed}
	return scanBack(ctx, d.rows, prefix, prefixEnd(prefix), rowParser[manifest.Freed]("entry of the ledger", 1))
}

// Dooms.

func deadKey(domain string, writer [16]byte) []byte { return domainKey(keyDead, domain, writer[:]) }

func (d *DB) Dead(ctx context.Context, domain string) (cs []*manifest.Census, err error) {
	prefix := domainKey(keyDead, domain, nil)
	for c, err := range scanPrefix(ctx, d.rows, prefix, rowParser[manifest.Census]("census", len(prefix))) {
		if err != nil {
			return nil, err
		}
		cs = append(cs, c)
	}
	return cs, nil
}

// DoomPack implements manifest.DoomChanges.
func (t *tx) DoomPack(ctx context.Context, id cas.PackID, size int64, voids []cas.Void) error {
	p, err := t.readPack(t.domain, id)
	if err != nil {
		return err
	}
	if !p.Doomed {
		c, err := t.d.readCounters(t.domain)
		if err != nil {
			return err
		}
		prefix := domainKey(keyPlace, t.domain, id[:])
		it, err := t.b.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
		if err != nil {
			return asDamageIfCorrupt(err)
		}
		used := it.First()
		if err := errors.Join(it.Error(), it.Close()); err != nil {
			return asDamageIfCorrupt(err)
		}
		if used || !p.Sealed || p.LastCommit > c.checkpoint {
			return fmt.Errorf("pack %s: %w", id, manifest.ErrNotDead)
		}
		p.Doomed, p.Size = true, size
		t.b.Set(packKey(t.domain, id), appendPack(nil, &p), nil)
	}
	t.records = append(t.records, manifest.Record{Doomed: &manifest.Doom{Pack: id, Writer: p.Writer, Serial: p.Serial}})
	own := &manifest.Census{Writer: p.Writer}
	own.Add(p.Serial)
	if err := t.addDead(ctx, t.domain, own); err != nil {
		return err
	}
	for _, c := range manifest.CountVoids(voids) {
		t.records = append(t.records, manifest.Record{Census: c})
		if err := t.addDead(ctx, t.domain, c); err != nil {
			return err
		}
	}
	return ctx.Err()
}

func (t *tx) readPack(domain string, id cas.PackID) (cas.PackEntry, error) {
	v, err := t.d.getValue(t.b, packKey(domain, id))
	if err == nil {
		var p cas.PackEntry
		if p, err = parsePack(id, v); err == nil {
			return p, nil
		}
	}
	return cas.PackEntry{}, fmt.Errorf("pack %s of domain %q: %w", id, domain, err)
}

// RestoreDooms implements manifest.DoomChanges.
func (t *tx) RestoreDooms(ctx context.Context, domain string, ids []cas.PackID) error {
	for _, id := range ids {
		p, err := t.readPack(domain, id)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		p.Sealed, p.Doomed = true, true
		t.b.Set(packKey(domain, id), appendPack(nil, &p), nil)
	}
	return ctx.Err()
}

// addDead adds to the serials of a writer that need not exist.
func (t *tx) addDead(ctx context.Context, domain string, c *manifest.Census) error {
	key := deadKey(domain, c.Writer)
	all, err := getRow[manifest.Census](ctx, t.rows, key, "census of writer %x", c.Writer)
	if errors.Is(err, fs.ErrNotExist) {
		all, err = &manifest.Census{Writer: c.Writer}, nil
	}
	if err != nil {
		return err
	}
	all.Merge(c)
	return t.putRow(key, all)
}

// RestoreCensus implements manifest.DoomChanges.
func (t *tx) RestoreCensus(ctx context.Context, domain string, c *manifest.Census) error {
	return t.addDead(ctx, domain, c)
}

// Checkpoints.

func (d *DB) Checkpoint(ctx context.Context, domain string) (uint64, error) {
	c, err := d.readCounters(domain)
	return c.checkpoint, errors.Join(err, ctx.Err())
}

func (d *DB) SetCheckpoint(ctx context.Context, domain string, base uint64) error {
	_, err := d.changeCounters(ctx, domain, func(c *counters) error {
		c.checkpoint = max(c.checkpoint, base)
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: set checkpoint: %w", err)
	}
	return nil
}

func (d *DB) DropMarks(ctx context.Context, upTo uint64, limit int) (more bool, err error) {
	err = d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		it, err := b.NewIter(&pebble.IterOptions{LowerBound: []byte{keyMark}, UpperBound: []byte{keyMark + 1}})
		if err != nil {
			return asDamageIfCorrupt(err)
		}
		defer it.Close()
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			k := it.Key()
			if binary.BigEndian.Uint64(k[1:]) > upTo {
				break
			}
			if more = n == limit; more {
				break
			}
			n++
			b.Delete(slices.Clone(k), nil)
			b.Delete(goneKey(string(k[9:])), nil)
		}
		return asDamageIfCorrupt(it.Error())
	})
	if err != nil {
		return false, fmt.Errorf("pebblestore: drop marks: %w", err)
	}
	return more, nil
}
