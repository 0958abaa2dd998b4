package client

import "context"

// An OrphanReport tells what lies in backends and in the database and nothing names or
// needs, and which files and links of records lack each other.
type OrphanReport struct {
	At     Time        `json:"at"`
	TookMS int64       `json:"took_ms"`
	Sums   []OrphanSum `json:"sums"`
	Found  []Orphan    `json:"found"` // the largest; chunks are summed up only

	// Unlinked are files that no link of a record holds, the largest. Links are links
	// whose file or session is gone, the first of each kind in order of IDs.
	Unlinked []UnlinkedFile `json:"unlinked"`
	Links    []OrphanLink   `json:"links"`
}

// An OrphanSum sums up what is of a kind and has the same remedy.
type OrphanSum struct {
	Kind   string `json:"kind"`
	Remedy string `json:"remedy"`
	Host   string `json:"host,omitempty"` // of links
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

// An UnlinkedFile is a file that no link of a record holds, in a bucket that records
// refer to.
type UnlinkedFile struct {
	Bucket string `json:"bucket"`
	Path   string `json:"path"`
	FileID string `json:"file_id"`
	State  string `json:"state"`
	Bytes  int64  `json:"bytes"` // of all versions, before deduplication and compression
}

// An OrphanLink is a link whose file or version was deleted, or whose session has ended.
type OrphanLink struct {
	Kind   string `json:"kind"`
	Remedy string `json:"remedy"`
	Bucket string `json:"bucket"`
	Reference
}

// ReportOrphans finds what nothing names or needs. It takes as long as a collection
// that finds nothing to do.
func (c *Client) ReportOrphans(ctx context.Context, opts *ReportOptions, progress func(*Working)) (*OrphanReport, error) {
	return fetchReport[OrphanReport](ctx, c, "orphans", opts, progress)
}
