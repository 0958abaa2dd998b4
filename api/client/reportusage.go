package client

import "context"

// A UsageReport sums up what is stored, before deduplication and compression, and
// what packs and metadata take.
type UsageReport struct {
	At     Time  `json:"at"`
	TookMS int64 `json:"took_ms"`

	FileSums // of all buckets
	UploadSums
	PackSums // of all backends

	MetadataBytes int64 `json:"metadata_bytes"` // of the database

	Buckets []BucketUsage `json:"buckets"`
	// Owners are the sums of owners in buckets, those that quotas count most of
	// first. OtherOwners more are summed up by Others.
	Owners      []OwnerUsage   `json:"owners"`
	OtherOwners int64          `json:"other_owner_count"`
	Others      FileSums       `json:"other_owners"`
	Backends    []BackendUsage `json:"backends"`
}

// FileSums are sums over files. Bytes are those of all versions, before
// deduplication and compression; references are their chunks, each counted as often
// as it stands in one.
type FileSums struct {
	Files             int64 `json:"files"`
	Versions          int64 `json:"versions"`
	Bytes             int64 `json:"bytes"`
	References        int64 `json:"references"`
	TrashedFiles      int64 `json:"trashed_files"` // which the sums above do not count
	TrashedVersions   int64 `json:"trashed_versions"`
	TrashedBytes      int64 `json:"trashed_bytes"`
	TrashedReferences int64 `json:"trashed_references"`
	DescribedBytes    int64 `json:"described_bytes"` // of metadata, tags and rules of files
}

// LogicalBytes are the bytes of all versions, those in the trash too.
func (s *FileSums) LogicalBytes() int64 { return s.Bytes + s.TrashedBytes }

// UploadSums are sums over uploads.
type UploadSums struct {
	UnfinishedBytes int64 `json:"unfinished_bytes"` // that uploads under way hold
	LeftoverBytes   int64 `json:"leftover_bytes"`   // of uploads that ended without a file, until they are collected
}

// PackSums are sums over packs.
type PackSums struct {
	Packs       int64 `json:"packs"`
	StoredBytes int64 `json:"stored_bytes"` // of all of them: what follows adds up to it
	LiveBytes   int64 `json:"live_bytes"`   // that indexed chunks account for
	RecordBytes int64 `json:"record_bytes"` // of records of changes
	DeadBytes   int64 `json:"dead_bytes"`   // the rest: what nothing needs, and headers and footers of packs
	DoomedBytes int64 `json:"doomed_bytes"` // of packs that are being deleted, as a part of stored_bytes
}

// BucketUsage sums up a bucket.
type BucketUsage struct {
	Bucket  string `json:"bucket"`
	Backend string `json:"backend,omitempty"` // where its files lie; "" if it is no longer declared
	FileSums
	UploadSums
}

// OwnerUsage sums up the files of an owner in a bucket.
type OwnerUsage struct {
	Bucket string `json:"bucket"`
	Owner  string `json:"owner"` // "" for files without one
	FileSums
}

// BackendUsage sums up the packs of a backend.
type BackendUsage struct {
	Backend string `json:"backend"`
	PackSums
}

// ReportUsage sums up what is stored and what it takes, from sums that are kept
// current. For operators, as all reports.
func (c *Client) ReportUsage(ctx context.Context, opts *ReportOptions, progress func(*Working)) (*UsageReport, error) {
	return fetchReport[UsageReport](ctx, c, "usage", opts, progress)
}
