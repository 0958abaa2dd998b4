package client

import (
	"context"
	"fmt"
	"io"
	"net/http"
)

// EditOptions are options of edits.
type EditOptions struct {
	IfMatch string // root that the current version must have, "*" for any

	// Key identifies the edit: the server does it once, however often it is
	// sent with this key. "" gives no key.
	Key string
}

func (o *EditOptions) header() http.Header {
	h := make(http.Header)
	if o != nil && o.IfMatch != "" {
		h.Set("If-Match", entityTag(o.IfMatch))
	}
	if o != nil && o.Key != "" {
		h.Set("Idempotency-Key", o.Key)
	}
	return h
}

// Append makes a new version of the file id that ends in the bytes of r. size
// is their number, -1 if it is not known.
func (c *Client) Append(ctx context.Context, bucket, id string, r io.Reader, size int64, opts *EditOptions) (*File, error) {
	return c.callFile(ctx, &request{method: http.MethodPost, path: []string{bucket, id, "append"}, header: opts.header(), body: r, size: size})
}

// WriteRange makes a new version of the file id whose size bytes from offset
// on are those of r.
func (c *Client) WriteRange(ctx context.Context, bucket, id string, offset int64, r io.Reader, size int64, opts *EditOptions) (*File, error) {
	q := &request{method: http.MethodPatch, path: []string{bucket, id, "content"}, header: opts.header(), body: r, size: size}
	q.header.Set("Content-Range", fmt.Sprintf("bytes %d-%d/*", offset, offset+size-1))
	return c.callFile(ctx, q)
}

// Truncate makes a new version of the file id that has only its first size
// bytes.
func (c *Client) Truncate(ctx context.Context, bucket, id string, size int64, opts *EditOptions) (*File, error) {
	q := &request{method: http.MethodPost, path: []string{bucket, id, "truncate"}, header: opts.header()}
	return c.callFile(ctx, q.withJSON(map[string]int64{"size": size}))
}

// A Composition describes a new file, or a new version of one, that is made
// from pieces.
type Composition struct {
	FileID       string         `json:"file_id,omitempty"` // f_…, of which it is a version
	Name         string         `json:"name,omitempty"`
	Folder       string         `json:"folder,omitempty"`
	OnConflict   string         `json:"on_conflict,omitempty"` // new (default), version, fail
	MIMEType     string         `json:"mime_type,omitempty"`
	Metadata     map[string]any `json:"metadata,omitempty"`
	Tags         []string       `json:"tags,omitempty"`
	CacheControl string         `json:"cache_control,omitempty"`
	Digests      []string       `json:"digests,omitempty"`
	Pieces       []Piece        `json:"pieces"`
}

// A Piece is a range of a file (f_…, its current version) or version (m_…), or
// Data. All Data of a composition together is at most 1 MiB.
type Piece struct {
	File   string `json:"file,omitempty"`
	Bucket string `json:"bucket,omitempty"` // "" for the composition's
	Offset int64  `json:"offset,omitempty"`
	Length *int64 `json:"length,omitempty"` // nil for all from Offset on
	Data   []byte `json:"data,omitzero"`
}

// Compose makes a file from ranges of others.
func (c *Client) Compose(ctx context.Context, bucket string, in *Composition, opts *EditOptions) (*File, error) {
	q := &request{method: http.MethodPost, path: []string{bucket, "_compose"}, header: opts.header()}
	return c.callFile(ctx, q.withJSON(in))
}
