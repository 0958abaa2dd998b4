package manifesttest

import (
	"context"
	"errors"

	"github.com/cairn-store/cairn/manifest"
)

// Twice returns s with every function of Update run twice. The writes of the
// first run are dropped, as a store does when a transaction conflicts at its
// end.
func Twice(s manifest.Store) manifest.Store { return twice{s} }

type twice struct{ manifest.Store }

var errGivenUp = errors.New("given up, to be run again")

func (t twice) Update(ctx context.Context, domain string, fn func(manifest.Tx) error) (*manifest.Commit, error) {
	_, err := t.Store.Update(ctx, domain, func(tx manifest.Tx) error {
		fn(tx) // the result of the first run is ignored
		return errGivenUp
	})
	if !errors.Is(err, errGivenUp) {
		return nil, err
	}
	return t.Store.Update(ctx, domain, fn)
}
