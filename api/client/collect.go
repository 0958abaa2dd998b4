package client

import (
	"context"
	"net/http"
)

// CollectOptions are options of Collect; nil and zero values are defaults.
type CollectOptions struct {
	DryRun bool  `json:"dry_run,omitempty"` // change nothing, tell what would be done
	Full   bool  `json:"full,omitempty"`    // rewrite every pack that holds a dead byte
	Rate   int64 `json:"rate,omitempty"`    // bytes a second that packs are rewritten with; 0 is no bound
}

// Collected is what a collection has done, or would do.
type Collected struct {
	DryRun    bool `json:"dry_run"`
	Full      bool `json:"full"`
	StartedAt Time `json:"started_at"`
	EndedAt   Time `json:"ended_at"`

	CollectedSums // over all backends

	Backends []BackendCollected `json:"backends"`
}

// BackendCollected is what a collection has done in one backend.
type BackendCollected struct {
	Backend   string `json:"backend"`
	Unchanged bool   `json:"unchanged"` // nothing can have died since the last collection: nothing was done
	CollectedSums
	Freed    []FreedBytes `json:"freed"`              // the most first, at most 100
	Problems []string     `json:"problems,omitempty"` // what kept it from doing all that it should
}

// CollectedSums are sums of a collection. Bytes are those stored.
type CollectedSums struct {
	FreedBytes     int64 `json:"freed_bytes"` // that the backend has got back
	DeletedPacks   int64 `json:"deleted_packs"`
	RewrittenPacks int64 `json:"rewritten_packs"`
	CopiedBytes    int64 `json:"copied_bytes"` // that were live in packs that were rewritten
	DroppedChunks  int64 `json:"dropped_chunks"`
	DroppedBytes   int64 `json:"dropped_bytes"`  // of those chunks
	WaitingChunks  int64 `json:"waiting_chunks"` // dead, but what began before the collection may still use them
	WaitingBytes   int64 `json:"waiting_bytes"`
	DeadBytes      int64 `json:"dead_bytes"`   // that are left in packs that are mostly in use
	RecordBytes    int64 `json:"record_bytes"` // of records of changes, which a checkpoint lets go
	LiveChunks     int64 `json:"live_chunks"`
}

// Add adds the sums of another collection.
func (s *CollectedSums) Add(o *CollectedSums) {
	s.FreedBytes += o.FreedBytes
	s.DeletedPacks += o.DeletedPacks
	s.RewrittenPacks += o.RewrittenPacks
	s.CopiedBytes += o.CopiedBytes
	s.DroppedChunks += o.DroppedChunks
	s.DroppedBytes += o.DroppedBytes
	s.WaitingChunks += o.WaitingChunks
	s.WaitingBytes += o.WaitingBytes
	s.DeadBytes += o.DeadBytes
	s.RecordBytes += o.RecordBytes
	s.LiveChunks += o.LiveChunks
}

// FreedBytes are bytes that were freed, by the file that held them last. Without
// a path they were never part of a file: uploads given up, records, headers.
type FreedBytes struct {
	Bucket string `json:"bucket,omitempty"`
	Path   string `json:"path,omitempty"`
	FileID string `json:"file_id,omitempty"`
	Bytes  int64  `json:"bytes"`
}

// CollectStatus says what of collection is under way on a server.
type CollectStatus struct {
	Paused  bool       `json:"paused"`            // no collection begins by itself
	Running *Working   `json:"running,omitempty"` // nil while none is under way
	Last    *Collected `json:"last,omitempty"`    // the report of the last one since the server began
}

// Collect gives back the space of what nothing needs any more. It calls
// progress, if that is not nil, about once a second. If another collection is
// under way it waits for its end. The server gives up when ctx ends, which harms
// nothing. For operators, as all of this file.
func (c *Client) Collect(ctx context.Context, opts *CollectOptions, progress func(*Working)) (*Collected, error) {
	if opts == nil {
		opts = &CollectOptions{}
	}
	q := &request{method: http.MethodPost, admin: true, path: []string{"storage", "gc"}}
	return followWork[Collected](ctx, c, q.withJSON(opts), progress)
}

// CollectStatus returns what of collection is under way.
func (c *Client) CollectStatus(ctx context.Context) (*CollectStatus, error) {
	return c.callCollect(ctx, http.MethodGet, "gc")
}

// PauseCollect keeps the server from collecting by itself, until ResumeCollect or
// its next start. What is under way by itself is given up; Collect still works.
func (c *Client) PauseCollect(ctx context.Context) (*CollectStatus, error) {
	return c.callCollect(ctx, http.MethodPost, "gc", "pause")
}

// ResumeCollect ends what PauseCollect began.
func (c *Client) ResumeCollect(ctx context.Context) (*CollectStatus, error) {
	return c.callCollect(ctx, http.MethodPost, "gc", "resume")
}

func (c *Client) callCollect(ctx context.Context, method string, path ...string) (*CollectStatus, error) {
	out := new(CollectStatus)
	return out, c.callJSON(ctx, &request{method: method, admin: true, path: append([]string{"storage"}, path...)}, out)
}
