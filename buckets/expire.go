package buckets

import (
	"context"

	"github.com/cairn-store/cairn/manifest"
)

// maxSwept is how many rows one transaction removes at most. What is left over
// waits for the next: a commit leaves it to the sweep.
const maxSwept = 1000

// keepAll runs a transaction that removes at most maxSwept rows until there are
// no more.
func (s *Store) keepAll(ctx context.Context, fn func(tx manifest.Tx) (int, error)) error {
	for n := maxSwept; n == maxSwept; {
		err := s.keep(ctx, func(tx manifest.Tx) (err error) {
			n, err = fn(tx)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}
