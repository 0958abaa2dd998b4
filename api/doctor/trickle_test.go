package doctor

import (
	"io"
	"testing"
	"time"
)

// A slow body is one that the server itself takes, however long it lasts: 16 KiB in
// each minute.
func TestTrickle(t *testing.T) {
	t.Parallel()
	for _, d := range []time.Duration{time.Millisecond, 800 * time.Millisecond, 65 * time.Second, 10 * time.Minute, 3 * time.Hour} {
		body, size := newTrickle(t.Context(), d)
		if a := float64(size) / max(d, time.Minute).Minutes(); a < 32<<10 {
			t.Errorf("in %s %d bytes, %.0f in a minute", d, size, a)
		}
		if body.gap > slowGap {
			t.Errorf("in %s a piece each %s", d, body.gap)
		}
		body.gap = 0
		if n, err := io.Copy(io.Discard, body); n != size || err != nil {
			t.Errorf("%d bytes of %d, %v", n, size, err)
		}
	}
}
