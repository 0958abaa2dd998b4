package manifest

import (
	"context"
	"time"
)

// A Clock stores the latest time that a server has accepted, so that a clock
// that jumps can be detected.
type Clock interface {
	// LatestTime returns the time of the last SetLatestTime, or zero.
	LatestTime(ctx context.Context) (time.Time, error)

	// SetLatestTime stores a time, in milliseconds. It is durable on return.
	SetLatestTime(ctx context.Context, t time.Time) error
}
