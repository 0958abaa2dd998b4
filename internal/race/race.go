// Package race lets tests leave work to a run without the race detector.
package race

import "testing"

// LeaveOut skips the rest of a test where the race detector is on: one whose work
// is a single goroutine's, in which the detector finds nothing and takes five to
// ten times as long. `make test` runs each test that calls LeaveOut once more
// without the detector.
func LeaveOut(t testing.TB) {
	t.Helper()
	if enabled {
		t.Skip("runs without the race detector")
	}
}
