package buckets

import (
	"context"

	"github.com/cairn-store/cairn/manifest"
)

// maxSwept is how many rows one transaction removes at most. What is left over
// waits for the next: a commit leaves it to the sweep.
const maxSwept = 1000

// sweepPage is how many files a sweep finds at a time. It removes what is due of
// them before it looks for the next, so it holds no view of the database meanwhile.
const sweepPage = 100

// updateUntilDone runs transactions as updateLocal does, until fn reports that
// nothing is left to do. What was done stays if one of them fails.
func (s *Store) updateUntilDone(ctx context.Context, fn func(tx manifest.Tx) (more bool, err error)) error {
	for more := true; more; {
		err := s.updateLocal(ctx, func(tx manifest.Tx) (err error) {
			more, err = fn(tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// sweepAll calls sweep, which removes at most limit rows and returns how many,
// in transactions of its own until no more are left.
func (s *Store) sweepAll(ctx context.Context, sweep func(tx manifest.Tx, limit int) (int, error)) error {
	return s.updateUntilDone(ctx, func(tx manifest.Tx) (more bool, err error) {
		n, err := sweep(tx, maxSwept)
		return n == maxSwept, err
	})
}
