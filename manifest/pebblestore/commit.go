package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

// startNumbers sets the highest number that was given.
func (d *DB) startNumbers() (err error) {
	d.seq, err = d.readNumber()
	d.last = d.seq
	return err
}

// readNumber reads the highest number that was given: it is visible before
// anything can be written under it.
func (d *DB) readNumber() (uint64, error) {
	v, err := d.getValue(d.db, []byte{keyNumber})
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	r := entryReader{p: v}
	n := r.uvarint()
	return n, r.end()
}

// LastCommit implements manifest.Store.
func (d *DB) LastCommit(ctx context.Context) (uint64, error) {
	d.seqMu.Lock()
	defer d.seqMu.Unlock()
	return d.last, cmp.Or(d.life.Err(), ctx.Err())
}

// TakeNumber implements manifest.Store.
func (d *DB) TakeNumber(ctx context.Context) (uint64, error) {
	var seq uint64
	err := d.writeBatch(ctx, true, func(b *pebble.Batch) error {
		d.seq++
		seq = d.seq
		return setNumber(b, seq)
	})
	if err != nil {
		return 0, fmt.Errorf("pebblestore: take a number: %w", err)
	}
	return seq, nil
}

// LastNumber implements manifest.Store.
func (d *DB) LastNumber(ctx context.Context) (uint64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	return d.readNumber()
}

// setNumber stores the highest number, in the batch that uses it.
func setNumber(b *pebble.Batch, seq uint64) error {
	return b.Set([]byte{keyNumber}, binary.AppendUvarint(nil, seq), nil)
}

// Unwritten implements manifest.Store.
func (d *DB) Unwritten(ctx context.Context) iter.Seq2[*manifest.Commit, error] {
	prefix := []byte{keyOutbox}
	return scanPrefix(ctx, d.rows, prefix, func(k, v []byte) (*manifest.Commit, error) {
		return parseCommit(binary.BigEndian.Uint64(k[1:]), v)
	})
}

// Written implements manifest.Store.
func (d *DB) Written(ctx context.Context, seqs ...uint64) error {
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error {
		for _, seq := range seqs {
			if err := b.Delete(outboxKey(seq), nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("pebblestore: written: %w", err)
	}
	return nil
}

// appendCommit appends the value that the outbox has for a commit.
func appendCommit(b []byte, c *manifest.Commit) []byte {
	b = append(b, byte(len(c.Domain)))
	b = append(b, c.Domain...)
	b = binary.AppendUvarint(b, c.Prev)
	for _, p := range c.Slots {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

func parseCommit(seq uint64, p []byte) (*manifest.Commit, error) {
	r := entryReader{p: p}
	c := &manifest.Commit{Seq: seq}
	c.Domain = string(r.bytes(int(r.byte(math.MaxUint8))))
	c.Prev = r.uvarint()
	for len(r.p) > 0 {
		n := r.uvarint()
		if n > manifest.MaxSlot {
			r.fail(errEntry)
		}
		c.Slots = append(c.Slots, bytes.Clone(r.bytes(int(min(n, manifest.MaxSlot)))))
	}
	if err := r.end(); err != nil {
		return nil, fmt.Errorf("pebblestore: commit %d: %w", seq, err)
	}
	return c, nil
}
