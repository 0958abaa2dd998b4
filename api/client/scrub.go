package client

import (
	"context"
	"net/http"
)

// ScrubOptions are options of Scrub; nil and zero values are defaults.
type ScrubOptions struct {
	All           bool  `json:"all,omitempty"`             // read all packs
	MaxAgeSeconds int64 `json:"max_age_seconds,omitempty"` // read those that were not read for so long; 0 is 30 days
	Rate          int64 `json:"rate,omitempty"`            // bytes a second that are read; 0 is no bound
}

// Scrubbed is what a scrub has found.
type Scrubbed struct {
	OK        bool `json:"ok"` // nothing is damaged
	StartedAt Time `json:"started_at"`
	EndedAt   Time `json:"ended_at"`

	ScrubSums // over all backends

	Backends []BackendScrubbed `json:"backends"`
}

// ScrubSums are sums of a scrub.
type ScrubSums struct {
	Packs        int64 `json:"packs"`         // that were read
	Bytes        int64 `json:"bytes"`         // of them
	SkippedPacks int64 `json:"skipped_packs"` // whose last result is young enough
	BadChunks    int64 `json:"bad_chunks"`    // that cannot be read
	FailedPacks  int64 `json:"failed_packs"`  // that cannot be read, or are damaged beside their chunks
	HurtCount    int64 `json:"hurt_count"`    // versions and uploads that need bad chunks
}

// Add adds the sums of another backend.
func (s *ScrubSums) Add(o *ScrubSums) {
	s.Packs += o.Packs
	s.Bytes += o.Bytes
	s.SkippedPacks += o.SkippedPacks
	s.BadChunks += o.BadChunks
	s.FailedPacks += o.FailedPacks
	s.HurtCount += o.HurtCount
}

// BackendScrubbed is what a scrub has found in one backend. Each list has at most
// 1,000 entries.
type BackendScrubbed struct {
	Backend string `json:"backend"`
	ScrubSums
	Bad    []string     `json:"bad"` // digests of bad chunks
	Failed []FailedPack `json:"failed"`
	Hurt   []HurtFile   `json:"hurt"`
}

// FailedPack is a pack that cannot be read, or is damaged beside its chunks.
type FailedPack struct {
	Pack string `json:"pack"`
	Why  string `json:"why"`
}

// HurtFile is a version, or an upload under way, that needs a bad chunk. An upload
// of the same bytes heals it, unless the pack is missing.
type HurtFile struct {
	Bucket     string `json:"bucket"`
	Path       string `json:"path"`
	FileID     string `json:"file_id,omitempty"`
	ManifestID string `json:"manifest_id,omitempty"`
	UploadID   string `json:"upload_id,omitempty"`
}

// ScrubStatus says what of scrubs is under way on a server, and how old the results
// are.
type ScrubStatus struct {
	Running   *Working       `json:"running,omitempty"` // nil while none is under way
	Last      *Scrubbed      `json:"last,omitempty"`    // the report of the last one since the server began
	ScrubAges                // over all backends
	Backends  []BackendState `json:"backends"`
}

// BackendState says how old the results of a backend are.
type BackendState struct {
	Backend string `json:"backend"`
	ScrubAges
}

// ScrubAges say how old results of scrubs are.
type ScrubAges struct {
	OldestAt  *Time `json:"oldest_at,omitempty"` // of the results
	Packs     int64 `json:"packs"`
	NeverRead int64 `json:"never_read"`    // packs
	Damaged   int64 `json:"damaged_packs"` // in whose last scrub something was wrong
}

// Add adds those of another backend.
func (a *ScrubAges) Add(o *ScrubAges) {
	if o.OldestAt != nil && (a.OldestAt == nil || o.OldestAt.Before(a.OldestAt.Time)) {
		a.OldestAt = o.OldestAt
	}
	a.Packs += o.Packs
	a.NeverRead += o.NeverRead
	a.Damaged += o.Damaged
}

// Scrub reads stored bytes again and verifies them, those that were not read for
// longest first. It calls progress, if that is not nil, about once a second. The
// server gives up when ctx ends; the next scrub goes on where it was. For operators,
// as all of this file.
func (c *Client) Scrub(ctx context.Context, opts *ScrubOptions, progress func(*Working)) (*Scrubbed, error) {
	if opts == nil {
		opts = &ScrubOptions{}
	}
	q := &request{method: http.MethodPost, admin: true, path: []string{"storage", "scrub"}}
	return followWork[Scrubbed](ctx, c, q.withJSON(opts), progress)
}

// ScrubStatus returns what of scrubs is under way.
func (c *Client) ScrubStatus(ctx context.Context) (*ScrubStatus, error) {
	out := new(ScrubStatus)
	return out, c.callJSON(ctx, &request{method: http.MethodGet, admin: true, path: []string{"storage", "scrub"}}, out)
}
