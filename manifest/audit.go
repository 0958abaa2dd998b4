package manifest

import (
	"context"
	"iter"
)

// An Audit is a note of what a transaction has changed, and who asked for it. The
// store does not look into it. It waits in the database, where the change and the
// note are durable together, until somebody has written it elsewhere.
type Audit struct {
	Number uint64 // of the commit; a transaction without records takes a number of its own
	N      uint32 // its place among those of the transaction
	Entry  []byte
}

// AuditChanges are the write methods for notes, of a Tx.
type AuditChanges interface {
	// NoteAudit adds a note of what the transaction does.
	NoteAudit(ctx context.Context, entry []byte) error
}

// Audits are the methods of a Store for notes of all transactions.
type Audits interface {
	// Audits yields the notes that were not dropped, in order of numbers and places. A
	// note may be yielded before its transaction is durable, never after one that has a
	// higher number.
	Audits(ctx context.Context) iter.Seq2[*Audit, error]

	// DropAudits removes the notes of numbers up to one. A crash may undo it.
	DropAudits(ctx context.Context, upTo uint64) error
}
