package manifest

import (
	"context"
	"time"

	"github.com/cairn-store/cairn/cas"
)

// A Scope names those whose receipts count together.
type Scope [32]byte

// Receipts say until when somebody is known to have had a chunk. They keep no
// chunk alive. Times are in milliseconds.
type Receipts interface {
	// HaveReceipts tells which of ds have a receipt that lasts beyond a moment.
	HaveReceipts(ctx context.Context, s Scope, ds []cas.Digest, at time.Time) ([]bool, error)
}

// ReceiptChanges are what a Tx does to receipts.
type ReceiptChanges interface {
	// PutReceipts writes receipts that last until expires, in place of those
	// that there are.
	PutReceipts(ctx context.Context, s Scope, ds []cas.Digest, expires time.Time) error

	// SweepReceipts removes receipts that have expired before a moment, at most
	// limit, and returns how many.
	SweepReceipts(ctx context.Context, before time.Time, limit int) (int, error)
}
