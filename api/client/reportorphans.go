package client

import "context"

// An OrphanReport tells what lies in backends and in the database and nothing names or
// needs.
type OrphanReport struct {
	At     Time        `json:"at"`
	TookMS int64       `json:"took_ms"`
	Sums   []OrphanSum `json:"sums"`
	Found  []Orphan    `json:"found"` // the largest; chunks are summed up only
}

// An OrphanSum sums up what is of a kind and has the same remedy.
type OrphanSum struct {
	Kind   string `json:"kind"`
	Remedy string `json:"remedy"` // collection, uploads, opening, pack, sweep, scrub or nothing
	Count  int64  `json:"count"`
	Bytes  int64  `json:"bytes"`
}

// An Orphan is something that nothing names or needs.
type Orphan struct {
	Kind    string `json:"kind"`
	Remedy  string `json:"remedy"`
	Backend string `json:"backend,omitempty"` // "" for an upload
	Name    string `json:"name"`              // a key of the backend, a digest, a pack, or BUCKET/UPLOAD
	Bytes   int64  `json:"bytes"`
}

// ReportOrphans finds what nothing names or needs. It takes as long as a collection
// that finds nothing to do.
func (c *Client) ReportOrphans(ctx context.Context, opts *ReportOptions, progress func(*Working)) (*OrphanReport, error) {
	return fetchReport[OrphanReport](ctx, c, "orphans", opts, progress)
}
