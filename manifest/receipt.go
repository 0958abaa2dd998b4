package manifest

import (
	"context"
	"time"

	"github.com/cairn-store/cairn/cas"
)

// A Scope names a group of principals that share receipts.
type Scope [32]byte

// Receipts are the read methods for receipts, of a Store and of a Tx. A receipt
// says that a scope has sent a chunk, and expires. It keeps no chunk alive.
// Times are in milliseconds.
type Receipts interface {
	// HaveReceipts reports for each of ds whether it has a receipt that expires
	// after a time.
	HaveReceipts(ctx context.Context, s Scope, ds []cas.Digest, at time.Time) ([]bool, error)
}

// ReceiptChanges are the write methods for receipts, of a Tx.
type ReceiptChanges interface {
	// PutReceipts writes receipts that expire at a time. They replace existing
	// ones.
	PutReceipts(ctx context.Context, s Scope, ds []cas.Digest, expires time.Time) error

	// SweepReceipts removes at most limit receipts that expired before a time,
	// and returns how many.
	SweepReceipts(ctx context.Context, before time.Time, limit int) (int, error)
}
