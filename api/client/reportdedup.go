package client

import "context"

// A DedupReport compares what was stored with what it takes. docs/reports.md says what
// each figure is.
type DedupReport struct {
	At     Time  `json:"at"`
	TookMS int64 `json:"took_ms"`

	DedupSums // of all backends

	MetadataBytes int64          `json:"index_bytes"` // of the metadata database
	Backends      []BackendDedup `json:"backends"`

	Buckets GroupList `json:"buckets"`
	Owners  GroupList `json:"owners"`
	Types   GroupList `json:"types"`
	Folders GroupList `json:"folders"` // BUCKET/ and the first element of the folder

	Chunks     []SharedChunk   `json:"top_chunks"` // that sharing saves most by
	Contents   []SharedContent `json:"top_files"`  // whole contents that several versions have
	ChunkSizes []SizeClass     `json:"chunk_sizes"`
	Days       []DedupDay      `json:"days"` // the oldest first
}

// DedupSums are sums of a DedupReport.
type DedupSums struct {
	Files        int64 `json:"files"`         // those in the trash too
	Versions     int64 `json:"manifests"`     // of those files
	References   int64 `json:"chunks"`        // chunks of all versions, each as often as it stands in one
	LogicalBytes int64 `json:"logical_bytes"` // of all versions

	UniqueChunks    int64 `json:"unique_chunks"`    // distinct ones that versions need
	UniqueBytes     int64 `json:"unique_bytes"`     // of those, plain
	CompressedBytes int64 `json:"compressed_bytes"` // that those take in packs
	ListBytes       int64 `json:"list_bytes"`       // that chunk lists take in packs
	OtherChunks     int64 `json:"other_chunks"`     // that no version needs: of unfinished uploads, or to be collected
	OtherBytes      int64 `json:"other_bytes"`      // that those take in packs
	RecordBytes     int64 `json:"record_bytes"`     // of records of changes
	Packs           int64 `json:"packs"`
	StoredBytes     int64 `json:"stored_bytes"` // of all packs

	SavedByDedup       int64   `json:"saved_by_dedup_bytes"`       // logical less unique bytes
	SavedByCompression int64   `json:"saved_by_compression_bytes"` // unique less compressed bytes
	DedupRatio         float64 `json:"dedup_ratio"`                // logical by stored bytes

	MissingChunks  int64 `json:"missing_chunks"`  // that versions needed at the begin and that are not stored now
	UnreadSegments int64 `json:"unread_segments"` // what these parts of chunk lists refer to is not counted
}

// BackendDedup is the part of a report about one backend. Nothing is shared between
// backends.
type BackendDedup struct {
	Backend string `json:"backend"`
	DedupSums
}

// A GroupList has the groups with the most logical bytes. There are Others more,
// which are one in Rest.
type GroupList struct {
	Groups []Group   `json:"groups"`
	Others int64     `json:"other_count"`
	Rest   GroupSums `json:"others"`
}

// A Group is versions that have something in common.
type Group struct {
	Name string `json:"name"`
	GroupSums
}

// GroupSums are sums over the versions of a group.
type GroupSums struct {
	Versions     int64 `json:"manifests"`
	References   int64 `json:"chunks"`
	LogicalBytes int64 `json:"logical_bytes"`

	UniqueBytes     int64 `json:"unique_bytes"`           // of the distinct chunks that the group needs
	ExclusiveBytes  int64 `json:"exclusive_bytes"`        // of those that no other group needs
	CompressedBytes int64 `json:"compressed_bytes"`       // that all of them take in packs
	ExclusiveStored int64 `json:"exclusive_stored_bytes"` // that those of exclusive_bytes take
	ShareStored     int64 `json:"share_stored_bytes"`     // what each takes, divided by the groups that need it
}

// A SharedChunk is a chunk that several places refer to.
type SharedChunk struct {
	Digest      string    `json:"digest"`
	Backend     string    `json:"backend"`
	References  int64     `json:"references"`
	Length      int64     `json:"length"`
	StoredBytes int64     `json:"stored_bytes"`
	SavedBytes  int64     `json:"saved_bytes"`
	Examples    []FileRef `json:"examples"` // two versions at most
}

// A SharedContent is a whole content that several versions have.
type SharedContent struct {
	Backend    string    `json:"backend"`
	Size       int64     `json:"size"`
	Versions   int64     `json:"manifests"`
	SavedBytes int64     `json:"saved_bytes"`
	Examples   []FileRef `json:"examples"` // two versions at most
}

// A FileRef is where a version is.
type FileRef struct {
	Bucket     string `json:"bucket"`
	Path       string `json:"path"`
	FileID     string `json:"file_id"`
	ManifestID string `json:"manifest_id"`
}

// A SizeClass counts the distinct chunks of at least From bytes, and of less than
// twice as many.
type SizeClass struct {
	From   int64 `json:"from"`
	Chunks int64 `json:"chunks"`
	Bytes  int64 `json:"bytes"`
}

// A DedupDay is what was stored on a day, when it was noted last.
type DedupDay struct {
	Day          string `json:"day"` // in UTC, as 2026-01-31
	Files        int64  `json:"files"`
	Versions     int64  `json:"manifests"`
	References   int64  `json:"chunks"`
	LogicalBytes int64  `json:"logical_bytes"`
	UniqueChunks int64  `json:"unique_chunks"` // that are indexed, those that no version needs too
	UniqueBytes  int64  `json:"unique_bytes"`
	LiveBytes    int64  `json:"live_bytes"` // that those and chunk lists take in packs
	RecordBytes  int64  `json:"record_bytes"`
	StoredBytes  int64  `json:"stored_bytes"` // of all packs
	FreedBytes   int64  `json:"freed_bytes"`  // that was given back on the day until then
}

// ReportDedup compares what is stored with what it takes. It takes about as long as a
// collection that finds nothing to do.
func (c *Client) ReportDedup(ctx context.Context, opts *ReportOptions, progress func(*Working)) (*DedupReport, error) {
	return fetchReport[DedupReport](ctx, c, "dedup", opts, progress)
}
