package client

import "context"

// A FragmentationReport tells how scattered the current versions of files that are
// not in the trash lie in packs, and what reading them in order would cost. docs/reports.md
// says what each figure is.
type FragmentationReport struct {
	At     Time  `json:"at"`
	TookMS int64 `json:"took_ms"`

	FragmentSums // of all buckets

	Buckets []BucketFragments `json:"buckets"`
	Classes []FragmentClass   `json:"ranges_per_mib"` // from the fewest to the most that there are
	Worst   []FileFragments   `json:"worst_files"`    // those with the most ranges per MiB first
}

// FragmentSums are sums over files.
type FragmentSums struct {
	Files       int64 `json:"files"`
	Bytes       int64 `json:"bytes"`
	Ranges      int64 `json:"ranges"`
	Requests    int64 `json:"requests"`      // that reading each file once makes to its backend
	FetchBytes  int64 `json:"fetched_bytes"` // that those fetch
	UnreadFiles int64 `json:"unread_files"`  // that cannot be read, or were removed; the rest does not count them
}

// BucketFragments is the part of a report about one bucket.
type BucketFragments struct {
	Bucket string `json:"bucket"`
	FragmentSums
}

// A FragmentClass counts the files of at most so many ranges per MiB that are in no
// class before.
type FragmentClass struct {
	Most  int64 `json:"most"`
	Files int64 `json:"files"`
	Bytes int64 `json:"bytes"`
}

// FileFragments tells of one file.
type FileFragments struct {
	FileRef
	Size         int64   `json:"size"`
	Ranges       int64   `json:"ranges"`
	RangesPerMiB float64 `json:"ranges_per_mib"` // a smaller file counts as one of 1 MiB
	Requests     int64   `json:"requests"`
	FetchBytes   int64   `json:"fetched_bytes"`
}

// ReportFragmentation tells how scattered files lie. It looks up each chunk of each
// current version.
func (c *Client) ReportFragmentation(ctx context.Context, opts *ReportOptions, progress func(*Working)) (*FragmentationReport, error) {
	return fetchReport[FragmentationReport](ctx, c, "fragmentation", opts, progress)
}
