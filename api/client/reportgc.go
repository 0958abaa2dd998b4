package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
)

// A GarbageReport tells where the bytes went that collections have freed, what waits
// to be freed and for what, and what unfinished uploads hold. Bytes are those stored.
type GarbageReport struct {
	At     Time  `json:"at"`
	TookMS int64 `json:"took_ms"`

	Freed   FreedSums       `json:"freed"`   // of all entries that the ledger keeps
	Entries int64           `json:"entries"` // how many those are
	Since   *Time           `json:"since,omitempty"`
	Days    []FreedDay      `json:"days"`    // on which something was freed, oldest first
	Buckets []BucketGarbage `json:"buckets"` // those with the most freed bytes first
	Newest  []FreedEntry    `json:"newest"`  // entries of the ledger

	Waiting  []WaitingSum     `json:"waiting"` // of all backends, by reason
	Backends []BackendGarbage `json:"backends"`

	// Uploads under way that hold most, of UploadCount that hold UploadBytes.
	Uploads     []UnfinishedUpload `json:"uploads"`
	UploadCount int64              `json:"upload_count"`
	UploadBytes int64              `json:"upload_bytes"`
}

// FreedSums are sums over entries of the ledger.
type FreedSums struct {
	PurgedBytes int64 `json:"purged_bytes"` // of files and versions that were removed
	NobodyBytes int64 `json:"nobody_bytes"` // of what never became part of a file: uploads given up, records, headers
	CopiedBytes int64 `json:"copied_bytes"` // that were needed, and lie in other packs now
}

// A FreedDay is what was freed on a day.
type FreedDay struct {
	Day string `json:"day"` // 2006-01-02, UTC
	FreedSums
}

// A BucketGarbage is what of a bucket was freed, and what of it waits.
type BucketGarbage struct {
	Bucket        string `json:"bucket"`
	FreedBytes    int64  `json:"freed_bytes"`
	Entries       int64  `json:"entries"`        // of the ledger
	WaitingBytes  int64  `json:"waiting_bytes"`  // in packs, of what was removed, until those go
	LeftoverBytes int64  `json:"leftover_bytes"` // of uploads that ended without a file
	Uploads       int64  `json:"uploads"`        // under way
	HeldBytes     int64  `json:"held_bytes"`     // by those
}

// A WaitingSum sums up what nothing needs and what waits for the same reason:
// collection, writer, source or grave for chunks that are indexed; deletion, rewrite,
// threshold, records, appends or gone for packs with dead bytes.
type WaitingSum struct {
	Reason string `json:"reason"`
	Count  int64  `json:"count"` // of chunks, or of packs
	Bytes  int64  `json:"bytes"`
}

// A BackendGarbage is what waits in a backend.
type BackendGarbage struct {
	Backend   string        `json:"backend"`
	Waiting   []WaitingSum  `json:"waiting"`
	Epoch     uint64        `json:"epoch"`     // that the next collection raises
	Floor     uint64        `json:"floor"`     // chunks below it are dropped by then
	WaitsFor  []WaitsFor    `json:"waits_for"` // uploads under way that keep chunks, the oldest first
	Graves    int64         `json:"graves"`    // removed versions whose chunks are not all dropped
	Packs     []WaitingPack `json:"packs"`     // those with the most dead bytes, of pack_count
	PackCount int64         `json:"pack_count"`
}

// A WaitingPack is a pack with dead bytes.
type WaitingPack struct {
	Pack      string `json:"pack"`
	Size      int64  `json:"size"`
	DeadBytes int64  `json:"dead_bytes"`
	Reason    string `json:"reason"`
}

// An UnfinishedUpload is an upload under way.
type UnfinishedUpload struct {
	Bucket   string `json:"bucket"`
	UploadID string `json:"upload_id"`
	// Principal is who began it: "id NAME", "grant ID" of a signed URL, or "ip
	// ADDRESS"; "" for a program that embeds the store.
	Principal string `json:"principal"`
	Path      string `json:"path"`       // of the file that it is to become
	HeldBytes int64  `json:"held_bytes"` // that count against the principal
	CreatedAt Time   `json:"created_at"`
	ExpiresAt Time   `json:"expires_at"`
}

// ReportGarbage tells what was freed and what waits to be. It takes as long as a
// collection that finds nothing to do.
func (c *Client) ReportGarbage(ctx context.Context, opts *ReportOptions, progress func(*Working)) (*GarbageReport, error) {
	return fetchReport[GarbageReport](ctx, c, "gc", opts, progress)
}

// A ledgerLine is a line of the ledger as a server sends it.
type ledgerLine struct {
	FreedEntry
	End   bool   `json:"end"`   // of the last line
	Error *Error `json:"error"` // that ended the list
}

// Ledger yields all entries that the ledger has of freed bytes, the newest first.
func (c *Client) Ledger(ctx context.Context) iter.Seq2[*FreedEntry, error] {
	return func(yield func(*FreedEntry, error) bool) {
		resp, err := c.sendRequest(ctx, &request{method: http.MethodGet, admin: true, path: []string{"storage", "ledger"}})
		if err != nil {
			yield(nil, err)
			return
		}
		defer resp.Body.Close()
		for d := json.NewDecoder(resp.Body); ; {
			var l ledgerLine
			err := d.Decode(&l)
			switch {
			case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
				yield(nil, fmt.Errorf("the server ended before the ledger did: %w", io.ErrUnexpectedEOF))
				return
			case err != nil:
				yield(nil, err)
				return
			case l.Error != nil:
				yield(nil, l.Error)
				return
			case l.End:
				return
			}
			if !yield(&l.FreedEntry, nil) {
				return
			}
		}
	}
}
