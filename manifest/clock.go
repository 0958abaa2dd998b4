package manifest

import (
	"context"
	"time"
)

// A Clock is the latest time that somebody who works with the store has
// believed, so that a clock that jumps is noticed.
type Clock interface {
	// LatestTime returns what SetLatestTime was told last, zero if nothing.
	LatestTime(ctx context.Context) (time.Time, error)

	// SetLatestTime is durable on return. Times are kept in milliseconds.
	SetLatestTime(ctx context.Context, t time.Time) error
}
