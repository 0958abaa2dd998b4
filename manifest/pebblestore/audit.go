package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/cairn-store/cairn/manifest"
)

func auditKey(number uint64, n uint32) []byte {
	return binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint64([]byte{keyAudit}, number), n)
}

// NoteAudit implements manifest.AuditChanges.
func (t *tx) NoteAudit(_ context.Context, entry []byte) error {
	t.audits++
	return t.b.Set(auditKey(t.seq, t.audits-1), entry, nil)
}

// takeNumber takes the number of a transaction that makes no records and has noted
// something.
func (d *DB) takeNumber(t *tx) error {
	d.seqMu.Lock()
	d.seq = t.seq
	d.seqMu.Unlock()
	return setNumber(t.b, t.seq)
}

// Audits implements manifest.Audits.
func (d *DB) Audits(ctx context.Context) iter.Seq2[*manifest.Audit, error] {
	return scanPrefix(ctx, d.rows, []byte{keyAudit}, func(k, v []byte) (*manifest.Audit, error) {
		if len(k) != 1+8+4 {
			return nil, fmt.Errorf("pebblestore: audit: %w", errEntry)
		}
		return &manifest.Audit{Number: binary.BigEndian.Uint64(k[1:]), N: binary.BigEndian.Uint32(k[9:]), Entry: bytes.Clone(v)}, nil
	})
}

// DropAudits implements manifest.Audits.
func (d *DB) DropAudits(ctx context.Context, upTo uint64) error {
	end := prefixEnd(binary.BigEndian.AppendUint64([]byte{keyAudit}, upTo))
	err := d.writeBatch(ctx, false, func(b *pebble.Batch) error { return b.DeleteRange([]byte{keyAudit}, end, nil) })
	if err != nil {
		return fmt.Errorf("pebblestore: drop audits: %w", err)
	}
	return nil
}
