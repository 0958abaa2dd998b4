package local

import (
	"context"
	"errors"
)

var (
	// ErrLocked reports that another process has the directory open.
	ErrLocked = errors.New("directory is in use by another process")
	// ErrNoMetadata reports packs without the database that describes them.
	ErrNoMetadata = errors.New("metadata database is missing; run check --repair to rebuild it from the packs")
)

// A Problem is one thing that Check found.
type Problem struct {
	Kind       string `json:"kind"` // "chunk", "pack", "index", "manifest", "metadata"
	Pack       string `json:"pack,omitempty"`
	Digest     string `json:"digest,omitempty"`
	FileID     string `json:"file_id,omitempty"`
	ManifestID string `json:"manifest_id,omitempty"`
	Detail     string `json:"detail"`
	Repaired   bool   `json:"repaired,omitempty"`
}

// A Report is the outcome of Check.
type Report struct {
	OK        bool      `json:"ok"`
	Packs     int64     `json:"packs"`
	Chunks    int64     `json:"chunks"`
	Files     int64     `json:"files"`
	Manifests int64     `json:"manifests"`
	Bytes     int64     `json:"bytes"` // read from packs
	Rebuilt   bool      `json:"rebuilt,omitempty"`
	Problems  []Problem `json:"problems"`
	// Damaged lists the manifests that cannot be read whole.
	Damaged []Problem `json:"damaged"`
}

// CheckOptions are choices of Check.
type CheckOptions struct {
	Repair   bool
	DryRun   bool                    // with Repair: plan, change nothing
	Progress func(done, total int64) // bytes of packs
}

// Check verifies that packs, index and manifests in dir agree, reading every
// byte. With Repair it mends what it can, only ever adding; a missing
// metadata database is rebuilt from the packs.
func Check(ctx context.Context, dir string, opts *CheckOptions) (*Report, error) {
	panic("unwritten")
}
