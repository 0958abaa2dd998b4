package client

import (
	"context"
	"net/http"
	"net/url"
)

// A Removal says what is to be removed for good: what Delete names, and what the
// other fields select.
type Removal struct {
	Delete []string `json:"delete,omitempty"` // BUCKET/ID of files, with all versions, and of versions

	// Bucket and Prefix select files by the beginning of their paths, also in the
	// trash. VersionsBefore selects versions that were made before it and are not
	// current: of those files, or without a bucket of all.
	Bucket         string `json:"bucket,omitempty"`
	Prefix         string `json:"prefix,omitempty"`
	VersionsBefore *Time  `json:"versions_before,omitempty"`
}

// A RemovalPreview is what a removal and a collection after it would give back.
type RemovalPreview struct {
	Files        int64 `json:"files"` // of which nothing would be left
	Versions     int64 `json:"versions"`
	LogicalBytes int64 `json:"logical_bytes"` // of those versions
	RemovalSums
	Backends []BackendPreview `json:"backends"`
	Links    RemovalLinks     `json:"links"`
	TookMS   int64            `json:"took_ms"`
}

// BackendPreview is the part of a preview about one backend.
type BackendPreview struct {
	Backend string `json:"backend"`
	RemovalSums
}

// RemovalSums are sums of stored bytes of a preview.
type RemovalSums struct {
	FreedBytes int64 `json:"freed_bytes"` // of frames of which nothing would be needed
	// PendingBytes are in frames that others need too: they come back when those are
	// rewritten, at the latest by a full collection.
	PendingBytes int64 `json:"pending_bytes"`
	SharedBytes  int64 `json:"shared_bytes"`  // that others need: they stay
	WaitingBytes int64 `json:"waiting_bytes"` // the part of freed and pending ones that uploads under way may still use
}

// Explained says what keeps something that is stored, or where its bytes went.
type Explained struct {
	Kind string `json:"kind"` // chunk, segment, pack, file or version
	Kept bool   `json:"kept"`
	// Because are version, trash, upload, move, source, writer, records, appends, row, links and
	// host.
	Because     []string      `json:"because"`
	Holders     []ChunkHolder `json:"holders"` // at most 100
	HolderCount int64         `json:"holder_count"`
	Unread      int64         `json:"unread_segments,omitempty"` // what needs these may need it too
	// Linked are files of those holders that links of records hold, Unreconciled hosts that
	// refer to their buckets and keep all from being removed until they are reconciled.
	Linked       []LinkedFile   `json:"linked,omitempty"`
	Unreconciled []string       `json:"unreconciled_hosts,omitempty"`
	Places       []ChunkPlace   `json:"places,omitempty"` // of a chunk
	Pack         *PackExplained `json:"pack,omitempty"`
	Sources      int64          `json:"source_of,omitempty"` // frames that are made from it
	WaitsFor     []WaitsFor     `json:"waits_for,omitempty"`
	Removed      *RemovedFile   `json:"removed,omitempty"` // what needed it last, if nothing does now
	Freed        []FreedEntry   `json:"freed,omitempty"`   // what of it was given back, newest first, at most 100

	// Preview is what the removal of a file or version would give back.
	Preview *RemovalPreview `json:"preview,omitempty"`
}

// A ChunkHolder is a version, or an upload under way, that needs some chunk.
type ChunkHolder struct {
	Bucket     string `json:"bucket"`
	Path       string `json:"path"`
	FileID     string `json:"file_id,omitempty"`
	ManifestID string `json:"manifest_id,omitempty"`
	Version    uint64 `json:"version,omitempty"`
	State      string `json:"state,omitempty"`
	UploadID   string `json:"upload_id,omitempty"`

	// Links of records to the version; Overdue says that versioning would have removed it
	// but for them.
	Links   *LinkCounts `json:"links,omitempty"`
	Overdue bool        `json:"overdue,omitempty"`
}

// A ChunkPlace is where a chunk lies.
type ChunkPlace struct {
	Backend     string `json:"backend"`
	Pack        string `json:"pack"`
	Frame       string `json:"frame"`
	Offset      int64  `json:"offset"`       // of the frame in the pack
	StoredBytes int64  `json:"stored_bytes"` // of the frame
	Length      int64  `json:"length"`       // plain bytes of the chunk
	Damaged     bool   `json:"damaged"`      // the next upload of the same bytes mends it
}

// PackExplained is what is known of a pack.
type PackExplained struct {
	Backend     string `json:"backend"`
	Size        int64  `json:"size"`
	LiveBytes   int64  `json:"live_bytes"`
	DeadBytes   int64  `json:"dead_bytes"` // that rewriting it gives back
	RecordBytes int64  `json:"record_bytes"`
	Frames      int64  `json:"frames"`
	Sealed      bool   `json:"sealed"`
	Doomed      bool   `json:"doomed"` // it is being deleted
	LastCommit  uint64 `json:"last_commit"`
	Checkpoint  uint64 `json:"checkpoint"` // records of commits up to it are not needed
}

// WaitsFor is a writer that began when a chunk could still be used.
type WaitsFor struct {
	Since Time   `json:"since"`
	Epoch uint64 `json:"epoch"`
}

// A RemovedFile is a version that was removed for good and is not collected yet.
type RemovedFile struct {
	Bucket    string `json:"bucket"`
	Path      string `json:"path"`
	FileID    string `json:"file_id"`
	RemovedAt Time   `json:"removed_at"`
}

// A FreedEntry is an entry of the ledger of what was given back.
type FreedEntry struct {
	At        Time   `json:"at"`
	Backend   string `json:"backend"`
	Pack      string `json:"pack"`
	Bucket    string `json:"bucket,omitempty"`
	Path      string `json:"path,omitempty"`
	FileID    string `json:"file_id,omitempty"`
	RemovedAt *Time  `json:"removed_at,omitempty"`
	Bytes     int64  `json:"bytes"`
	Copied    bool   `json:"copied"` // they were needed and lie in another pack now
}

// PreviewRemoval tells what a removal and a full collection after it would give
// back. It changes nothing, and may take as long as a collection. For operators, as
// all of this file.
func (c *Client) PreviewRemoval(ctx context.Context, r *Removal, progress func(*Working)) (*RemovalPreview, error) {
	q := &request{method: http.MethodPost, admin: true, path: []string{"storage", "gc", "preview"}}
	return followWork[RemovalPreview](ctx, c, q.withJSON(r), progress)
}

// ExplainChunk tells what keeps a chunk or segment, by its digest.
func (c *Client) ExplainChunk(ctx context.Context, digest string, progress func(*Working)) (*Explained, error) {
	return c.explain(ctx, "digest", digest, progress)
}

// ExplainPack tells what keeps a pack, or what became of it.
func (c *Client) ExplainPack(ctx context.Context, pack string, progress func(*Working)) (*Explained, error) {
	return c.explain(ctx, "pack", pack, progress)
}

// ExplainFile tells what keeps a file or version, or what became of it.
func (c *Client) ExplainFile(ctx context.Context, id string, progress func(*Working)) (*Explained, error) {
	return c.explain(ctx, "file", id, progress)
}

func (c *Client) explain(ctx context.Context, what, id string, progress func(*Working)) (*Explained, error) {
	q := &request{method: http.MethodGet, admin: true, path: []string{"storage", "gc", "explain"}, query: url.Values{what: {id}}}
	return followWork[Explained](ctx, c, q, progress)
}
