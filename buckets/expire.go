package buckets

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/cairn-store/cairn/manifest"
)

// sweepValues forgets the values of a kind that have expired, and with them
// those of other kinds that have the same key.
func (s *Store) sweepValues(ctx context.Context, kind string, with ...string) error {
	var over []string
	for v, err := range s.meta.Values(ctx, kind, "") {
		var entry struct {
			ExpiresAt time.Time `json:"expires_at"`
		}
		if err == nil {
			err = json.Unmarshal(v.Value, &entry)
		}
		if err != nil {
			return err
		}
		if s.removalTime().After(entry.ExpiresAt) {
			over = append(over, v.Key)
		}
	}
	for part := range slices.Chunk(over, 1000) {
		if err := s.dropValues(ctx, part, append(with, kind)...); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) dropValues(ctx context.Context, keys []string, kinds ...string) error {
	return s.keep(ctx, func(tx manifest.Tx) error {
		var errs []error
		for _, k := range keys {
			for _, kind := range kinds {
				errs = append(errs, tx.DropValue(ctx, kind, k))
			}
		}
		return errors.Join(errs...)
	})
}
