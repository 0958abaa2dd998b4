package client

import (
	"context"
	"net/http"
)

// CheckOptions are options of Check; nil and zero values are defaults.
type CheckOptions struct {
	Rate int64 `json:"rate,omitempty"` // bytes a second that are read; 0 is no bound

	// Found, if not nil, is called with everything that is found, when it is found.
	Found func(*CheckProblem) `json:"-"`
}

// Checked is the outcome of a check.
type Checked struct {
	OK        bool  `json:"ok"`
	Packs     int64 `json:"packs"`
	Chunks    int64 `json:"chunks"`   // of the index, segments included
	Segments  int64 `json:"segments"` // that versions need
	Files     int64 `json:"files"`
	Manifests int64 `json:"manifests"`
	Bytes     int64 `json:"bytes"` // read from packs
	Rebuilt   bool  `json:"rebuilt,omitempty"`
	CaughtUp  bool  `json:"caught_up,omitempty"` // a database that was older was brought up to its packs
	// Problems are the first 1,000 that were found, Damaged the first 1,000 versions
	// that cannot be read whole.
	Problems     []CheckProblem   `json:"problems"`
	ProblemCount int64            `json:"problem_count"`
	Damaged      []CheckProblem   `json:"damaged"`
	DamagedCount int64            `json:"damaged_count"`
	Kinds        map[string]int64 `json:"kinds"` // how many of both there are of each kind

	PacksByWriter []WriterPacks `json:"packs_by_writer"`
	TookSeconds   float64       `json:"took_seconds"`
	Plan          *RepairPlan   `json:"plan,omitempty"` // of a repair that makes a database anew
}

// CheckProblem is one thing that a check has found.
type CheckProblem struct {
	Kind       string `json:"kind"` // chunk, pack, index, manifest, metadata, collection
	Backend    string `json:"backend,omitempty"`
	Pack       string `json:"pack,omitempty"`
	Digest     string `json:"digest,omitempty"`
	FileID     string `json:"file_id,omitempty"`
	ManifestID string `json:"manifest_id,omitempty"`
	Path       string `json:"path,omitempty"` // of the file: its bucket, and where it lies in it
	Detail     string `json:"detail"`
	Heals      string `json:"heals,omitempty"` // what heals it: repair, upload, gc, rebuild, nothing
	Does       string `json:"does,omitempty"`  // what a repair does about it, or has done
	Repaired   bool   `json:"repaired,omitempty"`
}

// WriterPacks counts the packs of a writer: one opening of the store by a process.
type WriterPacks struct {
	Backend    string `json:"backend"`
	Writer     string `json:"writer"`
	Packs      int64  `json:"packs"`       // that are there
	LastSerial uint64 `json:"last_serial"` // the highest of them
}

// RepairPlan is what a repair would make of a database.
type RepairPlan struct {
	Packs    int64 `json:"packs"`    // that it would read
	Files    int64 `json:"files"`    // that there would be
	Versions int64 `json:"versions"` // that there would be
	Restored int64 `json:"restored"` // files that are missing now, or older
	Removed  int64 `json:"removed"`  // files that there are now and would not be
}

// Check verifies that packs, index and rows of the server's store agree, reading
// every byte, while the store is in use. It calls progress, if that is not nil, about
// once a second. While another check is under way it waits for its end. The server
// gives up when ctx ends. For operators.
func (c *Client) Check(ctx context.Context, opts *CheckOptions, progress func(*Working)) (*Checked, error) {
	if opts == nil {
		opts = &CheckOptions{}
	}
	q := &request{method: http.MethodPost, admin: true, path: []string{"storage", "check"}}
	return followFound[Checked](ctx, c, q.withJSON(opts), progress, opts.Found)
}
