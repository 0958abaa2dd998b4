//go:build !linux

package main

import (
	"errors"
	"os"
)

// punchHole fails: the caller writes zeros.
func punchHole(*os.File, int64, int64) error { return errors.ErrUnsupported }
